"""The largest component: SciPy's, ties broken by the order of the original's arrays, whatever the orientation."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from services.core.boxes import Boxed, Mask
from services.core.components import components, labelled_runs, largest_component


def whole(part: Boxed, shape: tuple[int, ...]) -> Mask:
    result = np.zeros(shape, np.uint8)
    result[part.slices] = part.voxels
    return result


def plain(mask: Mask) -> Mask:
    """The first largest component in C order of the axes (x, y, z)."""
    labels, count = ndimage.label(mask.T, np.ones((3, 3, 3)))
    sizes = np.bincount(labels.ravel(), minlength=2)[1:]
    largest: Mask = ((labels == 1 + sizes.argmax()) & (count > 0)).T.astype(np.uint8)
    return largest


MASKS = arrays(np.uint8, st.tuples(*[st.integers(1, 7)] * 3), elements=st.sampled_from([0, 0, 0, 1]))


@settings(max_examples=300, deadline=None)
@given(MASKS)
def test_equals_scipy(mask: Mask) -> None:
    np.testing.assert_array_equal(whole(largest_component(mask), mask.shape), plain(mask))


@settings(max_examples=100, deadline=None)
@given(MASKS, st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))
def test_orientation_of_the_array_changes_nothing(mask: Mask, order: list[int], flips: tuple[bool, ...]) -> None:
    """The same mask with its axes re-ordered and flipped keeps the same component of the patient."""
    expected = whole(largest_component(mask), mask.shape)
    flip = tuple(slice(None, None, -1 if f else 1) for f in flips)
    # The index axis i of an array (k, j, i) is its last axis.
    codes = [pair[flips[axis]] for axis, pair in zip((2, 1, 0), ("RL", "AP", "SI"), strict=True)][::-1]
    orientation = "".join(codes[axis] for axis in order)[::-1]
    turned = np.ascontiguousarray(mask[flip].transpose(order))
    found = whole(largest_component(turned, orientation), turned.shape)
    np.testing.assert_array_equal(found, expected[flip].transpose(order))


@pytest.mark.parametrize("offset", list(itertools.product((0, 1), repeat=3)))
def test_corners_connect(offset: tuple[int, int, int]) -> None:
    mask = np.zeros((3, 3, 3), np.uint8)
    mask[0, 0, 0] = mask[offset] = 1
    assert largest_component(mask).count == mask.sum()


def test_of_equal_ones_the_first_along_x_stays() -> None:
    mask = np.zeros((3, 3, 5), np.uint8)
    mask[0, 0, 4] = mask[2, 2, 0] = 1  # first in memory; first in x
    assert largest_component(mask).corner == (2, 2, 0)
    assert largest_component(mask, "LAS").corner == (0, 0, 4)


def test_an_empty_mask_stays_empty() -> None:
    assert largest_component(np.zeros((4, 5, 6), np.uint8)).voxels.size == 0


@pytest.mark.parametrize("density", [0.02, 0.06, 0.3, 0.7, 1.0])
def test_large_noise_equals_scipy(density: float) -> None:
    mask = (np.random.default_rng(0).random((31, 40, 53)) < density).astype(np.uint8)
    np.testing.assert_array_equal(whole(largest_component(mask), mask.shape), plain(mask))


@settings(max_examples=100, deadline=None)
@given(MASKS, st.integers(1, 3), st.integers(1, 4))
def test_all_components_equal_scipys(mask: Mask, least: int, most: int) -> None:
    """The largest first, equal ones in C order, each in its own box, the small ones and those after `most` left out."""
    labels, count = ndimage.label(mask, np.ones((3, 3, 3)))
    expected = [(labels == n).astype(np.uint8) for n in range(1, count + 1)]
    expected = sorted((part for part in expected if part.sum() >= least), key=lambda part: -int(part.sum()))[:most]
    found = components(mask, least_voxels=least, most=most)
    assert len(found) == len(expected)
    for part, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(whole(part, mask.shape), wanted)
        assert all(part.voxels.any(axis=axes).all() for axes in ((1, 2), (0, 2), (0, 1)))


def test_an_array_without_voxels_has_no_components() -> None:
    assert components(np.zeros((0, 0, 0), np.uint8)) == []


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4])
def test_labelled_runs_are_scipys_components(share: float) -> None:
    mask = (np.random.default_rng(3).random((9, 11, 13)) < share).astype(np.uint8)
    runs = labelled_runs(mask)
    numbers = np.zeros(mask.shape, int)
    for row in range(9 * 11):
        for run in range(runs.rows[row], runs.rows[row + 1]):
            numbers[row // 11, row % 11, runs.begin[run] : runs.end[run]] = 1 + runs.component[run]
    expected, count = ndimage.label(mask, np.ones((3, 3, 3)))
    np.testing.assert_array_equal(numbers, expected)
    assert runs.count == count


def test_an_empty_mask_has_no_runs() -> None:
    runs = labelled_runs(np.zeros((3, 4, 5), np.uint8))
    assert (runs.count, len(runs.begin)) == (0, 0)
