"""What one merge is made of: records from the catalog, checked to belong together. No voxel is read here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from abdomenatlas.merging.v1.merging_pb2 import MergeRequest
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import classmaps, predictions
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.names import parse
from services.core.predictions import PredictionSet
from services.core.rpc.convert import geometry_from_proto
from services.core.storage import Storage
from services.merging import versions
from services.merging.precedence import Choice, Origin, choose
from services.merging.versions import GivenVersion


@dataclass(frozen=True)
class Inputs:
    """The checked inputs of one merge; `ct` is the CT's own grid."""

    volume: pb.Volume
    ct: Geometry
    class_map: ClassMap
    predictions: PredictionSet | None
    versions: Mapping[str, GivenVersion]

    @cached_property
    def choices(self) -> list[Choice]:
        """Per organ, in order of the class map, where its mask comes from."""
        having = {organ: tuple(sorted(self._having(organ))) for organ in self.class_map.organs}
        return choose(self.class_map.organs, [version.given for version in self.versions.values()], having)

    @property
    def needs_ensemble(self) -> bool:
        """Whether any organ comes from AI."""
        return any(choice.origin == Origin.AI for choice in self.choices)

    @property
    def compressed_bytes(self) -> int:
        """Size of all array files that will be read."""
        used = {choice.label_version for choice in self.choices} - {""}
        given = sum(self.versions[name].record.masks.object.size_bytes for name in used)
        return given + (self.predictions.compressed_bytes if self.predictions and self.needs_ensemble else 0)

    def _having(self, organ: str) -> tuple[str, ...]:
        return self.predictions.having(organ) if self.predictions else ()


def gather(storage: Storage, request: MergeRequest) -> Inputs:
    """The inputs that a request names. Raises what is wrong with them, naming the field."""
    parse(request.volume, "volumes/*", "volume")
    if not request.predictions and not request.label_versions:
        raise AtlasError(
            Reason.FIELD_REQUIRED,
            "There is nothing to merge.",
            field="predictions",
            remedy="Name at least one prediction or label version.",
        )
    volume = storage.rpc.GetVolume(pb.GetVolumeRequest(name=request.volume)).volume
    ct = geometry_from_proto(volume.geometry, "volume.geometry")
    found = predictions.find(storage, volume, request.predictions) if request.predictions else None
    given = versions.find(storage, volume, ct, request.label_versions)
    class_map = _the_class_map(found.records if found else (), [version.record for version in given.values()])
    return Inputs(volume, ct, class_map, found, given)


def _the_class_map(predicted: Sequence[pb.Prediction], given: Sequence[pb.LabelVersion]) -> ClassMap:
    """The one class map of all inputs. Raises CLASS_MAP_MISMATCH."""
    records: list[tuple[str, pb.Prediction | pb.LabelVersion]] = []
    records += [(f"predictions[{index}]", record) for index, record in enumerate(predicted)]
    records += [(f"label_versions[{index}]", record) for index, record in enumerate(given)]
    _, first = records[0]
    for field, record in records:
        if record.class_map != first.class_map:
            raise AtlasError(
                Reason.CLASS_MAP_MISMATCH,
                f"{record.name} uses the class map {record.class_map}, {first.name} uses {first.class_map}.",
                field=field,
                remedy="Merge labels and predictions of one class map.",
            )
    return classmaps.load(first.class_map)
