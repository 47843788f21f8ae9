"""Label maps and binary masks out of whatever number a NIfTI file stores them as."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.nifti.ct import allocate, not_finite
from services.core.nifti.header import Header
from services.core.nifti.stream import SLAB_BYTES, Source, opened

MAX_LABEL = 0xFFFF
_NOISE = 1e-3
"""Distance from a whole number that scaling in float32 may leave."""
_LEAST_FOREGROUND = -1
"""255 that is read as a signed byte. What lies below is a background of air, and no organ."""


@dataclass(frozen=True)
class Labels:
    """A label map: `voxels` (z, y, x) uint8, or uint16 if an id exceeds 255, on `geometry`."""

    voxels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]
    geometry: Geometry
    header: Header
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Mask:
    """A binary mask: `voxels` (z, y, x) uint8, 0 or 1, on `geometry`."""

    voxels: npt.NDArray[np.uint8]
    geometry: Geometry
    header: Header
    notes: tuple[str, ...]


def required_bytes(header: Header) -> int:
    """Memory that `read_labels` or `read_mask` needs for this file at most."""
    slice_values = header.geometry.shape[0] * header.geometry.shape[1]
    slab_values = max(slice_values, SLAB_BYTES // header.dtype.itemsize)
    return 3 * header.geometry.voxel_count + slab_values * (header.dtype.itemsize + 3 * 8) + 32 * 2**20


def read_labels(source: Source) -> Labels:
    """Read a label map, also one that is stored as real or scaled numbers, if its values are whole numbers.

    Raises what `read_ct` raises, and LABEL_UNKNOWN for values that are negative, over 65535 or not whole.
    """
    with opened(source) as stream:
        header = stream.header
        whole = header.dtype.kind in "iu" and not header.is_scaled
        voxels = allocate(stream, np.dtype(np.uint8))
        for start, slab in stream.slabs():
            values = slab if whole else _whole(header, slab, start)
            if values.min() < 0 or (highest := int(values.max())) > MAX_LABEL:
                raise _unknown(f"Label ids run from 0 to {MAX_LABEL}, this file has {values.min()} to {values.max()}.")
            if highest > 255 and voxels.dtype == np.uint8:
                voxels = voxels.astype(np.uint16)
            np.copyto(voxels[start : start + len(slab)], values, casting="unsafe")
    return Labels(voxels, header.geometry, header, header.notes)


def read_mask(source: Source) -> Mask:
    """Read a binary mask: the file holds one or two values, one of which is 0 (background) up to rounding.

    A mask stored with a scaling that makes 1 to 1.00000006, or as 0 and 255, is the mask that it was meant to be. The
    other value is -1 or above.
    Raises what `read_ct` raises, and MASK_NOT_BINARY.
    """
    with opened(source) as stream:
        header = stream.header
        voxels = allocate(stream, np.dtype(np.uint8))
        seen: list[Any] = []
        for start, slab in stream.slabs():
            ends = [slab.min(), slab.max()]
            _require_finite(ends, slab, start)
            seen += [end for end in dict.fromkeys(ends) if end not in seen]
            is_other = slab != seen[0]
            if len(seen) > 2 or (len(seen) == 2 and not _neighbours(seen) and np.any(is_other & (slab != seen[1]))):
                raise _not_binary(header, np.unique(slab))
            voxels[start : start + len(slab)] = is_other
    values = header.scaled(np.array(seen)).tolist()
    notes = list(header.notes)
    if len(values) == 1:
        voxels[...] = abs(values[0]) > _NOISE
        values.insert(0, 0.0)
    elif abs(values[1]) < abs(values[0]):
        voxels ^= 1
        values.reverse()
    background, foreground = values
    if abs(background) > _NOISE * min(1, abs(foreground)) or foreground < _LEAST_FOREGROUND - _NOISE:
        raise _not_binary(header, np.array(seen))
    if abs(foreground) > _NOISE and abs(foreground - 1) > _NOISE:
        notes.append(f"The mask's foreground is {foreground:.6g}; it was taken for 1.")
    return Mask(voxels, header.geometry, header, tuple(notes))


def _neighbours(seen: list[Any]) -> bool:
    """Whether two whole numbers leave no room for a third between them."""
    return bool(np.issubdtype(type(seen[0]), np.integer)) and abs(int(seen[0]) - int(seen[1])) == 1


def _whole(header: Header, slab: npt.NDArray[Any], start: int) -> npt.NDArray[np.float64]:
    values = header.scaled(slab)
    _require_finite([values.min(), values.max()], values, start)
    rounded = np.rint(values)
    values -= rounded
    np.abs(values, out=values)
    if values.max() > _NOISE:
        where = int(values.argmax())
        raise _unknown(f"A label is a whole number, this file holds {header.scaled(slab.ravel()[where]):.6g}.")
    return rounded


def _require_finite(ends: list[Any], slab: npt.NDArray[Any], start: int) -> None:
    if not np.isfinite(ends).all():
        where = np.argwhere(~np.isfinite(slab))
        z, y, x = where[0]
        raise not_finite(len(where), (int(x), int(y), int(z) + start), remedy="Write 0 there: nothing is labelled.")


def _unknown(message: str) -> AtlasError:
    return AtlasError(
        Reason.LABEL_UNKNOWN, message, field="file", remedy="Is this a label map, and not a probability map?"
    )


def _not_binary(header: Header, stored: npt.NDArray[Any]) -> AtlasError:
    shown = ", ".join(f"{value:.6g}" for value in header.scaled(stored[:5]))
    more = " and more" if len(stored) > 5 else ""
    return AtlasError(
        Reason.MASK_NOT_BINARY,
        f"A mask holds 0 and one other value of -1 or above, this file holds {shown}{more}.",
        field="file",
        remedy="Write 1 where the organ is and 0 elsewhere; a label map is imported without naming an organ.",
    )
