"""Boxes around what is not 0."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.core.boxes import Mask, common, crop

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
