"""Opening equals two SciPy erosions and two dilations with border 0, bit by bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.uncertainty.opening import open_box
from tests.uncertainty.plain import Array, opened

SIDES = st.tuples(*[st.integers(1, 9)] * 3)


def assert_opens_like_scipy(bits: Array) -> None:
    result = open_box(bits)
    for bit in (1, 2):
        np.testing.assert_array_equal((result & bit) != 0, opened((bits & bit) != 0))


@settings(deadline=None)
@given(arrays(np.uint8, SIDES, elements=st.sampled_from([0, 1, 2, 3, 3, 3, 3, 3])))
def test_small_arrays(bits: Array) -> None:
    assert_opens_like_scipy(bits)


def test_large_random_array() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 40, 50, 60))
    bits = (first < 0.985) * np.uint8(1) | (second < 0.99) * np.uint8(2)
    assert 0 < np.count_nonzero(open_box(bits) & 1) < np.count_nonzero(bits & 1)
    assert_opens_like_scipy(bits)


def test_a_full_volume_stays_full() -> None:
    full = np.full((5, 6, 7), 3, np.uint8)
    np.testing.assert_array_equal(open_box(full), full)


@pytest.mark.parametrize("shape", [(1, 20, 20), (20, 4, 20), (20, 20, 2)])
def test_anything_thinner_than_five_voxels_opens_to_nothing(shape: tuple[int, int, int]) -> None:
    assert not open_box(np.ones(shape, np.uint8)).any()
