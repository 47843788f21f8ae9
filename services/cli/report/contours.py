"""Outlines of a field as closed curves (marching squares)."""

import numpy as np
import numpy.typing as npt

Curve = npt.NDArray[np.float64]

# Which edges of a cell the curve joins, by the corners above the level: 1 top left, 2 top right, 4 bottom right,
# 8 bottom left. Edges: 0 top, 1 right, 2 bottom, 3 left. In the two saddles the high corners stay apart.
_JOINS: dict[int, tuple[tuple[int, int], ...]] = {
    1: ((3, 0),),
    2: ((0, 1),),
    3: ((3, 1),),
    4: ((1, 2),),
    5: ((3, 0), (1, 2)),
    6: ((0, 2),),
    7: ((3, 2),),
    8: ((2, 3),),
    9: ((2, 0),),
    10: ((0, 1), (2, 3)),
    11: ((2, 1),),
    12: ((1, 3),),
    13: ((1, 0),),
    14: ((0, 3),),
}
_Edge = tuple[int, int, int]
"""Row, column, and 0 for the edge to the right of that pixel centre or 1 for the edge below it."""


def contours(field: npt.NDArray[np.float32], level: float = 0.5) -> list[Curve]:
    """Closed curves around what lies above `level`, each (n, 2) of x (column) and y (row) at sub-pixel positions.

    What touches the border of the field is closed just outside of it.
    """
    padded = np.pad(field.astype(np.float64), 1, constant_values=2 * level - max(float(field.max()), 2 * level))
    high = padded > level
    code = high[:-1, :-1] + 2 * high[:-1, 1:] + 4 * high[1:, 1:] + 8 * high[1:, :-1]
    follows: dict[_Edge, _Edge] = {}
    for row, column in zip(*np.nonzero((code > 0) & (code < 15)), strict=True):
        edges = _edges(int(row), int(column))
        for first, second in _JOINS[int(code[row, column])]:
            follows[edges[first]] = edges[second]
    curves: list[Curve] = []
    while follows:
        edge = start = next(iter(follows))
        points = []
        while edge in follows:
            points.append(_crossing(padded, edge, level))
            edge = follows.pop(edge)
        assert edge == start
        curves.append(np.array(points, np.float64) - 1.0)
    return curves


def svg_path(curves: list[Curve], least_points: int = 4) -> str:
    """Path data of closed curves, with a tenth of a pixel; the pixel (0, 0) reaches from 0 to 1."""
    parts = []
    for curve in curves:
        if len(curve) < least_points:
            continue
        tenths = np.rint((curve + 0.5) * 10).astype(int)
        steps = np.diff(tenths, axis=0)
        moves = "".join(f"l{_tenth(x)} {_tenth(y)}" for x, y in steps if x or y)
        parts.append(f"M{_tenth(tenths[0, 0])} {_tenth(tenths[0, 1])}{moves}z")
    return "".join(parts)


def _tenth(value: int) -> str:
    return f"{value / 10:g}"


def _edges(row: int, column: int) -> tuple[_Edge, _Edge, _Edge, _Edge]:
    return (row, column, 0), (row, column + 1, 1), (row + 1, column, 0), (row, column, 1)


def _crossing(field: npt.NDArray[np.float64], edge: _Edge, level: float) -> tuple[float, float]:
    row, column, down = edge
    first = field[row, column]
    second = field[row + 1, column] if down else field[row, column + 1]
    share = (level - first) / (second - first)
    return (float(column), row + share) if down else (column + share, float(row))
