"""The prediction records of one ensemble: fetched from the catalog and checked to belong together."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import classmaps
from services.core.classmaps import ClassMap
from services.core.ensemble import MAX_MODELS, Ensemble
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, network_grid, require_same
from services.core.names import parse
from services.core.rpc.convert import geometry_from_proto
from services.core.storage import Storage


@dataclass(frozen=True)
class PredictionSet:
    """Records of different models' predictions of one volume: one grid, one class map."""

    records: tuple[pb.Prediction, ...]
    geometry: Geometry
    class_map: ClassMap

    @property
    def names(self) -> tuple[str, ...]:
        """Resource names, in order."""
        return tuple(record.name for record in self.records)

    @property
    def organs(self) -> tuple[str, ...]:
        """The organs that at least one model has, in order of the class map."""
        present = {organ for record in self.records for organ in record.array.channels}
        return tuple(organ for organ in self.class_map.organs if organ in present)

    @property
    def compressed_bytes(self) -> int:
        """Size of all array files together."""
        return sum(record.array.object.size_bytes for record in self.records)

    def having(self, organ: str) -> tuple[str, ...]:
        """Names of the predictions that have an organ, in order."""
        return tuple(record.name for record in self.records if organ in record.array.channels)

    def open(self, storage: Storage) -> Ensemble:
        """Fetch the array files, one after the other; they stay compressed in memory."""
        return Ensemble(tuple(storage.array(record.array) for record in self.records))


def find(storage: Storage, volume: pb.Volume, names: Sequence[str]) -> PredictionSet:
    """The predictions of these names. Nothing is read but their records.

    Raises FIELD_REQUIRED, NAME_INVALID or FIELD_INVALID (a name twice, two versions of one model, another volume's
    prediction), RESOURCE_NOT_FOUND, CLASS_MAP_MISMATCH, ORGAN_UNKNOWN, or GEOMETRY_MISMATCH.
    """
    _require_names(names, volume.name)
    records = [storage.rpc.GetPrediction(pb.GetPredictionRequest(name=name)).prediction for name in names]
    for index, record in enumerate(records):
        _require_belongs(record, records[0], volume, f"predictions[{index}]")
    _require_different_models(records)
    class_map = classmaps.load(records[0].class_map)
    for index, record in enumerate(records):
        class_map.require(tuple(record.array.channels), field=f"predictions[{index}]")
    return PredictionSet(tuple(records), geometry_from_proto(records[0].array.geometry), class_map)


def _require_names(names: Sequence[str], volume: str) -> None:
    if not names:
        raise AtlasError(
            Reason.FIELD_REQUIRED, "No predictions are given.", field="predictions", remedy="Name at least one."
        )
    if len(names) > MAX_MODELS:
        raise _invalid("predictions", f"{len(names)} predictions are given.", f"Name at most {MAX_MODELS}.")
    for index, name in enumerate(names):
        field = f"predictions[{index}]"
        if f"volumes/{parse(name, 'volumes/*/predictions/*', field)[0]}" != volume:
            raise _invalid(field, f"{name} is not a prediction of {volume}.", "Name predictions of that volume only.")
        if name in names[:index]:
            raise _invalid(field, f"{name} is named twice.", "Name every prediction once.")


def _require_belongs(record: pb.Prediction, first: pb.Prediction, volume: pb.Volume, field: str) -> None:
    if record.voxel_digest != volume.voxel_digest:
        raise _invalid(field, f"{record.name} was made from other voxels than {volume.name} has.", "Predict again.")
    if record.class_map != first.class_map:
        raise AtlasError(
            Reason.CLASS_MAP_MISMATCH,
            f"{record.name} uses the class map {record.class_map}, {first.name} uses {first.class_map}.",
            field=field,
            remedy="Combine models of one class map.",
        )
    geometry = geometry_from_proto(record.array.geometry, f"{field}.array.geometry")
    first_geometry = geometry_from_proto(first.array.geometry, "predictions[0].array.geometry")
    require_same(geometry, first_geometry, first_name=record.name, second_name=first.name)
    expected = network_grid(geometry_from_proto(volume.geometry, "volume.geometry"), record.grid.spacing_mm)
    require_same(geometry, expected, first_name=record.name, second_name=f"the network grid of {volume.name}")


def _require_different_models(records: Sequence[pb.Prediction]) -> None:
    """One model passed where several are meant would agree with itself and look certain."""
    models = Counter(record.model.name.partition("/versions/")[0] for record in records)
    for index, record in enumerate(records):
        model = record.model.name.partition("/versions/")[0]
        if models[model] > 1:
            raise _invalid(
                f"predictions[{index}]",
                f"{models[model]} predictions are of {model}: an ensemble has one per model.",
                "Name one version of each model.",
            )


def _invalid(field: str, message: str, remedy: str) -> AtlasError:
    return AtlasError(Reason.FIELD_INVALID, message, field=field, remedy=remedy)
