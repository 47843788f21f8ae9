"""The bytes of NIfTI-1 and NIfTI-2 headers, as NumPy records."""

from typing import Any

import numpy as np

HEADER_1_BYTES = 348
HEADER_2_BYTES = 540
EXTENSION_FLAG_BYTES = 4


def _record(itemsize: int, fields: dict[str, tuple[Any, int]]) -> np.dtype[np.void]:
    return np.dtype(
        {
            "names": list(fields),
            "formats": [form for form, _ in fields.values()],
            "offsets": [offset for _, offset in fields.values()],
            "itemsize": itemsize,
        }
    )


HEADER_1 = _record(
    HEADER_1_BYTES,
    {
        "sizeof_hdr": ("<i4", 0),
        "dim": (("<i2", 8), 40),
        "datatype": ("<i2", 70),
        "bitpix": ("<i2", 72),
        "pixdim": (("<f4", 8), 76),
        "vox_offset": ("<f4", 108),
        "scl_slope": ("<f4", 112),
        "scl_inter": ("<f4", 116),
        "xyzt_units": ("u1", 123),
        "qform_code": ("<i2", 252),
        "sform_code": ("<i2", 254),
        "quatern": (("<f4", 3), 256),
        "qoffset": (("<f4", 3), 268),
        "srow": (("<f4", (3, 4)), 280),
        "magic": ("S4", 344),
    },
)
HEADER_2 = _record(
    HEADER_2_BYTES,
    {
        "sizeof_hdr": ("<i4", 0),
        "magic": ("S8", 4),
        "datatype": ("<i2", 12),
        "bitpix": ("<i2", 14),
        "dim": (("<i8", 8), 16),
        "pixdim": (("<f8", 8), 104),
        "vox_offset": ("<i8", 168),
        "scl_slope": ("<f8", 176),
        "scl_inter": ("<f8", 184),
        "qform_code": ("<i4", 344),
        "sform_code": ("<i4", 348),
        "quatern": (("<f8", 3), 352),
        "qoffset": (("<f8", 3), 376),
        "srow": (("<f8", (3, 4)), 400),
        "xyzt_units": ("<i4", 500),
    },
)
MAGIC_1 = b"n+1"
MAGIC_1_PAIR = b"ni1"
MAGIC_2 = b"n+2\0\r\n\x1a\n"
MAGIC_2_PAIR = b"ni2\0\r\n\x1a\n"

VOXEL_TYPES: dict[int, np.dtype[Any]] = {
    2: np.dtype("u1"),
    4: np.dtype("i2"),
    8: np.dtype("i4"),
    16: np.dtype("f4"),
    64: np.dtype("f8"),
    256: np.dtype("i1"),
    512: np.dtype("u2"),
    768: np.dtype("u4"),
    1024: np.dtype("i8"),
    1280: np.dtype("u8"),
}
"""Data type codes of scalar voxels. Complex, RGB, bit and long double voxels are neither CTs nor masks."""
CODES = {dtype: code for code, dtype in VOXEL_TYPES.items()}
