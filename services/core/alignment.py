"""How a label file lies on its CT where the two headers do not agree: as its header says, or as its array does.

Tools lose headers in few ways: they write LPS signs over an array in RAS order, keep the origin of the whole after a
crop, or reorder axes rightly and say so. Each is one of two readings of the file. The CT tells which is meant: a mask
of an organ that lies right holds one tissue, one that lies wrong holds several. A file may also belong to another
patient, and then neither reading is right.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from services.core.errors import AtlasError
from services.core.geometry import Geometry, mismatch

Voxels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
CtVoxels = Callable[[], npt.NDArray[np.int16]]
"""Gives the CT's voxels (k, j, i) in HU; called only if they are needed."""

_SAME = 1e-3
"""How far index axes may be from whole multiples of each other and still be the same, in voxels over one voxel."""
_ON_VOXEL = 0.1
"""How far from a voxel's centre a label may lie and still belong to it, in voxels."""
_MOST_LOST = 0.5
"""A header that puts more of the labels than this outside the CT cannot be meant."""
_DECISIVE = 0.75
"""The better reading's spread of HU over the worse one's, from which on it is certain."""
_MOVED_MM = 12.0
"""How far labels are moved to see whether they lie right. In real and synthetic CTs the spread of HU in organs was at
most 0.69 of the median then, in organs of other patients at least 0.89."""
_LEAST_VOXELS = 200
_TISSUE_HU = (-200, 300)


@dataclass(frozen=True)
class Aligned:
    """Labels (k, j, i) on the CT's grid, and how they came to lie there; the note is empty if nothing was odd."""

    voxels: Voxels
    note: str


@dataclass(frozen=True)
class _Reading:
    """The file as its header says: on the CT's grid, with the share of the labels that lie outside it, 0 to 1."""

    voxels: Voxels
    lost: float


def is_plain(file: Geometry, ct: Geometry) -> bool:
    """Whether the headers agree up to rounding, so that `align` need not look at the CT."""
    return file.is_close(ct)


def reordered(voxels: Voxels, file: Geometry, ct: Geometry) -> Voxels | None:
    """Labels (k, j, i) in the CT's order of voxels, as their header `file` says; None if its grid has other voxels."""
    if is_plain(file, ct):
        return voxels
    index = _index(file, ct)
    turn = _turn(index)
    return _by_header(voxels, index, turn, ct).voxels if turn is not None and _fills(index, file, ct) else None


def align(voxels: Voxels, file: Geometry, ct: Geometry, ct_voxels: CtVoxels, *, name: str, ct_name: str) -> Aligned:
    """Lay labels (k, j, i) with the header `file` on the grid of the CT.

    Raises GEOMETRY_MISMATCH, showing what each reading gives, where neither is certain.
    """
    if is_plain(file, ct):
        same = file.digest == ct.digest
        return Aligned(voxels, "" if same else "the affine differs from the CT's by rounding; the CT's was taken.")
    index = _index(file, ct)
    turn = _turn(index)
    error = mismatch(file, ct, first_name="The file", second_name=ct_name).at(name)
    if turn is None:
        raise error
    as_header = _by_header(voxels, index, turn, ct)
    if not np.array_equal(np.abs(turn), np.eye(3)) or file.shape != ct.shape:
        if not _fills(index, file, ct):
            raise error
        return Aligned(as_header.voxels, _turned(file, ct))
    if np.array_equal(as_header.voxels, voxels):
        apart = _apart_mm(file, ct)
        return Aligned(voxels, f"its header places it {apart:.2f} mm from the CT; no voxel changes by that.")
    return _decide(as_header, voxels, _fills(index, file, ct), file, ct, ct_voxels(), error)


def _decide(
    as_header: _Reading,
    as_array: Voxels,
    header_fits: bool,
    file: Geometry,
    ct: Geometry,
    ct_voxels: npt.NDArray[np.int16],
    error: AtlasError,
) -> Aligned:
    """Choose between the two readings by what the CT shows. `header_fits` tells that the grids are the same box."""
    far = f"its header places it {_apart_mm(file, ct):.0f} mm off ({file.orientation}, the CT is {ct.orientation})"
    here, moved = _spread(as_array, ct_voxels), None
    if not header_fits:
        moved = _spread_moved(as_array, ct, ct_voxels)
    is_tissue = here is not None and moved is not None and here < _DECISIVE * moved
    if as_header.lost > _MOST_LOST:
        seen = (
            f"the HU in it spread by {_told(here)} read as its array, by {_told(moved)} {_MOVED_MM:.0f} mm beside that"
        )
        if not is_tissue:
            raise _undecided(error, f"its header puts {as_header.lost:.0%} of the labels outside the CT, and {seen}")
        return Aligned(as_array, f"{far}, outside the CT; its array follows the CT's and was taken, for {seen}.")
    by_header = _spread(as_header.voxels, ct_voxels)
    seen = f"the HU in it spread by {_told(here)} read as its array, by {_told(by_header)} as its header says"
    if by_header is not None and here is not None:
        if here < _DECISIVE * by_header and (header_fits or is_tissue):
            return Aligned(as_array, f"{far}, but {seen}: its header was not followed.")
        if by_header < _DECISIVE * here and header_fits:
            return Aligned(as_header.voxels, _turned(file, ct))
    if header_fits:
        return Aligned(as_header.voxels, f"{_turned(file, ct)} The CT does not tell whether that is right: {seen}.")
    raise _undecided(error, seen)


def _undecided(error: AtlasError, seen: str) -> AtlasError:
    return AtlasError(
        error.reason, f"{error.message} Neither reading is certain: {seen}.", field=error.field, remedy=error.remedy
    )


def _index(file: Geometry, ct: Geometry) -> npt.NDArray[np.float64]:
    """The 4x4 matrix from an index (i, j, k, 1) of the file to one of the CT."""
    return cast(npt.NDArray[np.float64], np.linalg.inv(ct.matrix) @ file.matrix)


def _turn(index: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Which axis of the CT each axis of the file follows, as 0, 1 and -1; None if they are not the same axes."""
    turn = np.rint(index[:3, :3])
    is_turn = np.abs(index[:3, :3] - turn).max() < _SAME
    return turn if is_turn and all((np.abs(turn).sum(axis=axis) == 1).all() for axis in (0, 1)) else None


def _by_header(voxels: Voxels, index: npt.NDArray[np.float64], turn: npt.NDArray[np.float64], ct: Geometry) -> _Reading:
    """The labels where their header puts them, to the nearest voxel; what lies outside the CT is lost."""
    # Which axis of the file, in (k, j, i), each axis of the CT follows, and in which sense.
    axes = [2 - int(np.abs(turn[2 - axis]).argmax()) for axis in range(3)]
    signs = [int(turn[2 - axis, 2 - axes[axis]]) for axis in range(3)]
    turned = voxels.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    corner = []
    for axis in range(3):
        start = int(np.rint(index[2 - axis, 3]))
        corner.append(start if signs[axis] > 0 else start - turned.shape[axis] + 1)
    laid = cast(Voxels, np.zeros(ct.array_shape, voxels.dtype))
    into, out_of = [], []
    for axis in range(3):
        low, high = max(0, corner[axis]), min(ct.array_shape[axis], corner[axis] + turned.shape[axis])
        into.append(slice(low, max(low, high)))
        out_of.append(slice(low - corner[axis], max(low, high) - corner[axis]))
    laid[tuple(into)] = turned[tuple(out_of)]
    total = int(np.count_nonzero(voxels))
    lost = 1 - int(np.count_nonzero(laid)) / total if total else 0.0
    return _Reading(laid, lost)


def _fills(index: npt.NDArray[np.float64], file: Geometry, ct: Geometry) -> bool:
    """Whether the two grids have the same voxels, in whatever order."""
    ends = np.array([(0, 0, 0), [n - 1 for n in file.shape]], np.float64)
    reached = ends @ index[:3, :3].T + index[:3, 3]
    return bool(
        np.abs(reached.min(axis=0)).max() < _ON_VOXEL
        and np.abs(reached.max(axis=0) - (np.array(ct.shape) - 1)).max() < _ON_VOXEL
    )


def _spread(labels: Voxels, ct_voxels: npt.NDArray[np.int16]) -> float | None:
    """Standard deviation of HU within a label, clipped to soft tissue, mean over labels by their size."""
    count, total, square = (np.zeros(np.iinfo(labels.dtype).max + 1) for _ in range(3))
    for plane, hu_plane in zip(labels, ct_voxels, strict=True):
        chosen = plane != 0
        if not chosen.any():
            continue
        ids, hu = plane[chosen], np.clip(hu_plane[chosen], *_TISSUE_HU).astype(np.float64)
        for sums, weights in ((count, None), (total, hu), (square, hu * hu)):
            sums += np.bincount(ids, weights, minlength=len(sums))
    if count.sum() < _LEAST_VOXELS:
        return None
    present = count > 0
    mean = total[present] / count[present]
    deviation = np.sqrt(np.maximum(square[present] / count[present] - mean * mean, 0))
    return float((deviation * count[present]).sum() / count.sum())


def _spread_moved(labels: Voxels, ct: Geometry, ct_voxels: npt.NDArray[np.int16]) -> float | None:
    """Median spread of HU within labels that are moved along each axis, both ways; None if too little stays inside.

    Labels that lie where they were drawn spread less than that. Those of another patient do not: there the tissue
    changes at no border of theirs.
    """
    found = []
    for axis, spacing in enumerate(reversed(ct.spacing_mm)):
        steps = max(1, round(_MOVED_MM / spacing))
        if steps >= labels.shape[axis]:
            continue
        low, high = ((slice(None),) * axis + (part,) for part in (slice(None, -steps), slice(steps, None)))
        found += [_spread(labels[low], ct_voxels[high]), _spread(labels[high], ct_voxels[low])]
    known = [spread for spread in found if spread is not None]
    return float(np.median(known)) if known else None


def _apart_mm(file: Geometry, ct: Geometry) -> float:
    """Largest distance between the corners of the two grids, taken in index order."""
    return float(np.linalg.norm(file.corners_mm() - ct.corners_mm(), axis=1).max())


def _turned(file: Geometry, ct: Geometry) -> str:
    return f"its axes run {file.orientation}, the CT's {ct.orientation}; they were reordered as its header says."


def _told(spread: float | None) -> str:
    return "an unknown amount" if spread is None else f"{spread:.0f}"
