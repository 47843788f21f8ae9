"""NIfTI files out of voxels. The same voxels on the same grid give the same bytes."""

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from isal import igzip_threaded, isal_zlib

from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, mismatch
from services.core.nifti.header import Header
from services.core.nifti.layout import CODES, EXTENSION_FLAG_BYTES, HEADER_1, HEADER_2, MAGIC_1, MAGIC_2
from services.core.nifti.placement import Placement

_LEVEL = 2
_THREADS = 2
"""Level and threads of compression; constants, so that the bytes do not depend on the machine. Level 1 makes CTs of
noise 4 % larger than zlib's and is no faster; level 3 takes five times as long for masks."""
_GZIP_BITS = 31  # zlib's way to ask for a gzip header


def write_mask(path: Path, mask: npt.NDArray[np.uint8], geometry: Geometry, like: Header | None = None) -> None:
    """Write a mask or label map (z, y, x) as a .nii.gz file, which appears only when it is whole.

    With the CT's header as `like`, sform, qform, their codes and the NIfTI version are the CT's own, so that the affine
    is the same to the last bit in any reader. Without, the affine is rounded to float32. Raises GEOMETRY_MISMATCH.
    """
    _write(path, *_stored(mask, geometry, like))


def write_ct(path: Path, voxels: npt.NDArray[np.int16], geometry: Geometry, like: Header | None = None) -> None:
    """Write a CT (z, y, x) in HU as a .nii.gz file; `like` as in `write_mask`. Raises GEOMETRY_MISMATCH."""
    _write(path, *_stored(voxels, geometry, like))


def encode(voxels: npt.NDArray[Any], geometry: Geometry, like: Header | None = None) -> bytes:
    """The bytes of a .nii.gz file of `voxels` (z, y, x); `like` as in `write_mask`. Raises GEOMETRY_MISMATCH."""
    result = io.BytesIO()
    _pack(result, *_stored(voxels, geometry, like))
    return result.getvalue()


def _stored(voxels: npt.NDArray[Any], geometry: Geometry, like: Header | None) -> tuple[bytes, npt.NDArray[Any]]:
    """The header of a file and its voxels as they lie in it."""
    if voxels.shape != geometry.array_shape:
        raise AtlasError(
            Reason.GEOMETRY_MISMATCH,
            f"Voxels of shape {voxels.shape} do not lie on a grid of shape {geometry.array_shape}.",
            field="voxels",
        )
    if like is not None and like.geometry.digest != geometry.digest:
        raise mismatch(geometry, like.geometry, first_name="voxels", second_name="the header to copy")
    placement = like.placement if like is not None else Placement.of(geometry)
    head = _header(voxels.dtype, geometry.shape, placement, 1 if like is None else like.version)
    return head, np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("<"))


def _pack(file: BinaryIO, head: bytes, stored: npt.NDArray[Any]) -> None:
    """Compress a file into an open one."""
    values = stored.reshape(-1).view(np.uint8).data
    if stored.itemsize == 1:
        # A mask is nearly all zeros: handing it to threads costs as much as packing it.
        packer: Any = isal_zlib.compressobj(_LEVEL, wbits=_GZIP_BITS)
        file.write(b"".join((packer.compress(head), packer.compress(values), packer.flush())))
        return
    opened: Any = igzip_threaded.open
    with opened(file, "wb", compresslevel=_LEVEL, threads=_THREADS) as packed:
        packed.write(head)
        packed.write(values)


def _header(dtype: np.dtype[Any], shape: tuple[int, int, int], placement: Placement, version: int) -> bytes:
    layout, magic = (HEADER_1, MAGIC_1) if version == 1 else (HEADER_2, MAGIC_2)
    fields = np.zeros(1, layout)[0]
    fields["sizeof_hdr"] = layout.itemsize
    fields["magic"] = magic
    fields["dim"] = (3, *shape, 1, 1, 1, 1)
    fields["datatype"] = CODES[dtype.newbyteorder("=")]
    fields["bitpix"] = 8 * dtype.itemsize
    fields["pixdim"][:4] = placement.pixdim
    fields["vox_offset"] = layout.itemsize + EXTENSION_FLAG_BYTES
    fields["scl_slope"] = 1
    fields["xyzt_units"] = placement.units & 7
    fields["qform_code"] = placement.qform_code
    fields["sform_code"] = placement.sform_code
    fields["quatern"] = placement.quaternion
    fields["qoffset"] = placement.offset
    fields["srow"] = np.reshape(placement.srow, (3, 4))
    return bytes(fields.tobytes()) + bytes(EXTENSION_FLAG_BYTES)


def _write(path: Path, head: bytes, stored: npt.NDArray[Any]) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            _pack(file, head, stored)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
