"""Masks at one bit a voxel say the same as masks of bytes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.core.components import labelled_runs
from services.uncertainty import bitplanes
from services.uncertainty.runs import clear_marked, runs_of
from tests.uncertainty.plain import Array

SIDES = st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([1, 5, 63, 64, 65, 130]))
MASKS = arrays(np.uint8, SIDES, elements=st.sampled_from([0, 0, 0, 0, 0, 0, 1]))


def packed(mask: Array) -> bitplanes.Words:
    words = np.zeros(bitplanes.words_of(mask.shape), np.uint64)
    bitplanes.pack(mask, words)
    return words


def whole(words: bitplanes.Words, shape: tuple[int, ...]) -> Array:
    k, j, i = (slice(0, n) for n in shape)
    return bitplanes.unpack(words, (k, j, i))


@settings(deadline=None)
@given(MASKS)
def test_there_and_back(mask: Array) -> None:
    words = packed(mask)
    np.testing.assert_array_equal(whole(words, mask.shape), mask)
    assert bitplanes.count(words) == mask.sum()


@settings(deadline=None)
@given(MASKS)
def test_runs_are_those_of_the_bytes(mask: Array) -> None:
    found, expected = runs_of(packed(mask)), labelled_runs(mask)
    assert (found.height, found.count) == (expected.height, expected.count)
    for name in ("rows", "begin", "end", "component"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))


def test_only_components_that_hold_a_mark_are_cleared() -> None:
    mask = np.zeros((2, 3, 130), np.uint8)
    mask[0, 0, 60:70], mask[1, 1, 70:75], mask[1, 2, 100:129] = 1, 1, 1
    marks, words = np.zeros_like(mask), packed(mask)
    marks[1, 1, 74] = 1
    clear_marked(words, runs_of(words), packed(marks))
    mask[0, 0], mask[1, 1] = 0, 0
    np.testing.assert_array_equal(whole(words, mask.shape), mask)
