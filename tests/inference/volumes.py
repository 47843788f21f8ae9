"""CT files that tests import, and how."""

import gzip
from typing import Any

import nibabel as untyped_nibabel
import numpy as np
import numpy.typing as npt

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.storage import Storage

nibabel: Any = untyped_nibabel
SHAPE = (40, 36, 12)
# All numbers are exact in float32, so that every orientation's header places the same grid to the last bit.
AFFINE = np.array([[0.75, 0, 0, -10.5], [0, 0.75, 0, 20.25], [0, 0, 3.0, -300], [0, 0, 0, 1]])


def ct(seed: int = 0) -> npt.NDArray[np.int16]:
    """Noise in HU with axes (i, j, k), RAS; `seed` decides the voxels."""
    return np.random.default_rng(seed).integers(-1000, 400, SHAPE).astype(np.int16)


def image(voxels: npt.NDArray[Any], orientation: str = "RAS") -> Any:
    """A NIfTI image of `voxels` in another orientation, by nibabel."""
    plain = nibabel.Nifti1Image(voxels, AFFINE)
    plain.header.set_xyzt_units("mm")
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.io_orientation(AFFINE), nibabel.orientations.axcodes2ornt(orientation)
    )
    return plain.as_reoriented(turn)


def upload(storage: Storage, volume_id: str, file: Any) -> str:
    """Import a CT, an image or the bytes of a file, and return the volume's name."""
    data = file if isinstance(file, bytes) else gzip.compress(file.to_bytes(), 1, mtime=0)
    created = storage.rpc.CreateVolume(pb.CreateVolumeRequest(volume_id=volume_id, object=storage.put(data).name))
    return created.volume.name
