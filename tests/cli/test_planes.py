"""Planes show the patient as a reader expects, whatever the order of the array."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from services.cli.report.planes import Plane, Sampler, body_box, centroid, hottest_point, planes_through
from services.core.geometry import Geometry


def mm(*values: float) -> npt.NDArray[np.float64]:
    """A point or step."""
    return np.array(values, np.float64)


CENTRE = mm(3, -7, 11)
LOW, HIGH = CENTRE - mm(30, 25, 40), CENTRE + mm(30, 25, 40)


def grid(code: str, spacing_mm: tuple[float, float, float] = (2.0, 2.5, 4.0)) -> Geometry:
    """A grid over LOW..HIGH whose index axes grow to the letters of `code`."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    shape = []
    for column, letter in enumerate(code):
        axis = next(a for a, pair in enumerate(("RL", "AP", "SI")) if letter in pair)
        sign = 1 if letter in "RAS" else -1
        matrix[axis, column] = sign * spacing_mm[axis]
        count = round((HIGH[axis] - LOW[axis]) / spacing_mm[axis])
        shape.append(count)
        matrix[axis, 3] = (LOW[axis] if sign > 0 else HIGH[axis]) + sign * spacing_mm[axis] / 2
    return Geometry.from_matrix((shape[0], shape[1], shape[2]), matrix)


def phantom(geometry: Geometry) -> npt.NDArray[np.uint8]:
    """1 in the half to the right, 2 more in the half to the front, 4 more in the upper half of the patient."""
    k, j, i = np.indices(geometry.array_shape)
    world = np.einsum("rc,c...->r...", geometry.matrix[:3], np.stack([i, j, k, np.ones_like(i)]))
    right, front, up = (world[axis] > CENTRE[axis] for axis in range(3))
    return np.asarray(right + 2 * front + 4 * up, np.uint8)


def corner_values(plane: Plane, picture: npt.NDArray[Any]) -> list[int]:
    """Values near the picture's corners: top left, top right, bottom left, bottom right."""
    rows, columns = plane.shape
    places = [(r, c) for r in (rows // 8, rows - 1 - rows // 8) for c in (columns // 8, columns - 1 - columns // 8)]
    return [round(float(picture[place])) for place in places]


@pytest.mark.parametrize("code", ["RAS", "LPS", "LAS", "PSR", "SRA", "ILP"])
def test_right_is_left_front_is_up_head_is_up(code: str) -> None:
    geometry = grid(code)
    array = phantom(geometry)
    # A point in the right, front, upper octant: each plane shows the other two axes.
    axial, coronal, sagittal = planes_through(CENTRE + mm(9, 9, 9), (LOW, HIGH), 1.0)
    pictures = [Sampler(geometry, plane)(array, outside=0) for plane in (axial, coronal, sagittal)]
    # Axial through the upper half (4): top is front (+2), left is right (+1).
    assert corner_values(axial, pictures[0]) == [7, 6, 5, 4]
    # Coronal through the front half (2): top is up (+4), left is right (+1).
    assert corner_values(coronal, pictures[1]) == [7, 6, 3, 2]
    # Sagittal through the right half (1): top is up (+4), left is front (+2).
    assert corner_values(sagittal, pictures[2]) == [7, 5, 3, 1]


def test_a_pixel_is_a_square_in_mm() -> None:
    geometry = grid("LPS")
    for plane in planes_through(CENTRE, (LOW, HIGH), 0.5):
        extent = {"axial": (50, 60), "coronal": (80, 60), "sagittal": (80, 50)}[plane.name]
        assert plane.shape == (extent[0] * 2, extent[1] * 2)
    ball = (
        np.linalg.norm(
            np.moveaxis(
                np.einsum(
                    "rc,c...->r...",
                    geometry.matrix[:3],
                    np.stack([*np.indices(geometry.array_shape)[::-1], np.ones(geometry.array_shape)]),
                ),
                0,
                -1,
            )
            - CENTRE,
            axis=-1,
        )
        < 15
    ).astype(np.uint8)
    for plane in planes_through(CENTRE, (LOW, HIGH), 0.5):
        seen = Sampler(geometry, plane)(ball, outside=0) > 0.5
        height, width = np.ptp(np.nonzero(seen.any(axis=1))[0]), np.ptp(np.nonzero(seen.any(axis=0))[0])
        assert height == pytest.approx(60, abs=5)
        assert width == pytest.approx(60, abs=5)


def test_two_grids_meet_in_one_picture() -> None:
    """Heat on a tilted grid of its own lands where the CT shows the same place."""
    coarse = grid("RAS", (5.0, 5.0, 5.0))
    tilt = np.eye(4)
    angle = np.radians(20)
    tilt[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    shift = np.eye(4)
    shift[:3, 3] = CENTRE
    tilted = Geometry.from_matrix(coarse.shape, shift @ tilt @ np.linalg.inv(shift) @ coarse.matrix)
    place = CENTRE + mm(10, 5, 12)
    for geometry in (coarse, tilted, grid("LPS")):
        index = np.rint(np.linalg.inv(geometry.matrix) @ np.append(place, 1))[:3].astype(int)
        heat = np.zeros(geometry.array_shape, np.uint8)
        heat[index[2], index[1], index[0]] = 255
        exact = (geometry.matrix @ np.append(index, 1))[:3]
        axial = planes_through(exact, (LOW, HIGH), 1.0)[0]
        row, column = np.unravel_index(int(Sampler(geometry, axial)(heat, outside=0).argmax()), axial.shape)
        found = axial.corner + row * axial.down + column * axial.right
        assert np.abs(found - exact).max() <= 1.0


def test_outside_the_grid_is_what_was_asked_for() -> None:
    geometry = grid("RAS")
    far = planes_through(CENTRE + mm(500, 0, 0), (LOW + mm(500, 0, 0), HIGH + mm(500, 0, 0)), 2.0)[0]
    assert (Sampler(geometry, far)(phantom(geometry), outside=-1024) == -1024).all()


def test_one_slice_is_a_grid_too() -> None:
    geometry = Geometry.from_matrix((4, 3, 1), np.diag([1.0, 1.0, 5.0, 1.0]))
    array = np.arange(12, dtype=np.uint8).reshape(1, 3, 4)
    plane = planes_through(mm(0, 0, 0), (mm(-0.5, -0.5, -2.5), mm(3.5, 2.5, 2.5)), 1.0)[0]
    assert Sampler(geometry, plane)(array, outside=0).tolist() == array[0, ::-1, ::-1].tolist()


def test_hottest_point_prefers_a_region_to_a_lone_voxel() -> None:
    geometry = grid("LPS")
    heat = np.zeros(geometry.array_shape, np.uint8)
    heat[1, 1, 1] = 255
    heat[12:15, 12:15, 22:25] = 40
    point = hottest_point(heat, geometry)
    expected = (geometry.matrix @ [23, 13, 13, 1])[:3]
    assert point is not None
    assert np.abs(point - expected).max() < 5
    assert hottest_point(np.zeros_like(heat), geometry) is None


def test_centroid_of_a_mask() -> None:
    geometry = grid("PSR")
    mask = np.zeros(geometry.array_shape, np.uint8)
    mask[4:7, 5, 6] = 1
    assert centroid(mask, geometry) == pytest.approx((geometry.matrix @ [6, 5, 5, 1])[:3])
    assert centroid(np.zeros_like(mask), geometry) is None


def test_body_box_leaves_the_air_out() -> None:
    geometry = grid("LPS", (1.0, 1.0, 1.0))
    ct = np.full(geometry.array_shape, -1000, np.int16)
    k, j, i = np.indices(geometry.array_shape)
    world = np.einsum("rc,c...->r...", geometry.matrix[:3], np.stack([i, j, k, np.ones_like(i)]))
    ct[(np.abs(world - CENTRE[:, None, None, None]) < np.array([20, 15, 40])[:, None, None, None]).all(axis=0)] = 40
    low, high = body_box(ct, geometry, margin_mm=2.0)
    assert low[:2] == pytest.approx(CENTRE[:2] - mm(22, 17), abs=2.5)
    assert high[:2] == pytest.approx(CENTRE[:2] + mm(22, 17), abs=2.5)
    empty = body_box(np.full(geometry.array_shape, -1000, np.int16), geometry)
    assert (empty[0] == LOW).all()
