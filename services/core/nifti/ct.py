"""CT voxels: int16 Hounsfield units out of whatever a NIfTI file stores."""

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.nifti.header import Header
from services.core.nifti.stream import SLAB_BYTES, Source, Stream, opened

_INT16 = np.iinfo(np.int16)
_HIGHEST_LEAST_HU = -200.0
"""A CT whose least value lies above this shows no air: its values are probably not HU."""
_LARGEST_LABEL, _MOST_LABELS = 255, 128
"""What holds no more different values than this, 0 among them and none below it, holds labels; the largest label maps
have some 120. A CT has hundreds, and in HU air is below 0."""
_SHOWN_LABELS = 5


@dataclass(frozen=True)
class Ct:
    """A CT: `voxels` (z, y, x) int16 in HU, on `geometry`.

    `min_hu` and `max_hu` bound the values before rounding and clipping to int16. `notes` says what was odd.
    """

    voxels: npt.NDArray[np.int16]
    geometry: Geometry
    header: Header
    min_hu: float
    max_hu: float
    notes: tuple[str, ...]

    def digest(self) -> str:
        """SHA-256 over geometry and voxels, lower-case hex: equal for files that differ only in how they are stored."""
        digest = hashlib.sha256(bytes.fromhex(self.geometry.digest))
        digest.update(self.voxels.astype("<i2", copy=False).data)
        return digest.hexdigest()

    def require_no_labels(self) -> None:
        """Raise FIELD_INVALID if this is a mask or a label map, which somebody took for the CT, or scaled to 0..1."""
        if self.min_hu < 0 or self.max_hu > _LARGEST_LABEL:
            return
        occurs = np.zeros(_LARGEST_LABEL + 1, np.bool_)
        for plane in self.voxels:
            occurs[plane] = True
        labels = np.flatnonzero(occurs)
        if len(labels) > _MOST_LABELS or not occurs[0]:
            return
        more = f" and {len(labels) - _SHOWN_LABELS} more" if len(labels) > _SHOWN_LABELS else ""
        shown = ", ".join(map(str, labels[:_SHOWN_LABELS]))
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"This is a mask, a label map or no CT in HU: in whole numbers its voxels hold nothing but {shown}{more}.",
            field="file",
            remedy="Give the CT that labels were drawn on, in HU; labels come in together with it.",
        )


def required_bytes(header: Header) -> int:
    """Memory that `read_ct` needs for this file: the result, and a few slabs."""
    slice_values = header.geometry.shape[0] * header.geometry.shape[1]
    slab_values = max(slice_values, SLAB_BYTES // header.dtype.itemsize)
    return 2 * header.geometry.voxel_count + slab_values * (header.dtype.itemsize + 2 * 8) + 32 * 2**20


def read_ct(source: Source) -> Ct:
    """Read a CT, slab by slab, in `required_bytes` of memory.

    Values are scaled as the header says, rounded half to even and clipped to int16. Raises what `read_header` raises,
    and FILE_TRUNCATED, FILE_TOO_LARGE, DIGEST_MISMATCH, VOXELS_NOT_FINITE or VOLUME_TOO_LARGE.
    """
    with opened(source) as stream:
        header = stream.header
        voxels = allocate(stream, np.dtype(np.int16))
        direct = not header.is_scaled and header.dtype.newbyteorder("=") == np.int16
        low, high, clipped = _read_direct(stream, voxels) if direct else _read_converted(stream, voxels)
    notes = list(header.notes)
    if clipped:
        notes.append(f"{clipped} voxels lay outside {_INT16.min}..{_INT16.max} and were clipped.")
    if low > _HIGHEST_LEAST_HU:
        notes.append(f"The least value is {low:.6g}; a CT in HU shows air at about -1000, so these may not be HU.")
    return Ct(voxels, header.geometry, header, low, high, tuple(notes))


def allocate(stream: Stream, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Uninitialised (z, y, x) array for a file's voxels. Raises FILE_TRUNCATED or VOLUME_TOO_LARGE."""
    stream.require_possible()
    try:
        return np.empty(stream.header.geometry.array_shape, dtype)
    except MemoryError as error:
        raise AtlasError(
            Reason.VOLUME_TOO_LARGE,
            f"{stream.header.geometry} do not fit into memory.",
            field="file",
            remedy="Use a larger machine, or crop or resample the volume.",
        ) from error


def not_finite(count: int, first: tuple[int, int, int], *, remedy: str) -> AtlasError:
    """The VOXELS_NOT_FINITE error; `first` is the (i, j, k) index of the first such voxel."""
    return AtlasError(
        Reason.VOXELS_NOT_FINITE,
        f"{count} voxels are NaN or infinite, the first at index {first}.",
        field="file",
        remedy=remedy,
    )


def _read_direct(stream: Stream, voxels: npt.NDArray[np.int16]) -> tuple[float, float, int]:
    stream.read_voxels(voxels)
    stream.finish()
    if not stream.header.dtype.isnative:
        voxels.byteswap(inplace=True)
    return float(voxels.min()), float(voxels.max()), 0


def _read_converted(stream: Stream, voxels: npt.NDArray[np.int16]) -> tuple[float, float, int]:
    header = stream.header
    table = _table(header) if header.dtype.itemsize <= 2 else None
    low, high, clipped, bad, first_bad = np.inf, -np.inf, 0, 0, (0, 0, 0)
    for start, slab in stream.slabs():
        out = voxels[start : start + len(slab)]
        ends = np.sort(header.scaled(np.array([slab.min(), slab.max()])))
        if not np.isfinite(ends).all():
            where = np.argwhere(~np.isfinite(slab))
            if len(where) == 0:
                where = np.argwhere(~np.isfinite(header.scaled(slab)))
            if not bad:
                z, y, x = where[0]
                first_bad = (int(x), int(y), int(z) + start)
            bad += len(where)
            continue
        low, high = min(low, ends[0]), max(high, ends[1])
        outside = ends[0] < _INT16.min or ends[1] > _INT16.max
        if table is not None and not outside:
            np.take(table, slab.view(f"u{slab.dtype.itemsize}"), out=out, mode="wrap")
            continue
        values = header.scaled(slab)
        np.rint(values, out=values)
        if outside:
            clipped += int(np.count_nonzero((values < _INT16.min) | (values > _INT16.max)))
            np.clip(values, _INT16.min, _INT16.max, out=values)
        np.copyto(out, values, casting="unsafe")
    if bad:
        remedy = "Replace them by the HU of air (-1024), or convert the series again."
        raise not_finite(bad, first_bad, remedy=remedy)
    return float(low), float(high), clipped


def _table(header: Header) -> npt.NDArray[np.int16]:
    """HU of every number that a stored 8 or 16 bit voxel can be, indexed by its bits."""
    bits = np.arange(1 << 8 * header.dtype.itemsize, dtype=f"u{header.dtype.itemsize}")
    values = np.rint(header.scaled(bits.view(header.dtype.newbyteorder("="))))
    return np.clip(values, _INT16.min, _INT16.max).astype(np.int16)
