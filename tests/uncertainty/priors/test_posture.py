"""How an array lies in memory changes no finding."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core.boxes import crop
from services.core.geometry import Geometry
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.check import check
from services.uncertainty.priors.posture import Posture
from tests.uncertainty.priors.bodies import BODY, GRID, Body, anatomy, arrays, ball, body, box, only, whole

# Faults of many kinds, one of them at a border of blocks.
FAULTY: Body = body(
    kidney_left=BODY["kidney_right"],
    aorta=box(-12, -25, 200, 9, 9, 75),
    spleen=(*BODY["spleen"], ball(-35, 40, 330, 12), box(-68, -40, 265, 21, 4, 4), ball(-35, -40, 265, 15)),
    prostate=ball(0, 20, 200, 15),
    liver=box(65, 20, 260, 60, 50, 60),
    gall_bladder=ball(-40, 50, 195, 12),
    colon=(*BODY["colon"], ball(-70, 0, 380, 12)),
)


def turned(order: Sequence[int], flips: Sequence[bool]) -> tuple[Geometry, tuple[int, ...], list[int]]:
    """GRID with its index axes (i, j, k) re-ordered and flipped; how to turn a (k, j, i) array the same way."""
    matrix, shape = np.eye(4), []
    matrix[:3, 3] = GRID.matrix[:3, 3]
    for axis, (source, flip) in enumerate(zip(order, flips, strict=True)):
        column = GRID.matrix[:3, source]
        matrix[:3, axis] = -column if flip else column
        matrix[:3, 3] += column * (GRID.shape[source] - 1) if flip else 0
        shape.append(GRID.shape[source])
    axes = tuple(2 - source for source in order)[::-1]
    return Geometry.from_matrix((shape[0], shape[1], shape[2]), matrix), axes, [2 - a for a in range(3) if flips[a]]


@settings(max_examples=24, deadline=None)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))
def test_reorienting_changes_no_finding(order: list[int], flips: tuple[bool, ...]) -> None:
    """The same rules, evidence and places in the patient; the regions turn with the array."""
    masks = arrays(FAULTY)
    expected = list(check(anatomy(masks)))
    assert len({finding.rule for finding in expected}) >= 8
    grid, axes, flipped = turned(order, flips)
    moved = {organ: np.ascontiguousarray(np.flip(mask.transpose(axes), flipped)) for organ, mask in masks.items()}
    found = list(check(anatomy(moved, grid)))
    assert [(f.rule, f.organs, f.severity, f.message) for f in found] == [
        (f.rule, f.organs, f.severity, f.message) for f in expected
    ]
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.evidence == pytest.approx(theirs.evidence, rel=1e-6, abs=1e-6)
        assert mine.centre_mm == pytest.approx(theirs.centre_mm, abs=1e-6)
        np.testing.assert_array_equal(
            whole(mine.region, grid), np.flip(whole(theirs.region, GRID).transpose(axes), flipped)
        )


@settings(max_examples=48, deadline=None)
@given(st.permutations([0, 1, 2]), st.tuples(*[st.booleans()] * 3))
def test_a_voxel_keeps_its_place_in_the_world(order: list[int], flips: tuple[bool, ...]) -> None:
    grid, _, _ = turned(order, flips)
    posture = Posture(grid)
    array = np.zeros(grid.array_shape, np.uint8)
    array[7:9, 11:16, 30:31] = 1
    boxed = crop(array)
    taken = posture.take(boxed)
    assert posture.grid.orientation == "RAS"
    assert posture.grid.is_close(GRID)
    back = posture.give_back(taken)
    assert back.corner == boxed.corner
    np.testing.assert_array_equal(back.voxels, boxed.voxels)
    corners = [
        sorted(map(tuple, (g.matrix @ np.vstack([np.argwhere(whole(b, g))[:, ::-1].T, np.ones(10)]))[:3].T.round(6)))
        for b, g in ((boxed, grid), (taken, posture.grid))
    ]
    assert corners[0] == corners[1]


def test_a_tilted_grid_is_turned_not_resampled() -> None:
    """Ten degrees about the head-feet axis, LPS: centres of gravity are those of the tilted masks, in the world."""
    angle = np.radians(10)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ np.diag([-3.0, -3.0, 3.0])
    matrix[:3, 3] = (140, 90, 1.5)
    grid = Geometry.from_matrix((100, 70, 140), matrix)
    array = np.zeros(grid.array_shape, np.uint8)
    array[20:41, 30:41, 10:31] = 1
    organ = Anatomy.of({"liver": crop(array)}, grid).organs["liver"]
    assert organ.centre_mm == pytest.approx((matrix @ (20, 35, 30, 1))[:3])
    assert organ.volume_ml == pytest.approx(21 * 11 * 21 * 0.027)
    assert organ.profile.levels_mm[[0, -1]] == pytest.approx([61.5, 121.5])
    assert organ.high_mm[0] - organ.low_mm[0] == pytest.approx(20 * 3 * np.cos(angle))


def test_the_field_of_view_is_that_of_the_scan_if_it_is_named() -> None:
    """A network grid is the box around an oblique CT: in its corners there is nothing, and an organ that ends at the
    CT's face is cut there, though voxels of the grid go on."""
    masks = {organ: crop(mask) for organ, mask in arrays(only(BODY, "liver")).items()}
    assert Anatomy.of(masks, GRID).organs["liver"].cut_at == frozenset()
    matrix = GRID.matrix
    matrix[:3, :3] *= -1
    matrix[:3, 3] = (148.5, 103.5, 329)
    scanned = Geometry.from_matrix((100, 70, 109), matrix)
    assert Anatomy.of(masks, GRID, scanned).organs["liver"].cut_at == {"S"}
