"""Opening of bit planes equals two SciPy erosions and two dilations with border 0."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from services.uncertainty import bitplanes, morphology
from tests.uncertainty.plain import Array, opened

# Rows of one word and of several, with an end inside a word or at its border.
SIDES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3, 5, 9, 63, 64, 65, 128, 131]))


def open_box(mask: Array, radii: tuple[int, int, int] = (2, 2, 2)) -> Array:
    """Packed, opened, unpacked."""
    words = np.zeros(bitplanes.words_of(mask.shape), np.uint64)
    bitplanes.pack(mask.astype(np.uint8), words)
    k, j, i = (slice(0, n) for n in mask.shape)
    return bitplanes.unpack(morphology.opened(words, radii), (k, j, i))


@settings(deadline=None)
@given(arrays(np.bool_, SIDES, elements=st.sampled_from([False] + [True] * 40)))
def test_small_arrays(mask: Array) -> None:
    np.testing.assert_array_equal(open_box(mask), opened(mask))


def test_large_random_array() -> None:
    mask = np.random.default_rng(0).random((40, 50, 160)) < 0.985
    assert 0 < np.count_nonzero(open_box(mask)) < np.count_nonzero(mask)
    np.testing.assert_array_equal(open_box(mask), opened(mask))


@pytest.mark.parametrize("width", [7, 64, 70])
def test_a_full_volume_stays_full(width: int) -> None:
    assert open_box(np.ones((5, 6, width), np.uint8)).all()


@pytest.mark.parametrize("shape", [(1, 20, 20), (20, 4, 20), (20, 20, 2)])
def test_anything_thinner_than_five_voxels_opens_to_nothing(shape: tuple[int, int, int]) -> None:
    assert not open_box(np.ones(shape, np.uint8)).any()


@pytest.mark.parametrize("radii", [(0, 0, 0), (1, 1, 1), (0, 3, 1), (2, 0, 5), (1, 2, 33)])
def test_boxes_of_any_radii(radii: tuple[int, int, int]) -> None:
    mask = np.random.default_rng(1).random((9, 12, 200)) < 0.9997
    found = open_box(mask, radii)
    box = np.ones([2 * radius + 1 for radius in radii], bool)
    expected = ndimage.binary_dilation(ndimage.binary_erosion(mask, box), box)
    assert 0 < expected.sum() <= mask.sum()
    np.testing.assert_array_equal(found, expected)
