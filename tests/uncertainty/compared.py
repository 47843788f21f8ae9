"""The calibrated profile beside its plain rendering."""

from collections.abc import Sequence

import numpy as np
import pytest

from services.core.boxes import crop
from services.core.ensemble import Ensemble
from services.uncertainty import calibrated
from services.uncertainty.attention import MAX_FINDINGS, Cause, Region
from services.uncertainty.calibration import Calibration
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.check import check
from services.uncertainty.priors.findings import Severity
from services.uncertainty.tissue import Hounsfield
from tests.uncertainty import plain_calibrated as plain
from tests.uncertainty.ensembles import Model, whole


def equal_to_plain(
    together: Ensemble, models: Sequence[Model], constants: Calibration, ct: Hounsfield | None = None
) -> list[Region]:
    """The regions of all organs, after holding them, their findings and the heat against the plain rendering."""
    i, j, k = together.geometry.spacing_mm
    spacing, shape = (k, j, i), together.geometry.array_shape
    fixed = plain.Constants(**{name: getattr(constants, name) for name in plain.Constants.__dataclass_fields__})
    labels = plain.labels_of(models, spacing)
    crowd = plain.crowds(models, labels, spacing, fixed)
    masks = {organ: crop(label.astype(np.uint8)) for organ, label in labels.items()}
    findings = list(check(Anatomy.of(masks, together.geometry)))
    regions: list[Region] = []
    for found in calibrated.attend(together, sorted(together.organs), ct=ct, constants=constants):
        organ = found.score.organ
        pointed, shown, telling = np.zeros(shape, bool), [], []
        for finding in findings:
            if organ in finding.organs and finding.region.voxels.size:
                here = np.zeros(shape, bool)
                here[finding.region.slices] = finding.region.voxels > 0
                if finding.severity >= Severity.WARNING:
                    pointed |= here
                    telling.append((finding, here))
                shown.append((here, constants.findings.get(finding.rule, 0.0)))
        expected = plain.regions(models, organ, labels, spacing, fixed, crowd, pointed, ct)
        for region in expected:
            here = np.zeros(shape, bool)
            here[region.box] = region.voxels
            shown.append((here, region.probability))
        wanted = sorted(
            (
                (region.cause, *(part.start for part in region.box)),
                (region.probability, np.count_nonzero(region.voxels) * float(np.prod(spacing))),
            )
            for region in expected
            if region.probability >= constants.least_probability
        )
        mine = sorted(
            ((region.cause.value, *region.corner), (region.probability, region.volume_mm3))
            for region in found.regions
            if region.cause is not Cause.PRIOR
        )
        assert [place for place, _ in mine] == [place for place, _ in wanted]
        for region in expected:
            place = (region.cause, *(part.start for part in region.box))
            supporting = [finding for finding, here in telling if (here[region.box] & region.voxels).any()]
            for one in found.regions:
                if (one.cause.value, *one.corner) == place:
                    gravest = sorted(supporting, key=lambda finding: -finding.severity)[:MAX_FINDINGS]
                    assert one.findings == tuple(gravest)
        for (_, numbers), (_, others) in zip(mine, wanted, strict=True):
            assert numbers == pytest.approx(others, rel=1e-9)
        np.testing.assert_array_equal(whole(found, shape), plain.heat(shown, shape, spacing, fixed))
        assert found.score.expected_error_mm3 == pytest.approx(
            plain.expected_mm3(shown, shape, spacing, fixed), rel=1e-9
        )
        regions += found.regions
    return regions
