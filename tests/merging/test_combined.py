"""The label map: the higher origin wins a voxel, then the lower id, in every order of painting."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.core import classmaps
from services.core.boxes import crop
from services.merging.combined import paint_ranked, ranks
from services.merging.precedence import Choice, Origin

MAP = classmaps.load()
ORGANS = ("aorta", "kidney_right", "liver", "stomach")
Masks = npt.NDArray[np.uint8]


def painted(origins: tuple[Origin, ...], masks: Masks, order: list[int]) -> Masks:
    choices = [Choice(organ, origin) for organ, origin in zip(ORGANS, origins, strict=True)]
    table = ranks(choices, MAP)
    combined = np.zeros(masks.shape[1:], np.uint8)
    for index in order:
        paint_ranked(combined, crop(masks[index]), MAP.id_of(ORGANS[index]), table)
    return combined


@settings(deadline=None)
@given(
    st.tuples(*[st.sampled_from(list(Origin))] * 4),
    arrays(np.uint8, (4, 3, 4, 5), elements=st.integers(0, 1)),
    st.permutations(range(4)),
)
def test_every_voxel_by_its_own_masks(origins: tuple[Origin, ...], masks: Masks, order: list[int]) -> None:
    combined = painted(origins, masks, order)
    for voxel in np.ndindex(combined.shape):
        claims = [(origins[n], MAP.id_of(organ)) for n, organ in enumerate(ORGANS) if masks[(n, *voxel)]]
        assert combined[voxel] == min(claims, default=(0, 0))[1]


@pytest.mark.parametrize(
    ("aorta", "liver", "winner"),
    [
        (Origin.AI, Origin.AI, "aorta"),
        (Origin.AI, Origin.SOURCE, "liver"),
        (Origin.REVISION, Origin.SOURCE, "liver"),
        (Origin.AI, Origin.REVISION, "liver"),
        (Origin.SOURCE, Origin.SOURCE, "aorta"),
    ],
)
def test_one_shared_voxel(aorta: Origin, liver: Origin, winner: str) -> None:
    masks = np.zeros((4, 1, 1, 1), np.uint8)
    masks[0] = masks[2] = 1
    assert painted((aorta, Origin.AI, liver, Origin.AI), masks, [0, 2]).item() == MAP.id_of(winner)
