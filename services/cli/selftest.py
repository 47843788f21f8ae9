"""One tiny prediction through the services, to see that an installation works end to end."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from abdomenatlas.inference.v1 import inference_pb2 as inf
from abdomenatlas.inference.v1.inference_pb2_grpc import InferenceServiceStub
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, network_grid, require_same
from services.core.nifti.write import write_ct
from services.core.storage import Storage

VOLUME = "selftest"
"""Id of the volume; it has the same bytes every time, so a repetition adds nothing to the catalog."""
DATASET = "selftest"
"""What the volume belongs to, so that nobody takes it for a patient's."""
SHAPE, SPACING_MM = (48, 40, 32), 3.0
AIR_HU, BODY_HU, LIVER_HU = -1000, 40, 110


@dataclass(frozen=True)
class Step:
    """Something that worked."""

    name: str
    detail: str


def selftest(storage: Storage, inference: InferenceServiceStub, folder: Path, model: str = "") -> Iterator[Step]:
    """Store a tiny CT, let `model` (or the first that is ready) predict it, and read the answer back.

    Yields what worked. Raises the error of the first step that did not. `folder` takes a small file.
    """
    geometry = Geometry.from_matrix(SHAPE, np.diag([SPACING_MM, SPACING_MM, SPACING_MM, 1.0]))
    path = folder / "ct.nii.gz"
    write_ct(path, phantom(geometry), geometry)
    ref = storage.put_file(path)
    creation = pb.CreateVolumeRequest(volume_id=VOLUME, object=ref.name, dataset=DATASET, source_id=VOLUME)
    volume = storage.rpc.CreateVolume(creation, timeout=120).volume
    yield Step("storage takes a CT", volume.name)

    ready = [m for m in inference.ListModels(inf.ListModelsRequest()).models if m.ready and model in ("", m.name)]
    if not ready:
        raise AtlasError(
            Reason.MODEL_NOT_READY,
            f"Of the models {model or 'that Triton knows'} none is ready.",
            field="model",
            remedy="Triton may still be starting, or have no pod until there is work; look at its log.",
        )
    yield Step("Triton serves models", ", ".join(m.name for m in ready))

    request = inf.PredictRequest(volume=volume.name, model=ready[0].name)
    *_, last = inference.Predict(request, timeout=1800)
    yield Step("a prediction is made", last.prediction.name)

    array = storage.array(last.prediction.array)
    expected = network_grid(geometry, ready[0].grid.spacing_mm)
    require_same(array.geometry, expected, first_name="the prediction", second_name="the network grid")
    yield Step("the prediction is whole", f"{len(array.channels)} organs on {array.geometry}")


def phantom(geometry: Geometry) -> np.ndarray[tuple[int, int, int], np.dtype[np.int16]]:
    """A soft-tissue cylinder with a brighter ball in air, HU as (k, j, i)."""
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in geometry.array_shape), indexing="ij")
    hu = np.where(j**2 + i**2 < 0.8, BODY_HU, AIR_HU)
    hu[k**2 + j**2 + (i - 0.3) ** 2 < 0.2] = LIVER_HU
    return hu.astype(np.int16)
