"""One volume in a real storage service, with whatever a test says that models and people say about it."""

import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import nibabel as untyped_nibabel
import numpy as np
import numpy.typing as npt

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.geometry_pb2 import GridSpec
from services.core import arrayfile
from services.core.geometry import Geometry, network_grid
from services.core.names import content_id
from services.core.rpc.convert import array_ref, geometry_from_proto
from services.core.storage import Storage

nibabel: Any = untyped_nibabel
Array = npt.NDArray[Any]
CLASS_MAP = "abdomenatlas-1.0"


@dataclass(frozen=True)
class Case:
    """A volume of the catalog."""

    storage: Storage
    volume: pb.Volume

    @property
    def ct(self) -> Geometry:
        """The CT's own grid."""
        return geometry_from_proto(self.volume.geometry)

    @property
    def grid(self) -> Geometry:
        """The network grid at 1.5 mm."""
        return network_grid(self.ct)

    def predict(
        self,
        model: str,
        organs: Mapping[str, Array],
        *,
        version: str = "1",
        spacing_mm: float = 1.5,
        class_map: str = CLASS_MAP,
    ) -> str:
        """Record a model's probabilities (k, j, i) on the network grid; the prediction's name."""
        grid = network_grid(self.ct, spacing_mm)
        data = arrayfile.encode(list(organs), [np.asarray(a, np.uint8) for a in organs.values()], grid)
        record = pb.Prediction(
            model=pb.ModelRef(name=f"models/{model}/versions/{version}", weights_sha256="0" * 64),
            array=array_ref(self.storage.put(data), arrayfile.decode(data)),
            grid=GridSpec(spacing_mm=spacing_mm),
            class_map=class_map,
            voxel_digest=self.volume.voxel_digest,
        )
        request = pb.CreatePredictionRequest(
            parent=self.volume.name,
            prediction_id=content_id(model, version, record.array.object.sha256, class_map),
            prediction=record,
        )
        return self.storage.rpc.CreatePrediction(request).prediction.name

    def label(
        self,
        origin: pb.Origin.ValueType,
        organs: Mapping[str, Array],
        *,
        author: str = "reader",
        class_map: str = CLASS_MAP,
    ) -> str:
        """Import masks (k, j, i) on the CT's grid as NIfTI files; the label version's name."""
        files = [
            pb.LabelFile(
                object=self.storage.put(nifti(mask, self.ct)).name, organ=organ, display_name=f"{organ}.nii.gz"
            )
            for organ, mask in organs.items()
        ]
        request = pb.ImportLabelVersionRequest(
            parent=self.volume.name, files=files, class_map=class_map, origin=origin, author=author
        )
        return self.storage.rpc.ImportLabelVersion(request).label_version.name


def nifti(voxels: Array, geometry: Geometry) -> bytes:
    """A .nii.gz of an array (k, j, i)."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(voxels).T, geometry.matrix)
    return gzip.compress(image.to_bytes(), 1, mtime=0)


def new_case(storage: Storage, volume_id: str, geometry: Geometry, seed: int = 0) -> Case:
    """Bring a CT of noise on `geometry` into the catalog."""
    hu = np.random.default_rng(seed).integers(-1000, 1000, geometry.array_shape).astype(np.int16)
    request = pb.CreateVolumeRequest(volume_id=volume_id, object=storage.put(nifti(hu, geometry)).name)
    return Case(storage, storage.rpc.CreateVolume(request).volume)
