"""Merges one volume: source labels, revisions and predictions out of storage, a label version into it.

Organ after organ: only one mask is in memory as bytes at a time, the others at eight voxels a byte.
"""

import numpy as np
from google.protobuf import json_format

from abdomenatlas.merging.v1.merging_pb2 import MergeRequest
from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.array_pb2 import ArrayRef
from services.core.arrayfile import ArrayFile, Writer, decode
from services.core.boxes import Boxed, crop
from services.core.components import largest_component
from services.core.ensemble import Ensemble
from services.core.errors import AtlasError, Reason
from services.core.memory import MemoryGate
from services.core.names import content_id
from services.core.rpc.convert import array_ref
from services.core.rpc.progress import Report
from services.core.storage import Storage, found
from services.core.turns import Turns
from services.merging.fusion import FUSIONS
from services.merging.inputs import Inputs, gather
from services.merging.layers import NOTHING, Layer, Packed
from services.merging.making import Made, make
from services.merging.memory import needed_bytes
from services.merging.precedence import Choice, Origin
from services.merging.readers import agree

POLICY = "merge-2"
"""Name and version of how masks are made and chosen; it changes whenever the same policy would give another result."""


def merge(storage: Storage, gate: MemoryGate, turns: Turns, request: MergeRequest, report: Report) -> pb.LabelVersion:
    """The label version of a request; one that is in storage already is not made again. Blocks.

    Whatever is wrong with the request is found before a voxel is read, and nothing is written unless all organs were
    merged.
    """
    report("queued", 0.0)
    inputs = gather(storage, request)
    version_id = _id(inputs)
    name = f"{inputs.volume.name}/labels/{version_id}"
    # Of two calls for the same thing the second waits, and finds what the first has recorded.
    with turns.of(name):
        existing = found(lambda: storage.rpc.GetLabelVersion(pb.GetLabelVersionRequest(name=name)).label_version)
        if existing:
            return existing
        needed = needed_bytes(
            inputs.ct,
            inputs.predictions.geometry if inputs.predictions else None,
            organs=len(inputs.choices),
            readers=max((len(choice.readers) for choice in inputs.choices), default=0),
            compressed_bytes=inputs.compressed_bytes,
        )
        with gate.hold(needed, what=inputs.volume.name):
            version = _Merge(storage, inputs).run(report)
        return storage.rpc.CreateLabelVersion(
            pb.CreateLabelVersionRequest(parent=inputs.volume.name, label_version_id=version_id, label_version=version)
        ).label_version


class _Merge:
    """One merge at work."""

    def __init__(self, storage: Storage, inputs: Inputs) -> None:
        self._storage, self._inputs = storage, inputs
        disputable = [choice.organ for choice in inputs.choices if choice.readers]
        self._disagreement = Writer(disputable, "uint8", inputs.ct) if disputable else None
        self._disputed: dict[str, int] = {}

    def run(self, report: Report) -> pb.LabelVersion:
        """The label version, its arrays in storage."""
        inputs = self._inputs
        report("reading", 0.05)
        self._given = {name: self._storage.array(inputs.versions[name].record.masks) for name in inputs.used}
        self._ensemble = inputs.predictions.open(self._storage) if inputs.predictions and inputs.fused else None
        layers: dict[str, Layer] = {}
        for choice in inputs.choices:
            report("merging", 0.2 + 0.6 * len(layers) / len(inputs.choices))
            layers[choice.organ] = self._layer(choice)
        report("merging", 0.8)
        made = make(layers, inputs.choices, inputs.policy, inputs.class_map, inputs.ct)
        report("storing", 0.9)
        return pb.LabelVersion(
            origin=pb.ORIGIN_AI,
            masks=self._stored(made.masks),
            combined=self._stored(made.combined),
            class_map=inputs.class_map.name,
            organs=[self._organ_label(choice, made) for choice in inputs.choices],
            author=POLICY,
            policy=inputs.told(),
            sources=_label_sources(made),
            disagreement=self._stored(self._disagreement.finish()) if self._disagreement else None,
        )

    def _layer(self, choice: Choice) -> Layer:
        if choice.origin == Origin.AI:
            return Layer(choice.origin, Packed.of(self._fused(choice.organ)))
        mask = self._agreed(choice) if choice.readers else self._as_given(choice.organ, choice.label_version)
        predicted = NOTHING
        if choice.organ in self._inputs.fused:
            # As what AI keeps of an organ by default: what lies apart from it is rarely the organ.
            predicted = Packed.of(largest_component(self._fused(choice.organ), self._inputs.ct.orientation))
        return Layer(choice.origin, Packed.of(mask), predicted)

    def _fused(self, organ: str) -> Boxed:
        assert self._ensemble is not None
        assert self._inputs.predictions is not None
        weights = self._inputs.weights[organ]
        asked = [
            (member, weights[name])
            for name, member in zip(self._inputs.predictions.names, self._ensemble.members, strict=True)
            if name in weights
        ]
        members, weighs = zip(*asked, strict=True)
        return FUSIONS[self._inputs.policy.fusion](Ensemble(members), organ, self._inputs.ct, weighs)

    def _as_given(self, organ: str, version: str) -> Boxed:
        """A mask as it was given, bit for bit. Raises MASK_NOT_BINARY if it holds anything but 0 and 1."""
        masks: ArrayFile = self._given[version]
        voxels = np.asarray(masks.channel(organ), np.uint8)
        if voxels.max() > 1:
            raise AtlasError(
                Reason.MASK_NOT_BINARY,
                f"The {organ} of {version} holds values above 1.",
                field="label_versions",
                remedy="Import its masks again.",
            )
        return crop(voxels)

    def _agreed(self, choice: Choice) -> Boxed:
        """What several readers say together; where they disagree is written down."""
        masks = [Packed.of(self._as_given(choice.organ, name)).mask for name in choice.readers]
        mask, against = agree(masks, self._inputs.policy.readers)
        assert self._disagreement is not None
        self._disagreement.write(choice.organ, against.voxels, against.corner)
        self._disputed[choice.organ] = against.count
        return mask

    def _organ_label(self, choice: Choice, made: Made) -> pb.OrganLabel:
        layer, voxel_mm3 = made.layers[choice.organ], self._inputs.ct.voxel_volume_mm3
        voxels = layer.mask.voxels
        return pb.OrganLabel(
            organ=choice.organ,
            origin=pb.Origin.ValueType(choice.origin),
            label_version=choice.label_version,
            predictions=choice.predictions,
            voxels=voxels,
            volume_mm3=voxels * voxel_mm3,
            readers=choice.readers,
            disputed_voxels=self._disputed.get(choice.organ, 0),
            changes=[
                pb.LabelChange(
                    kind=pb.LabelChange.Kind.ValueType(change.kind),
                    added_mm3=change.added.voxels * voxel_mm3,
                    removed_mm3=change.removed_voxels * voxel_mm3,
                )
                for change in layer.changes
            ],
        )

    def _stored(self, data: bytes) -> ArrayRef:
        return array_ref(self._storage.put(data), decode(data))


def _label_sources(made: Made) -> list[pb.LabelSource]:
    return [
        pb.LabelSource(
            value=value,
            origin=pb.Origin.ValueType(source.origin),
            label_versions=source.label_versions,
            predictions=source.predictions,
            change=pb.LabelChange.Kind.ValueType(source.change or 0),
            voxels=int(made.voxels[value]),
        )
        for source, value in made.sources.items()
    ]


def _id(inputs: Inputs) -> str:
    """Follows from the inputs and the policy; the order of the predictions does not matter, that of the labels does."""
    names = inputs.predictions.names if inputs.predictions else ()
    policy = json_format.MessageToJson(inputs.told(), sort_keys=True, indent=None)
    return content_id("merge", POLICY, policy, inputs.volume.name, "predictions", *names, "labels", *inputs.versions)
