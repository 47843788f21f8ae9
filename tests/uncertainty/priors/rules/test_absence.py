"""Rules on organs that are missing, with the arithmetic beside it. Voxels are 3 mm, so 27 mm3."""

import numpy as np
import pytest

from tests.uncertainty.priors.bodies import (
    BODY,
    GRID,
    arrays,
    body,
    box,
    field_of_view,
    findings,
    told,
    whole,
)


@pytest.mark.parametrize("organ", ["liver", "pancreas", "spleen", "stomach"])
def test_organ_missing(organ: str) -> None:
    assert told(BODY, "organ_missing") == {}
    (finding,) = findings(body(**{organ: ()}), "organ_missing")
    assert (finding.organs, finding.evidence) == ((organ,), {"volume_ml": 0.0})
    place, truth = whole(finding.region, GRID), arrays(BODY)[organ]
    assert np.count_nonzero(place & truth) > 0.3 * np.count_nonzero(truth), "its usual place"
    for other, mask in arrays(body(**{organ: ()})).items():
        assert not np.any(place & mask), other


def test_organs_that_may_be_missing() -> None:
    assert told(body(gall_bladder=()), "organ_missing") == {}, "often removed"
    assert told(body(liver=(), spleen=()), "organ_missing") == {}, "nothing tells that the field of view reaches it"
    assert told(body(liver=()), "organ_missing", field_of_view(0, 210)) == {}
    assert told(body(liver=None), "organ_missing") == {}, "nobody looked for it"


def test_the_place_of_a_missing_organ_ends_with_the_grid() -> None:
    low = min(np.argwhere(arrays(BODY)["stomach"])[:, 1])
    (finding,) = findings(body(stomach=()), "organ_missing", grid=GRID)
    assert finding.region.slices[1].stop <= GRID.array_shape[1]
    assert finding.region.slices[1].start > low / 2


def test_the_place_of_a_missing_organ_may_be_taken() -> None:
    """Other organs fill all of it: the finding stays and points nowhere, instead of at a box without a voxel."""
    filled = body(pancreas=(), duodenum=box(-12, 6, 204, 66, 30, 33))
    (finding,) = findings(filled, "organ_missing")
    assert (finding.organs, finding.centre_mm, finding.volume_mm3) == (("pancreas",), None, 0.0)
    assert finding.region.voxels.shape == (0, 0, 0)
