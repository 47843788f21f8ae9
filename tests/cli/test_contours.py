"""Outlines run along the edge of what they surround."""

import re
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from services.cli.report.contours import contours, svg_path


def area(curve: npt.NDArray[Any]) -> float:
    """Signed area of a closed curve."""
    x, y = curve[:, 0], curve[:, 1]
    return float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_a_square_is_outlined_half_a_pixel_outside_its_centres() -> None:
    field = np.zeros((6, 8), np.float32)
    field[2:4, 3:6] = 1
    (curve,) = contours(field)
    assert (curve.min(axis=0) == [2.5, 1.5]).all()
    assert (curve.max(axis=0) == [5.5, 3.5]).all()


def test_what_touches_the_border_is_closed() -> None:
    curves = contours(np.ones((3, 4), np.float32))
    assert len(curves) == 1
    assert abs(area(curves[0])) == pytest.approx(12, rel=0.1)


def test_a_hole_turns_the_other_way() -> None:
    field = np.zeros((9, 9), np.float32)
    field[1:8, 1:8] = 1
    field[4, 4] = 0
    areas = sorted(area(curve) for curve in contours(field))
    assert len(areas) == 2
    assert areas[0] * areas[1] < 0


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (7, 9), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])))
def test_all_curves_close_and_nothing_fails(field: npt.NDArray[Any]) -> None:
    for curve in contours(field):
        steps = np.abs(np.diff(np.vstack([curve, curve[:1]]), axis=0)).max()
        assert steps <= 1.0 + 1e-9


def test_path_data_returns_to_its_start() -> None:
    field = np.zeros((6, 8), np.float32)
    field[2:4, 3:6] = 1
    path = svg_path(contours(field))
    assert re.fullmatch(r"M[\d.]+ [\d.]+(l-?[\d.]+ -?[\d.]+)+z", path)
