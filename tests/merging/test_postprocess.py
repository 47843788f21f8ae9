"""The steps of post-processing: sizes in mm, only on what comes from AI, each change told."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from abdomenatlas.storage.v1 import storage_pb2
from abdomenatlas.type.v1 import merge_pb2
from services.core import classmaps
from services.core import organs as organs_table
from services.core.geometry import Geometry
from services.core.organs import Step
from services.merging.layers import Kind, Layer, Layers
from services.merging.policy import Policy
from services.merging.postprocess import process
from services.merging.precedence import Origin
from tests.merging.volumes import (
    GRID,
    LAYERS,
    TURNS,
    Masks,
    packed,
    turned,
    turned_grid,
    turned_layers,
    whole,
    wholes,
)

SHAPE = (20, 20, 40)
CT = Geometry((40, 20, 20), (4.0, 0.0, 0.0, -80.0, 0.0, 4.0, 0.0, -40.0, 0.0, 0.0, 4.0, 0.0))
"""Axis-aligned RAS, 64 mm^3 a voxel, x from -80 to 76 mm."""


def block(*where: slice) -> Masks:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[where] = 1
    return voxels


def ai(**masks: Masks) -> dict[str, Layer]:
    return {organ: Layer(Origin.AI, packed(mask)) for organ, mask in masks.items()}


def after(layers: Layers, *steps: Step, grid: Geometry = CT) -> dict[str, Masks]:
    done = process(layers, Policy(steps={"": steps}), grid)
    return {organ: whole(layer.mask, grid.array_shape) for organ, layer in done.items()}


BIG, SMALL, TINY = (
    block(slice(2, 12), slice(2, 12), slice(2, 12)),
    block(slice(2, 7), slice(2, 7), slice(15, 20)),
    block(slice(15, 16), slice(15, 16), slice(30, 31)),
)
"""64, 8 and 0.064 ml."""


def test_only_the_largest_piece_stays() -> None:
    layers = ai(pancreas=BIG | SMALL | TINY)
    np.testing.assert_array_equal(after(layers, Step.LARGEST)["pancreas"], BIG)
    (change,) = process(layers, Policy(steps={"": (Step.LARGEST,)}), CT)["pancreas"].changes
    assert (change.kind, change.added.voxels, change.removed_voxels) == (Kind.LARGEST, 0, 126)


def test_islands_go_by_their_volume_and_not_by_their_voxels() -> None:
    """100 mm^3 are less than two voxels here, and more than 1000 on a fine grid."""
    layers = ai(pancreas=BIG | SMALL | TINY)
    np.testing.assert_array_equal(after(layers, Step.ISLANDS)["pancreas"], BIG | SMALL)
    fine = Geometry((40, 20, 20), (0.4, 0.0, 0.0, 0.0, 0.0, 0.4, 0.0, 0.0, 0.0, 0.0, 0.4, 0.0))
    np.testing.assert_array_equal(after(layers, Step.ISLANDS, grid=fine)["pancreas"], BIG)


def test_an_organ_that_is_an_island_itself_stays() -> None:
    np.testing.assert_array_equal(after(ai(pancreas=TINY), Step.ISLANDS)["pancreas"], TINY)


def test_plausible_pieces_have_a_share_of_the_largest() -> None:
    np.testing.assert_array_equal(after(ai(pancreas=BIG | SMALL | TINY), Step.PLAUSIBLE)["pancreas"], BIG | SMALL)


HOLLOW = BIG - block(slice(5, 7), slice(5, 7), slice(5, 7))
"""With a hole of 512 mm^3."""


def test_holes_are_filled_where_anatomy_has_none() -> None:
    found = after(ai(liver=HOLLOW, pancreas=HOLLOW, kidney_left=HOLLOW, colon=HOLLOW), Step.HOLES)
    # The others lie in the same place, so that no hole of theirs is a neighbour's.
    assert {organ: int(mask.sum()) for organ, mask in found.items()} == {
        "liver": 1000,
        "pancreas": 992,
        "kidney_left": 992,
        "colon": 992,
    }


def test_a_hole_that_is_large_open_or_another_organ_stays() -> None:
    large = BIG - block(slice(3, 11), slice(3, 11), slice(3, 11))
    tunnel = BIG - block(slice(2, 12), slice(5, 7), slice(5, 7))
    filled = block(slice(5, 6), slice(5, 6), slice(5, 6))
    for layers in (ai(liver=large), ai(liver=tunnel), ai(liver=HOLLOW, gall_bladder=filled)):
        np.testing.assert_array_equal(after(layers, Step.HOLES)["liver"], whole(layers["liver"].mask, SHAPE))


def test_a_hole_that_touches_the_outside_at_a_corner_only_is_closed() -> None:
    """The mask is 26-connected, so what it leaves is 6-connected."""
    leaky = HOLLOW.copy()
    for step in range(2, 5):
        leaky[step, step, step] = 0
    assert after(ai(liver=leaky), Step.HOLES)["liver"].sum() > leaky.sum()


RIGHT, LEFT, LIVER = (
    block(slice(5, 10), slice(5, 10), slice(28, 33)),
    block(slice(5, 9), slice(5, 10), slice(6, 11)),
    block(slice(10, 18), slice(5, 15), slice(22, 39)),
)


@pytest.mark.parametrize("given", [(RIGHT, LEFT), (LEFT | RIGHT, np.zeros(SHAPE, np.uint8))])
def test_pieces_go_to_their_side(given: tuple[Masks, Masks]) -> None:
    """Swapped, or both in one: the left one lies at negative x."""
    found = after(ai(kidney_left=given[0], kidney_right=given[1], liver=LIVER), Step.SIDES)
    np.testing.assert_array_equal(found["kidney_left"], LEFT)
    np.testing.assert_array_equal(found["kidney_right"], RIGHT)
    np.testing.assert_array_equal(found["liver"], LIVER)


def test_sides_stay_where_the_liver_does_not_agree_with_the_affine() -> None:
    mirrored = Geometry(CT.shape, (-4.0, *CT.affine[1:3], 80.0, *CT.affine[4:]))
    layers = ai(kidney_left=LEFT, kidney_right=RIGHT, liver=LIVER)
    assert wholes(process(layers, Policy(steps={"": (Step.SIDES,)}), mirrored), SHAPE) == wholes(layers, SHAPE)
    del layers["liver"]
    layers["kidney_left"], layers["kidney_right"] = layers["kidney_right"], layers["kidney_left"]
    assert wholes(process(layers, Policy(steps={"": (Step.SIDES,)}), CT), SHAPE) == wholes(layers, SHAPE)


def test_a_twin_that_people_labelled_is_never_touched() -> None:
    layers = ai(kidney_left=LEFT | RIGHT, liver=LIVER)
    layers["kidney_right"] = Layer(Origin.REVISION, packed(TINY))
    done = process(layers, Policy(steps={"": tuple(Step)}), CT)
    assert done["kidney_right"] is layers["kidney_right"]


def test_an_organ_may_be_left_as_the_models_gave_it() -> None:
    layers = ai(liver=HOLLOW | TINY, spleen=HOLLOW | SMALL)
    done = process(layers, Policy(steps={"liver": ()}), CT)
    assert done["liver"] is layers["liver"]
    assert [change.kind for change in done["spleen"].changes] == [Kind.LARGEST, Kind.HOLES]
    np.testing.assert_array_equal(whole(done["spleen"].mask, SHAPE), BIG)


@settings(deadline=None, max_examples=40)
@given(layers=LAYERS, steps=st.sets(st.sampled_from(list(Step))))
def test_masks_of_people_stay_and_changes_add_up(layers: Layers, steps: set[Step]) -> None:
    done = process(layers, Policy(steps={"": tuple(steps)}), GRID)
    for organ, layer in layers.items():
        if layer.origin != Origin.AI:
            assert done[organ] is layer
        gained = sum(change.added.voxels - change.removed_voxels for change in done[organ].changes)
        assert done[organ].mask.voxels == layer.mask.voxels + gained


@pytest.mark.parametrize("turn", TURNS)
@settings(deadline=None, max_examples=15)
@given(layers=LAYERS, steps=st.sets(st.sampled_from(list(Step)), min_size=1))
def test_reorientation_commutes(
    turn: tuple[tuple[int, ...], tuple[int, ...]], layers: Layers, steps: set[Step]
) -> None:
    policy = Policy(steps={"": tuple(steps)})
    found = process(turned_layers(layers, *turn), policy, turned_grid(GRID, *turn))
    for organ, layer in process(layers, policy, GRID).items():
        expected = turned(whole(layer.mask), *turn)
        np.testing.assert_array_equal(whole(found[organ].mask, expected.shape), expected)


def test_the_table_knows_every_organ_of_the_class_maps() -> None:
    known, _ = organs_table._table()
    organs = {organ for name in classmaps.names() for organ in classmaps.load(name).organs}
    # The pancreas takes the default, which fills no holes.
    assert organs - set(known) == {"pancreas"}
    assert {within for entry in known.values() for within in entry.within} <= organs
    assert organs_table.organ("pancreas").hole_mm3 == organs_table.organ("kidney_left").hole_mm3 == 0


def test_the_documentation_shows_the_table() -> None:
    page = (Path(__file__).parents[2] / "docs/merging.md").read_text()
    known, default = organs_table._table()
    for name, entry in {"any other, as the pancreas": default, **known}.items():
        steps = ", ".join(step.name.lower() for step in entry.steps)
        holes = f"{entry.hole_mm3:g}" if entry.hole_mm3 else "none"
        row = (
            f"| {name} | {steps} | {entry.island_mm3:g} | {entry.piece_share:g} | {holes} | {', '.join(entry.within)} |"
        )
        assert row in page


def test_numbers_are_those_of_the_contract() -> None:
    steps = {step.name: step.value for step in Step}
    assert steps == {name.removeprefix("STEP_"): n for name, n in merge_pb2.OrganSteps.Step.items() if n}
    kinds = {kind.name: kind.value for kind in Kind}
    assert kinds == {name.removeprefix("KIND_"): n for name, n in storage_pb2.LabelChange.Kind.items() if n}
