"""A whole merge of masks, from organs to arrays: idempotent, and the same in any orientation."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.core import arrayfile, classmaps
from services.core.organs import Step
from services.merging.layers import NOTHING, Layer, Layers
from services.merging.making import COMBINED, SOURCES, Made, make
from services.merging.policy import Overwrite, Policy
from services.merging.precedence import Choice, Origin
from tests.merging.volumes import GRID, SHAPE, TURNS, Masks, packed, turned, turned_grid, turned_layers

MAP = classmaps.load("abdomenatlas-1.1")
ORGANS = ("aorta", "kidney_left", "kidney_right", "liver", "spleen", "stomach")
EVERY = pytest.mark.parametrize("overwrite", list(Overwrite))


def _layers(origins: Sequence[Origin], masks: Masks, predicted: Masks) -> dict[str, Layer]:
    return {
        organ: Layer(origin, packed(mask), NOTHING if origin == Origin.AI else packed(said))
        for organ, origin, mask, said in zip(ORGANS, origins, masks, predicted, strict=True)
    }


MASKS = arrays(np.uint8, (len(ORGANS), *SHAPE), elements=st.integers(0, 1))
LAYERS = st.builds(_layers, st.tuples(*[st.sampled_from(list(Origin))] * len(ORGANS)), MASKS, MASKS)
STEPS = st.sets(st.sampled_from(list(Step))).map(lambda steps: tuple(sorted(steps)))


def choices(layers: Layers) -> list[Choice]:
    """Each organ by a version or a prediction of its own."""
    return [
        Choice(organ, layer.origin, predictions=(f"p-{organ}",))
        if layer.origin == Origin.AI
        else Choice(organ, layer.origin, label_version=f"v-{organ}")
        for organ, layer in layers.items()
    ]


def arrays_of(made: Made) -> dict[str, Masks]:
    """All channels of what was made."""
    found: dict[str, Masks] = {}
    for data in (made.masks, made.combined):
        file = arrayfile.decode(data)
        found |= {channel: file.channel(channel).astype(np.uint8) for channel in file.channels}
    return found


def policy(overwrite: Overwrite, steps: tuple[Step, ...]) -> Policy:
    return Policy(overwrite, steps={"": steps})


@EVERY
@settings(deadline=None, max_examples=60)
@given(layers=LAYERS, steps=STEPS)
def test_what_was_made_is_made_of_itself(overwrite: Overwrite, layers: Layers, steps: tuple[Step, ...]) -> None:
    """A second time changes nothing. Masks are mended before organs are held against each other, so what `clear` or
    `reassign` leaves of one is not mended, and would be then.
    """
    once = make(layers, choices(layers), policy(overwrite, steps), MAP, GRID)
    plain = {organ: replace(layer, changes=()) for organ, layer in once.layers.items()}
    again = make(plain, choices(layers), policy(overwrite, steps if overwrite == Overwrite.KEEP else ()), MAP, GRID)
    assert again.masks == once.masks
    np.testing.assert_array_equal(arrays_of(again)[COMBINED], arrays_of(once)[COMBINED])


@EVERY
@pytest.mark.parametrize("turn", TURNS[1:])
@settings(deadline=None, max_examples=12)
@given(layers=LAYERS, steps=STEPS)
def test_reorientation_commutes(
    overwrite: Overwrite, turn: tuple[tuple[int, ...], tuple[int, ...]], layers: Layers, steps: tuple[Step, ...]
) -> None:
    one = make(layers, choices(layers), policy(overwrite, steps), MAP, GRID)
    other = make(turned_layers(layers, *turn), choices(layers), policy(overwrite, steps), MAP, turned_grid(GRID, *turn))
    expected = {channel: turned(voxels, *turn) for channel, voxels in arrays_of(one).items()}
    found = arrays_of(other)
    assert set(found) == {*ORGANS, COMBINED, SOURCES}
    for channel, voxels in expected.items():
        np.testing.assert_array_equal(found[channel], voxels, err_msg=channel)
    assert other.sources == one.sources
    np.testing.assert_array_equal(other.voxels, one.voxels)
