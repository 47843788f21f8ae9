"""What holds for every rule, on anatomies made by hand."""

import pytest

from services.uncertainty.priors import catalog
from tests.uncertainty.priors.bodies import (
    BODY,
    GRID,
    ball,
    body,
    box,
    findings,
    only,
)

RULES = [prior.name for prior in catalog.PRIORS]


def test_a_healthy_body_is_silent() -> None:
    assert [(finding.rule, finding.message) for finding in findings(BODY)] == []


@pytest.mark.parametrize("organs", [(), ("liver",), ("kidney_left", "kidney_right"), ("aorta", "postcava")])
def test_what_nobody_looked_for_is_not_missed(organs: tuple[str, ...]) -> None:
    assert findings(only(BODY, *organs)) == []


def test_an_empty_label_set_only_lacks_what_can_be_told() -> None:
    """Nothing but empty masks: no organ tells that the others should be there."""
    assert findings(dict.fromkeys(BODY, ())) == []


def test_regions_lie_in_the_organs_they_name() -> None:
    """All faults at once: every region is inside the grid, and not empty but for a missing organ."""
    faulty = body(
        kidney_left=BODY["kidney_right"],
        aorta=box(-12, -25, 200, 9, 9, 75),
        spleen=(*BODY["spleen"], ball(-35, 40, 330, 12)),
        prostate=ball(0, 20, 200, 15),
        liver=(*BODY["liver"], *BODY["stomach"]),
    )
    found = findings(faulty)
    assert {"twins_overlap", "vessel_truncated", "in_pieces", "prostate_astray", "same_mask"} <= {f.rule for f in found}
    for finding in found:
        assert finding.region.count > 0, finding.rule
        assert all(s.start >= 0 and s.stop <= n for s, n in zip(finding.region.slices, GRID.array_shape, strict=True))
        assert finding.severity <= {prior.name: prior.severity for prior in catalog.PRIORS}[finding.rule]
        assert all(name.rsplit("_", 1)[-1] in UNITS for name in finding.evidence), finding.evidence


UNITS = {"mm", "mm2", "mm3", "ml", "share", "voxels", "ratio", "slices", "pieces", "holes", "femurs"}
