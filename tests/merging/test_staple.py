"""STAPLE against SimpleITK's, and what several readers say together."""

from typing import Any

import numpy as np
import pytest
import SimpleITK as untyped_sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.core.boxes import crop
from services.merging import staple
from services.merging.policy import Readers
from services.merging.readers import agree
from tests.merging.volumes import SHAPE, Masks

sitk: Any = untyped_sitk


def raters(count: int) -> list[Masks]:
    """A block that every rater sees a little elsewhere, with more and more noise."""
    rng, truth = np.random.default_rng(count), np.zeros((14, 20, 24), np.uint8)
    truth[4:10, 5:15, 6:18] = 1
    masks = []
    for number in range(count):
        moved = np.roll(truth, (number % 3 - 1, number % 2, number % 4 - 2), (0, 1, 2))
        masks.append(moved ^ (rng.random(truth.shape) < 0.003 * (number + 1)).astype(np.uint8))
    return masks


@pytest.mark.parametrize("count", [2, 3, 5, 8])
def test_probabilities_are_those_of_simpleitk(count: int) -> None:
    masks = raters(count)
    seen = staple.patterns(masks)
    found = staple.probabilities(seen, count)[seen]
    theirs = sitk.STAPLEImageFilter()
    theirs.SetForegroundValue(1)
    expected = sitk.GetArrayFromImage(theirs.Execute([sitk.GetImageFromArray(mask) for mask in masks]))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert 0.1 < expected.mean() < 0.3


def test_a_rater_who_is_right_outweighs_two_who_guess() -> None:
    """Two draw anything; majority follows them wherever they meet, STAPLE the three that agree."""
    rng, good = np.random.default_rng(0), np.zeros((10, 20, 20), np.uint8)
    good[2:8, 5:15, 5:15] = 1
    wild = [(rng.random(good.shape) < 0.5).astype(np.uint8) for _ in range(4)]
    masks = [crop(mask) for mask in (good, good, good, *wild)]
    by_vote, _ = agree(masks, Readers.MAJORITY)
    by_chance, _ = agree(masks, Readers.STAPLE)
    np.testing.assert_array_equal(by_chance.whole(good.shape), good)
    assert (by_vote.whole(good.shape) != good).sum() > 100


@settings(deadline=None, max_examples=40)
@given(arrays(np.uint8, st.tuples(st.integers(2, 6), *map(st.just, SHAPE)), elements=st.integers(0, 1)))
def test_majority_and_disagreement_are_counted_voxel_by_voxel(masks: Masks) -> None:
    mask, against = agree([crop(mask) for mask in masks], Readers.MAJORITY)
    votes = masks.sum(axis=0)
    expected = votes * 2 > len(masks)
    np.testing.assert_array_equal(mask.whole(SHAPE), expected)
    np.testing.assert_array_equal(against.whole(SHAPE), np.where(expected, len(masks) - votes, votes))


@pytest.mark.parametrize("rule", [Readers.MAJORITY, Readers.ADJUDICATED])
@settings(deadline=None, max_examples=20)
@given(masks=arrays(np.uint8, (3, *SHAPE), elements=st.integers(0, 1)), order=st.permutations(range(3)))
def test_the_order_of_the_readers_does_not_matter(rule: Readers, masks: Masks, order: list[int]) -> None:
    first, first_against = agree([crop(mask) for mask in masks], rule)
    second, second_against = agree([crop(masks[index]) for index in order], rule)
    np.testing.assert_array_equal(first.whole(SHAPE), second.whole(SHAPE))
    np.testing.assert_array_equal(first_against.whole(SHAPE), second_against.whole(SHAPE))


def test_readers_who_all_see_nothing_agree_on_nothing() -> None:
    nothing = crop(np.zeros(SHAPE, np.uint8))
    for rule in (Readers.MAJORITY, Readers.STAPLE):
        mask, against = agree([nothing, nothing], rule)
        assert mask.count == against.count == 0
