"""One prediction: found in storage, or computed, checked and recorded there."""

import numpy as np
import numpy.typing as npt

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.geometry_pb2 import GridSpec
from services.core import scan
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.memory import MemoryGate
from services.core.names import content_id, parse
from services.core.rpc.convert import array_ref, geometry_from_proto
from services.core.rpc.progress import Report
from services.core.storage import Storage, found
from services.core.turns import Turns
from services.inference import preprocessing
from services.inference.answer import open_answer
from services.inference.cache import GridCache
from services.inference.model import Card, Model
from services.inference.triton import Triton

RULES = "2"
"""Version of how a CT becomes a prediction; goes into every id. Raise it when the same inputs give other voxels."""


def prediction_id(volume: pb.Volume, model: str, card: Card) -> str:
    """Id of a model's prediction of a volume: it follows from the voxels, where they lie, and the model's card."""
    return content_id("prediction", RULES, volume.voxel_digest, volume.geometry.digest, model, card.digest)


class Predictor:
    """Predicts volumes with the models of one Triton. Thread-safe."""

    def __init__(
        self, storage: Storage, triton: Triton, gate: MemoryGate, cache: GridCache, *, model_seconds: float
    ) -> None:
        self._storage, self._triton = storage, triton
        self._gate, self._cache = gate, cache
        self._model_seconds = model_seconds
        self._turns = Turns()

    def predict(self, volume_name: str, model_name: str, report: Report) -> pb.Prediction:
        """The recorded prediction of "volumes/*" with "models/*/versions/*"; one that is in storage comes at once.

        Memory is known from the record before a voxel is read: what never fits is refused, what does not fit now waits.
        """
        report("queued", 0.0)
        parse(volume_name, "volumes/*", "volume")
        model_id, version = parse(model_name, "models/*/versions/*", "model")
        model = self._triton.model(model_id, version)
        card = model.require_card()
        volume = self._storage.rpc.GetVolume(pb.GetVolumeRequest(name=volume_name)).volume
        id_ = prediction_id(volume, model.name, card)
        # Of two calls for the same thing the second waits, and finds what the first has recorded.
        with self._turns.of(f"{volume.name}/{id_}"):
            return self._find(f"{volume.name}/predictions/{id_}") or self._make(volume, model, card, id_, report)

    def _find(self, name: str) -> pb.Prediction | None:
        return found(lambda: self._storage.rpc.GetPrediction(pb.GetPredictionRequest(name=name)).prediction)

    def _make(self, volume: pb.Volume, model: Model, card: Card, id_: str, report: Report) -> pb.Prediction:
        ct = geometry_from_proto(volume.geometry, "volume.geometry")
        grid = preprocessing.grid_for(ct, card.spacing_mm, volume.name)
        needed = max(
            scan.reading_bytes(volume.ct.size_bytes, ct, grid),
            preprocessing.predicting_bytes(grid, len(card.organs)),
        )
        with self._gate.hold(needed, what=volume.name):
            voxels = self._cache.get(
                f"{volume.voxel_digest} {volume.geometry.digest} {grid.digest}",
                lambda: self._read(volume, ct, grid, report),
            )
            report("predicting", 0.25)
            data = self._triton.infer(model, voxels, grid, seconds=self._model_seconds)
            if self._triton.card(model.model, model.version) != card:
                raise _replaced(model)
            array = open_answer(data, card.organs, grid, model.name)
            report("storing", 0.95)
            record = pb.Prediction(
                model=pb.ModelRef(name=model.name, weights_sha256=card.weights_sha256),
                array=array_ref(self._storage.put(data), array),
                grid=GridSpec(spacing_mm=card.spacing_mm),
                class_map=card.class_map,
                voxel_digest=volume.voxel_digest,
            )
        return self._storage.rpc.CreatePrediction(
            pb.CreatePredictionRequest(parent=volume.name, prediction_id=id_, prediction=record)
        ).prediction

    def _read(self, volume: pb.Volume, ct: Geometry, grid: Geometry, report: Report) -> npt.NDArray[np.int16]:
        report("reading", 0.01)
        file = self._storage.get(volume.ct)
        report("resampling", 0.1)
        return scan.on_grid(file, ct, grid, volume.name)


def _replaced(model: Model) -> AtlasError:
    return AtlasError(
        Reason.MODEL_NOT_READY,
        f"{model.name} was replaced while it answered, so it is not known whose answer this is.",
        field="model",
        remedy="Ask again.",
    )
