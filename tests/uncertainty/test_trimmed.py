"""Bit planes without their margins, and the probabilities of the voxels whose bits are set."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.core.blocks import blocks_of
from services.core.boxes import crop
from services.uncertainty import bitplanes, samples
from services.uncertainty.trimmed import Trimmed, grown, span
from tests.uncertainty.ensembles import ensemble
from tests.uncertainty.plain import Array
from tests.uncertainty.test_bitplanes import MASKS, packed


@settings(deadline=None)
@given(MASKS)
def test_trimmed_planes_lose_nothing(mask: Array) -> None:
    words, expected = packed(mask), crop(mask)
    trimmed = Trimmed.of(words)
    found = trimmed.boxed()
    assert found.corner == expected.corner
    np.testing.assert_array_equal(found.voxels, expected.voxels)
    everywhere = slice(0, words.shape[0]), slice(0, words.shape[1]), slice(0, words.shape[2])
    for again in (trimmed, Trimmed.packed(expected)):
        np.testing.assert_array_equal(again.over(everywhere), words)
    np.testing.assert_array_equal(
        Trimmed.of(words, (3, 0, 1)).over((slice(3, 4), slice(0, 1), slice(1, 2))), words[:1, :1, :1]
    )


@settings(deadline=None)
@given(arrays(np.uint8, st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 6), st.just(66)),
              elements=st.sampled_from([0] * 60 + [1])))  # fmt: skip
def test_what_two_have_in_common(masks: Array) -> None:
    first, second = (Trimmed.of(packed(mask)) for mask in masks)
    common = first.common(second)
    both = common.over(span([first, second])) if common else np.zeros(0, np.uint64)
    assert bitplanes.count(both) == np.count_nonzero(masks[0] & masks[1])
    if common and both.any():
        np.testing.assert_array_equal(common.boxed().whole(masks[0].shape), masks[0] & masks[1])


def test_a_box_grows_up_to_the_ends_of_the_grid() -> None:
    assert grown((slice(0, 2), slice(3, 4), slice(2, 3)), (1, 2, 65), (3, 4, 5)) == (
        slice(0, 3),
        slice(1, 4),
        slice(0, 5),
    )


@pytest.mark.parametrize("width", [3, 64, 100])
def test_values_are_gathered_and_spread_in_reading_order(width: int) -> None:
    rng = np.random.default_rng(width)
    volume = rng.integers(1, 256, (34, 20, width)).astype(np.uint8) * (rng.random((34, 20, width)) < 0.2)
    volume[0], volume[:, :, 0] = 0, 0
    bits = Trimmed.of(packed((volume > 0).astype(np.uint8)))
    models, shape = ensemble([{"liver": volume}, {"liver": 255 - volume}]), blocks_of(volume.shape)
    first, second = (samples.gather(blocks, bits) for blocks in models.blocks("liver", np.ones(shape, np.bool_)))
    values = np.concatenate([first, second], axis=1)
    np.testing.assert_array_equal(values, [volume[volume > 0], 255 - volume[volume > 0]])
    np.testing.assert_array_equal(samples.spread(values[0], bits).whole(volume.shape), volume)


def test_values_of_blocks_that_were_not_read_are_0() -> None:
    volume = np.full((20, 20, 70), 7, np.uint8)
    bits, upper = Trimmed.of(packed((volume > 0).astype(np.uint8))), np.zeros(blocks_of(volume.shape), np.bool_)
    upper[1] = True
    (blocks,) = ensemble([{"liver": volume}]).blocks("liver", upper)
    volume[:16] = 0
    np.testing.assert_array_equal(samples.gather(blocks, bits)[0], volume.reshape(-1))


@settings(deadline=None)
@given(arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.integers(1, 140)), elements=st.just(0)),
       st.lists(st.tuples(*[st.floats(0, 0.99)] * 3), max_size=5))  # fmt: skip
def test_blocks_that_hold_bits_are_known_and_lie_in_the_box_around_them(
    mask: Array, places: list[tuple[float, ...]]
) -> None:
    held = np.zeros(blocks_of(mask.shape), np.bool_)
    for place in places:
        k, j, i = (int(share * length) for share, length in zip(place, mask.shape, strict=True))
        mask[k, j, i], held[k // 16, j // 16, i // 64] = 1, True
    bits = Trimmed.of(packed(mask))
    np.testing.assert_array_equal(bits.blocks(held.shape), held)
    around = Trimmed.around(held, mask.shape, masks=2)
    assert around.words.shape[0] == 2
    assert not around.words.any()
    np.testing.assert_array_equal(bits.over(around.box), packed(mask)[tuple(around.box)])


@settings(deadline=None)
@given(MASKS, st.integers(0, 2**32 - 1))
def test_values_are_moved_to_other_bits(before: Array, seed: int) -> None:
    rng = np.random.default_rng(seed)
    after = (rng.random(before.shape) < 0.3).astype(np.uint8)
    volume = rng.integers(1, 256, before.shape).astype(np.uint8) * before
    found = samples.moved(volume[before > 0][None], packed(before), packed(after))
    np.testing.assert_array_equal(found[0], volume[after > 0])
