"""Policies of overwriting: idempotent, in any order, in any orientation, and never from below."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.geometry import Geometry
from services.core.organs import may_share
from services.merging.layers import Kind, Layer, Layers
from services.merging.overwriting import OVERWRITERS
from services.merging.policy import Overwrite
from services.merging.precedence import Origin
from tests.merging.volumes import (
    GRID,
    LAYERS,
    MASKS,
    ORGANS,
    SHAPE,
    TURNS,
    Masks,
    layers_of,
    packed,
    turned,
    turned_grid,
    turned_layers,
    whole,
    wholes,
)

EVERY = pytest.mark.parametrize("policy", list(Overwrite))
PLAIN = settings(deadline=None, max_examples=40)


@EVERY
@PLAIN
@given(layers=LAYERS)
def test_a_second_time_changes_nothing(policy: Overwrite, layers: Layers) -> None:
    once = OVERWRITERS[policy](layers, GRID)
    assert wholes(OVERWRITERS[policy](once, GRID)) == wholes(once)


@EVERY
@PLAIN
@given(layers=LAYERS, order=st.permutations(ORGANS))
def test_the_order_of_the_organs_does_not_matter(policy: Overwrite, layers: Layers, order: list[str]) -> None:
    other = {organ: layers[organ] for organ in order}
    assert wholes(OVERWRITERS[policy](other, GRID)) == wholes(OVERWRITERS[policy](layers, GRID))


@EVERY
@PLAIN
@given(layers=LAYERS, masks=MASKS, origin=st.sampled_from([Origin.SOURCE, Origin.REVISION]))
def test_nothing_below_alters_what_is_above(policy: Overwrite, layers: Layers, masks: Masks, origin: Origin) -> None:
    """Whatever the lower origins say, the higher ones come out the same; and the source as it went in."""
    below = {
        organ: layer if layer.origin <= origin else Layer(layer.origin, packed(mask), layer.predicted)
        for (organ, layer), mask in zip(layers.items(), masks, strict=True)
    }
    first, second = OVERWRITERS[policy](layers, GRID), OVERWRITERS[policy](below, GRID)
    for organ, layer in layers.items():
        if layer.origin <= origin:
            assert whole(first[organ].mask).tobytes() == whole(second[organ].mask).tobytes()
        if layer.origin == Origin.SOURCE:
            assert first[organ] is layer


@EVERY
@pytest.mark.parametrize("turn", TURNS)
@settings(deadline=None, max_examples=15)
@given(layers=LAYERS)
def test_reorientation_commutes(
    policy: Overwrite, turn: tuple[tuple[int, ...], tuple[int, ...]], layers: Layers
) -> None:
    after = OVERWRITERS[policy](turned_layers(layers, *turn), turned_grid(GRID, *turn))
    for organ, layer in OVERWRITERS[policy](layers, GRID).items():
        expected = turned(whole(layer.mask), *turn)
        np.testing.assert_array_equal(whole(after[organ].mask, expected.shape), expected)


@PLAIN
@given(layers=LAYERS)
def test_keep_alters_nothing_and_clear_leaves_no_voxel_to_two_origins(layers: Layers) -> None:
    assert OVERWRITERS[Overwrite.KEEP](layers, GRID) is layers
    cleared = OVERWRITERS[Overwrite.CLEAR](layers, GRID)
    for organ, layer in layers.items():
        expected = whole(layer.mask)
        for other, above in layers.items():
            if above.origin < layer.origin and not may_share(organ, other):
                expected &= whole(above.mask) ^ np.uint8(1)
        np.testing.assert_array_equal(whole(cleared[organ].mask), expected)


@PLAIN
@given(layers=LAYERS)
def test_freed_voxels_go_to_what_is_nearest(layers: Layers) -> None:
    """Against a search of every voxel among all others."""
    cleared = OVERWRITERS[Overwrite.CLEAR](layers, GRID)
    masks = {organ: whole(layer.mask) for organ, layer in cleared.items()}
    people = [organ for organ, layer in layers.items() if layer.origin < Origin.AI]
    models = sorted(organ for organ in layers if organ not in people)
    taken = np.any([masks[organ] != 0 for organ in people] or [np.zeros(SHAPE)], axis=0)
    freed = np.zeros(SHAPE, bool)
    for organ in people:
        freed |= (whole(layers[organ].predicted) != 0) & (masks[organ] == 0)
    freed &= ~taken
    claimed = np.any([masks[organ] != 0 for organ in models] or [np.zeros(SHAPE)], axis=0)
    expected = {organ: mask.copy() for organ, mask in masks.items()}
    sizes = np.array(GRID.spacing_mm[::-1])
    candidates = np.argwhere(~freed & ~taken)
    for voxel in np.argwhere(freed & ~claimed):
        if not len(candidates) or not models:
            break
        distances = np.round((((candidates - voxel) * sizes) ** 2).sum(axis=1), 6)
        nearest = [tuple(place) for place in candidates[distances == distances.min()]]
        winner = next((organ for organ in models if any(masks[organ][place] for place in nearest)), None)
        if winner:
            expected[winner][tuple(voxel)] = 1
    found = OVERWRITERS[Overwrite.REASSIGN](layers, GRID)
    for organ in layers:
        np.testing.assert_array_equal(whole(found[organ].mask), expected[organ], organ)


def test_a_far_label_is_found_beyond_the_first_look() -> None:
    """100 voxels of 1 mm: all of them freed, and the only label at the end."""
    grid = Geometry((100, 1, 1), (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    line, end = np.ones((1, 1, 100), np.uint8), np.zeros((1, 1, 100), np.uint8)
    line[..., 0], end[..., 99] = 0, 1
    truth = line ^ np.uint8(1)
    layers = {"spleen": Layer(Origin.SOURCE, packed(truth), packed(line - end)), "liver": Layer(Origin.AI, packed(end))}
    found = OVERWRITERS[Overwrite.REASSIGN](layers, grid)["liver"]
    np.testing.assert_array_equal(whole(found.mask, line.shape), line)
    assert [(change.kind, change.added.voxels) for change in found.changes] == [(Kind.REASSIGNED, 98)]


def test_what_changed_is_told() -> None:
    masks = np.zeros((5, *SHAPE), np.uint8)
    masks[2, 0, 0, :4], masks[3, 0, 0, 2:6] = 1, 1
    origins = (Origin.AI, Origin.AI, Origin.SOURCE, Origin.AI, Origin.AI)
    after = OVERWRITERS[Overwrite.CLEAR](layers_of(origins, masks, masks), GRID)
    (change,) = after["spleen"].changes
    assert (change.kind, change.added.voxels, change.removed_voxels) == (Kind.CLEARED, 0, 2)
    assert not any(after[organ].changes for organ in ORGANS if organ != "spleen")


def test_vessels_stay_in_the_liver() -> None:
    masks = np.zeros((5, *SHAPE), np.uint8)
    masks[1:3] = 1
    origins = (Origin.AI, Origin.SOURCE, Origin.AI, Origin.AI, Origin.AI)
    after = OVERWRITERS[Overwrite.CLEAR](layers_of(origins, masks, masks), GRID)
    assert after["liver"].mask.voxels == np.prod(SHAPE)
