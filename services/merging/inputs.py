"""What one merge is made of: records from the catalog, checked to belong together. No voxel is read here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from abdomenatlas.merging.v1.merging_pb2 import MergeRequest
from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.merge_pb2 import MergePolicy, OrganSteps
from services.core import classmaps, mergepolicy, predictions
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.names import parse
from services.core.organs import Step
from services.core.predictions import PredictionSet
from services.core.rpc.convert import geometry_from_proto
from services.core.storage import Storage
from services.merging import versions
from services.merging.policy import Fusion, Overwrite, Policy, Readers
from services.merging.precedence import Choice, Origin, choose
from services.merging.readers import MAX_READERS
from services.merging.versions import GivenVersion
from services.merging.weights import weights


@dataclass(frozen=True)
class Inputs:
    """The checked inputs of one merge; `ct` is the CT's own grid, `asked` the policy with all defaults."""

    volume: pb.Volume
    ct: Geometry
    class_map: ClassMap
    predictions: PredictionSet | None
    versions: Mapping[str, GivenVersion]
    asked: MergePolicy
    policy: Policy

    @cached_property
    def weights(self) -> Mapping[str, Mapping[str, int]]:
        """Per organ that a model has, the predictions that are asked and what each weighs."""
        if self.predictions is None:
            return {}
        return {organ: self._weights(organ, self.predictions) for organ in self.predictions.organs}

    @cached_property
    def choices(self) -> list[Choice]:
        """Per organ, in order of the class map, where its mask comes from."""
        having = {organ: tuple(asked) for organ, asked in self.weights.items()}
        given = [version.given for version in self.versions.values()]
        return choose(self.class_map.organs, given, having, self.policy)

    @property
    def fused(self) -> list[str]:
        """The organs whose predictions are looked at: those that come from AI, and all if freed voxels matter."""
        frees = self.policy.overwrite == Overwrite.REASSIGN
        organs = [choice.organ for choice in self.choices if frees or choice.origin == Origin.AI]
        return [organ for organ in organs if organ in self.weights]

    @property
    def used(self) -> list[str]:
        """The label versions whose masks are looked at, by name."""
        names = {name for choice in self.choices for name in (choice.label_version, *choice.readers)}
        return sorted(names - {""})

    @property
    def compressed_bytes(self) -> int:
        """Size of all array files that will be read."""
        given = sum(self.versions[name].record.masks.object.size_bytes for name in self.used)
        return given + (self.predictions.compressed_bytes if self.predictions and self.fused else 0)

    def told(self) -> MergePolicy:
        """The policy for the record: with the steps of every organ that comes from AI."""
        told = MergePolicy()
        told.CopyFrom(self.asked)
        del told.post_processing[:]
        for choice in self.choices:
            if choice.origin == Origin.AI:
                steps = [OrganSteps.Step.ValueType(step) for step in self.policy.steps_of(choice.organ)]
                told.post_processing.append(OrganSteps(organ=choice.organ, steps=steps))
        return told

    def _weights(self, organ: str, found: PredictionSet) -> dict[str, int]:
        records = [record for record in found.records if organ in record.array.channels]
        if self.policy.fusion != Fusion.WEIGHTED:
            return {record.name: 1 for record in records}
        given = [_reliability(self.policy, record.model.name, organ) for record in records]
        return {record.name: weight for record, weight in zip(records, weights(given), strict=True) if weight}


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
    if found:
        # The order of the predictions says nothing, and must not decide about a bit.
        found = replace(found, records=tuple(sorted(found.records, key=lambda record: record.name)))
    given = versions.find(storage, volume, ct, request.label_versions)
    class_map = _the_class_map(found.records if found else (), [version.record for version in given.values()])
    asked = mergepolicy.resolved(request.policy, class_map, "policy")
    inputs = Inputs(volume, ct, class_map, found, given, asked, _policy(asked))
    for choice in inputs.choices:
        _require_few(choice)
    return inputs


def _policy(asked: MergePolicy) -> Policy:
    """A resolved policy without its message."""
    return Policy(
        Overwrite(asked.overwrite),
        Fusion(asked.fusion),
        Readers(asked.readers),
        asked.adjudicator,
        {(entry.model, entry.organ): entry.dsc for entry in asked.reliabilities},
        {entry.organ: tuple(Step(step) for step in entry.steps) for entry in asked.post_processing},
    )


def _reliability(policy: Policy, model: str, organ: str) -> float:
    dsc = policy.reliability(model, organ)
    if dsc is None:
        raise AtlasError(
            Reason.FIELD_REQUIRED,
            f"It is not said how good {model} is at the {organ}.",
            field="policy.reliabilities",
            remedy="Give its DSC, or choose another fusion.",
        )
    return dsc


def _require_few(choice: Choice) -> None:
    if len(choice.readers) > MAX_READERS:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"{len(choice.readers)} readers looked for the {choice.organ}.",
            field="label_versions",
            remedy=f"Bring at most {MAX_READERS} together.",
        )


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
