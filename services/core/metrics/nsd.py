"""Normalised surface Dice: how much of two surfaces lies within a tolerance of the other one.

No distance is computed: only the few grid offsets within the tolerance can matter, and along a row they are a range of
bits. Defined as in Nikolov et al. 2018 (arXiv 1809.04430) and their program surface-distance.
"""

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.errors import AtlasError, Reason
from services.core.geometry import Triple
from services.core.metrics.elements import element_areas_mm2
from services.core.metrics.pair import Mask, Pair
from services.core.metrics.spacing import require_spacing
from services.core.metrics.surface import Surface, neighbourhood

DEFAULT_TOLERANCE_MM = 1.0
MAX_TOLERANCE_MM = 50.0
"""The largest tolerance: beyond it the offsets that matter are too many, and the measure says nothing."""


def nsd(first: Mask, second: Mask, spacing_mm: Triple, tolerance_mm: float = DEFAULT_TOLERANCE_MM) -> float:
    """Normalised surface Dice of two masks (k, j, i), 0 to 1; NaN if both are empty, 0 if one is.

    `spacing_mm` is along i, j and k, as in `Geometry.spacing_mm`; a surface at exactly `tolerance_mm` counts as near.
    """
    pair = Pair.of(first, second)
    require_spacing(spacing_mm)
    if pair.both_empty or pair.one_empty:
        return float("nan") if pair.both_empty else 0.0
    return nsd_of(Surface.of(pair.first), Surface.of(pair.second), spacing_mm, tolerance_mm)


def nsd_of(first: Surface, second: Surface, spacing_mm: Triple, tolerance_mm: float) -> float:
    """`nsd` of two surfaces on one grid, neither empty. Raises FIELD_INVALID for a tolerance out of range."""
    require_tolerance(tolerance_mm)
    areas = element_areas_mm2(spacing_mm)
    ranges = _near_ranges(spacing_mm, tolerance_mm, first.corners.shape)
    near, total = np.add(
        _near_area(first.voxels, first.corners, second.corners, areas, ranges),
        _near_area(second.voxels, second.corners, first.corners, areas, ranges),
    )
    return float(near / total)


def require_tolerance(tolerance_mm: float, field: str = "tolerance_mm") -> None:
    """Raise FIELD_INVALID unless 0 <= tolerance_mm <= MAX_TOLERANCE_MM."""
    if not 0 <= tolerance_mm <= MAX_TOLERANCE_MM:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"{tolerance_mm:g} mm is no tolerance.",
            field=field,
            remedy=f"Use 0 to {MAX_TOLERANCE_MM:g} mm.",
        )


def _near_ranges(spacing_mm: Triple, tolerance_mm: float, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Rows (dk, dj) that come near enough, nearest first, and the reach along i in them; shape (rows, 3)."""
    size_i, size_j, size_k = spacing_mm
    most_k, most_j = (int(min(tolerance_mm / size + 1, n)) for size, n in ((size_k, shape[0]), (size_j, shape[1])))
    k, j = (a.ravel() for a in np.mgrid[-most_k : most_k + 1, -most_j : most_j + 1])
    row_mm2 = (k * size_k) ** 2 + (j * size_j) ** 2
    # The same arithmetic as in SciPy's distance transform, which decides where a distance is the tolerance.
    steps = np.arange(int(min(tolerance_mm / size_i + 1, 64 * shape[2])) + 1)
    is_near = np.sqrt(row_mm2[:, None] + (steps * size_i) ** 2) <= tolerance_mm
    reach = is_near.sum(axis=1) - 1
    order = np.argsort(row_mm2, kind="stable")
    order = order[reach[order] >= 0]
    return np.ascontiguousarray(np.stack([k, j, reach], axis=1)[order], np.int64)


@njit("b1(u8[::1], i8, i8)", nogil=True, cache=True)
def _any_between(row, first, last):  # type: ignore[no-untyped-def]
    """Whether a bit of the row is set in [first, last]."""
    first, last = max(first, 0), min(last, 64 * len(row) - 1)
    low, high = first >> 6, last >> 6
    from_first = ~np.uint64(0) << np.uint64(first & 63)
    to_last = ~np.uint64(0) >> np.uint64(63 - (last & 63))
    if low == high:
        return (row[low] & from_first & to_last) != 0
    if (row[low] & from_first) != 0 or (row[high] & to_last) != 0:
        return True
    for word in range(low + 1, high):  # noqa: SIM110 - compiled
        if row[word] != 0:
            return True
    return False


@njit("UniTuple(f8, 2)(u8[:,:,::1], u8[:,:,::1], u8[:,:,::1], f8[::1], i8[:,::1])", nogil=True, cache=True)
def _near_area(voxels, corners, others, areas, ranges):  # type: ignore[no-untyped-def]
    """Area of a surface that lies near the other one, and all of it."""
    depth, height, words = corners.shape
    near, total = 0.0, 0.0
    for k in range(depth):
        for j in range(height):
            for w in range(words):
                left = corners[k, j, w]
                x = 64 * w
                while left != 0:
                    while left & np.uint64(0xFF) == 0:
                        left >>= np.uint64(8)
                        x += 8
                    while left & np.uint64(1) == 0:
                        left >>= np.uint64(1)
                        x += 1
                    area = areas[neighbourhood(voxels, k, j, x)]
                    total += area
                    for r in range(len(ranges)):
                        k2, j2 = k + ranges[r, 0], j + ranges[r, 1]
                        if not (0 <= k2 < depth and 0 <= j2 < height):
                            continue
                        if _any_between(others[k2, j2], x - ranges[r, 2], x + ranges[r, 2]):
                            near += area
                            break
                    left >>= np.uint64(1)
                    x += 1
    return near, total
