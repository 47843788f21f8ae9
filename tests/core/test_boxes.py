"""Boxes around what is not 0."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.core.boxes import Mask, common, crop, masks_of

VOLUMES = arrays(np.uint8, (5, 6, 7), elements=st.sampled_from([0] * 12 + [3]))


@settings(deadline=None)
@given(VOLUMES)
def test_a_crop_is_the_tightest_box(volume: Mask) -> None:
    box = crop(volume)
    found = np.argwhere(volume)
    if not found.size:
        assert box.voxels.shape == (0, 0, 0)
        return
    assert box.corner == tuple(found.min(axis=0))
    assert box.voxels.shape == tuple(np.ptp(found, axis=0) + 1)
    assert box.count == len(found)
    np.testing.assert_array_equal(box.voxels, volume[box.slices])


def test_a_crop_of_a_part_knows_where_it_lies() -> None:
    volume = np.zeros((5, 6, 7), np.uint8)
    volume[3, 4, 5] = 1
    assert crop(volume[2:, 3:, 4:], (2, 3, 4)).corner == (3, 4, 5)


@settings(deadline=None)
@given(VOLUMES, VOLUMES)
def test_what_two_boxes_share(first: Mask, second: Mask) -> None:
    a, b = crop(first), crop(second)
    inside = np.zeros((2, *first.shape), bool)
    inside[0][a.slices] = inside[1][b.slices] = True
    part = common(a, b)
    assert (part is None) == (not inside.all(axis=0).any())
    if part:
        assert inside.all(axis=0)[part].all()
        assert inside.all(axis=0).sum() == inside[0][part].size
        np.testing.assert_array_equal(a.within(part), first[part])


@settings(deadline=None)
@given(arrays(np.uint16, st.tuples(*[st.integers(1, 6)] * 3), elements=st.sampled_from([0, 0, 1, 2, 300, 65535])))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_label_map_falls_apart_into_its_masks(dtype: type, labels: npt.NDArray[np.uint16]) -> None:
    """Each id has its mask, in the smallest box; together they are the map."""
    given_map: npt.NDArray[np.uint16] = labels.astype(dtype)
    found = masks_of(given_map)
    assert sorted(found) == [label for label in np.unique(given_map).tolist() if label]
    for label, mask in found.items():
        expected = crop((given_map == label).astype(np.uint8))
        assert mask.corner == expected.corner
        np.testing.assert_array_equal(mask.voxels, expected.voxels)
