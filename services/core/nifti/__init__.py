"""NIfTI-1 and NIfTI-2 files in and out: bounded memory, no guesses, and every refusal says what to do.

Nothing but `Geometry` and (z, y, x) arrays leaves this package. A file is given by its path, its bytes or an open file.
"""

from services.core.nifti.ct import Ct, read_ct
from services.core.nifti.ct import required_bytes as ct_bytes
from services.core.nifti.header import Header
from services.core.nifti.labels import Labels, Mask, read_labels, read_mask
from services.core.nifti.labels import required_bytes as labels_bytes
from services.core.nifti.stream import Source, opened
from services.core.nifti.write import encode, write_ct, write_mask

__all__ = [
    "Ct",
    "Header",
    "Labels",
    "Mask",
    "Source",
    "ct_bytes",
    "encode",
    "labels_bytes",
    "read_ct",
    "read_header",
    "read_labels",
    "read_mask",
    "write_ct",
    "write_mask",
]


def read_header(source: Source) -> Header:
    """Read and check a file's header, without its voxels.

    Raises FILE_NOT_NIFTI, FILE_TRUNCATED, DIGEST_MISMATCH, IMAGE_NOT_3D, DTYPE_UNSUPPORTED, AFFINE_INVALID,
    VOXELS_NOT_FINITE or VOLUME_TOO_LARGE.
    """
    with opened(source, threaded=False) as stream:
        return stream.header
