"""Masks at one bit a voxel say the same as masks of bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.core.boxes import Boxed, crop
from services.uncertainty import bitplanes
from services.uncertainty.bitplanes import Trimmed
from tests.uncertainty.plain import Array

SIDES = st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 5, 63, 64, 65, 130]))
MASKS = arrays(np.uint8, SIDES, elements=st.sampled_from([0, 0, 0, 0, 0, 0, 1]))


def packed(mask: Array) -> bitplanes.Words:
    return bitplanes.pack(Boxed((0, 0, 0), mask), mask.shape)  # type: ignore[arg-type]


def whole(words: bitplanes.Words, shape: tuple[int, ...]) -> Array:
    k, j, i = (slice(0, n) for n in shape)
    return bitplanes.unpack(words, (k, j, i))


@settings(deadline=None)
@given(MASKS)
def test_there_and_back(mask: Array) -> None:
    words = packed(mask)
    np.testing.assert_array_equal(whole(words, mask.shape), mask)
    assert bitplanes.count(words) == mask.sum()
    expected, found = crop(mask), bitplanes.boxed(words)
    assert found.corner == expected.corner
    np.testing.assert_array_equal(found.voxels, expected.voxels)


@settings(deadline=None)
@given(MASKS)
def test_trimmed_planes_lose_nothing(mask: Array) -> None:
    words = packed(mask)
    again = np.zeros_like(words)
    Trimmed.of(words).add_to(again)
    np.testing.assert_array_equal(again, words)


@settings(deadline=None)
@given(arrays(np.uint8, st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 6), st.just(66)),
              elements=st.sampled_from([0] * 60 + [1])))  # fmt: skip
def test_what_two_have_in_common(masks: Array) -> None:
    common = Trimmed.of(packed(masks[0])).common(Trimmed.of(packed(masks[1])))
    both = np.zeros_like(packed(masks[0]))
    if common:
        common.add_to(both)
    np.testing.assert_array_equal(whole(both, masks[0].shape), masks[0] & masks[1])


@pytest.mark.parametrize("width", [3, 64, 100])
def test_values_are_spread_in_reading_order(width: int) -> None:
    rng = np.random.default_rng(width)
    volume = rng.integers(0, 256, (4, 5, width)).astype(np.uint8) * (rng.random((4, 5, width)) < 0.2)
    volume[0], volume[:, :, 0] = 0, 0
    found = bitplanes.spread(volume[volume > 0], packed((volume > 0).astype(np.uint8)))
    again = np.zeros_like(volume)
    again[found.slices] = found.voxels
    np.testing.assert_array_equal(again, volume)
