"""An ensemble reads organ by organ, from the models that have it."""

import numpy as np
import pytest

from services.core import arrayfile
from services.core.ensemble import Ensemble
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry

GRID = Geometry((5, 6, 70), (1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0))
LIVER, SPLEEN = np.random.default_rng(0).integers(0, 256, (2, 3, 70, 6, 5), np.uint8)


def member(model: int, *organs: str) -> arrayfile.ArrayFile:
    arrays = {"liver": LIVER[model], "spleen": SPLEEN[model]}
    return arrayfile.decode(arrayfile.encode(organs, [arrays[organ] for organ in organs], GRID))


ENSEMBLE = Ensemble((member(0, "liver"), member(1, "spleen", "liver"), member(2, "liver")))


def test_organs_of_any_model() -> None:
    assert ENSEMBLE.organs == {"liver", "spleen"}
    assert [len(ENSEMBLE.having(organ)) for organ in ("liver", "spleen", "aorta")] == [3, 1, 0]


def test_slabs_make_up_the_whole() -> None:
    starts, stacks = zip(*((start, stack.copy()) for start, stack in ENSEMBLE.slabs("liver")), strict=True)
    assert starts == (0, 32, 64)
    np.testing.assert_array_equal(np.concatenate(stacks, axis=1), LIVER)


@pytest.mark.parametrize(("first", "last", "starts"), [(0, 1, [0]), (31, 33, [0, 32]), (64, 70, [64]), (0, 0, [])])
def test_only_the_slabs_that_are_asked_for(first: int, last: int, starts: list[int]) -> None:
    assert [start for start, _ in ENSEMBLE.slabs("liver", slice(first, last))] == starts


def test_slabs_without_any_voxel_are_left_out() -> None:
    """And a model that sees nothing in a slab where others do does not keep what it saw in the last one."""
    first, second = np.zeros((2, 70, 6, 5), np.uint8)
    first[0], first[65], second[66] = 1, 2, 3
    members = [arrayfile.decode(arrayfile.encode(["liver"], [array], GRID)) for array in (first, second)]
    found = {start: stack.copy() for start, stack in Ensemble(tuple(members)).slabs("liver")}
    assert list(found) == [0, 64]
    np.testing.assert_array_equal(found[0], np.stack([first, second])[:, :32])
    np.testing.assert_array_equal(found[64], np.stack([first, second])[:, 64:])


def test_one_to_sixteen_models() -> None:
    for members in ((), (member(0, "liver"),) * 17):
        with pytest.raises(AtlasError) as caught:
            Ensemble(members)
        assert caught.value.reason == Reason.FIELD_INVALID
