"""Merges one volume: source labels, revisions and predictions out of storage, a label version into it.

Organ after organ: only one mask is in memory at a time, with the label map that is painted from all of them.
"""

from collections.abc import Iterator

import numpy as np

from abdomenatlas.merging.v1.merging_pb2 import MergeRequest
from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.array_pb2 import ArrayRef
from services.core.arrayfile import ArrayFile, Writer, decode
from services.core.boxes import Boxed, crop
from services.core.errors import AtlasError, Reason
from services.core.memory import MemoryGate
from services.core.names import content_id
from services.core.rpc.convert import array_ref
from services.core.rpc.progress import Report
from services.core.storage import Storage, found
from services.core.turns import Turns
from services.merging.combined import paint, ranks
from services.merging.fusion import fuse
from services.merging.inputs import Inputs, gather
from services.merging.memory import needed_bytes
from services.merging.precedence import Choice, Origin

POLICY = "soft-average-1"
"""Name and version of how masks are made and chosen; it changes whenever the result of a merge would."""

COMBINED = "combined_labels"


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
            compressed_bytes=inputs.compressed_bytes,
        )
        with gate.hold(needed, what=inputs.volume.name):
            version = _make(storage, inputs, report)
        return storage.rpc.CreateLabelVersion(
            pb.CreateLabelVersionRequest(parent=inputs.volume.name, label_version_id=version_id, label_version=version)
        ).label_version


def _make(storage: Storage, inputs: Inputs, report: Report) -> pb.LabelVersion:
    report("reading", 0.05)
    table = ranks(inputs.choices, inputs.class_map)
    label_map = np.zeros(inputs.ct.array_shape, np.uint8)
    masks = Writer([choice.organ for choice in inputs.choices], "uint8", inputs.ct)
    organs: list[pb.OrganLabel] = []
    for choice, mask in _masks(storage, inputs):
        report("merging", 0.2 + 0.7 * len(organs) / len(inputs.choices))
        masks.write(choice.organ, mask.voxels, mask.corner)
        paint(label_map, mask, inputs.class_map.id_of(choice.organ), table)
        organs.append(_organ_label(choice, mask, inputs))
    report("storing", 0.9)
    combined = Writer([COMBINED], "uint8", inputs.ct)
    combined.write(COMBINED, label_map)
    return pb.LabelVersion(
        origin=pb.ORIGIN_AI,
        masks=_stored(storage, masks),
        combined=_stored(storage, combined),
        class_map=inputs.class_map.name,
        organs=organs,
        author=POLICY,
    )


def _masks(storage: Storage, inputs: Inputs) -> Iterator[tuple[Choice, Boxed]]:
    """The chosen mask of every organ, one after the other."""
    used = {choice.label_version for choice in inputs.choices} - {""}
    given = {name: storage.array(inputs.versions[name].record.masks) for name in sorted(used)}
    ensemble = inputs.predictions.open(storage) if inputs.predictions and inputs.needs_ensemble else None
    for choice in inputs.choices:
        if ensemble and choice.origin == Origin.AI:
            yield choice, fuse(ensemble, choice.organ, inputs.ct)
        else:
            yield choice, _given_mask(given[choice.label_version], choice)


def _given_mask(masks: ArrayFile, choice: Choice) -> Boxed:
    """A mask as it was given, bit for bit. Raises MASK_NOT_BINARY if it holds anything but 0 and 1."""
    voxels = np.asarray(masks.channel(choice.organ), np.uint8)
    if voxels.max() > 1:
        raise AtlasError(
            Reason.MASK_NOT_BINARY,
            f"The {choice.organ} of {choice.label_version} holds values above 1.",
            field="label_versions",
            remedy="Import its masks again.",
        )
    return crop(voxels)


def _organ_label(choice: Choice, mask: Boxed, inputs: Inputs) -> pb.OrganLabel:
    voxels = mask.count
    return pb.OrganLabel(
        organ=choice.organ,
        origin=pb.Origin.ValueType(choice.origin),
        label_version=choice.label_version,
        predictions=choice.predictions,
        voxels=voxels,
        volume_mm3=voxels * inputs.ct.voxel_volume_mm3,
    )


def _stored(storage: Storage, writer: Writer) -> ArrayRef:
    data = writer.finish()
    return array_ref(storage.put(data), decode(data))


def _id(inputs: Inputs) -> str:
    """Follows from the inputs and the policy; the order of the predictions does not matter, that of the labels does."""
    names = sorted(inputs.predictions.names) if inputs.predictions else []
    return content_id("merge", POLICY, inputs.volume.name, "predictions", *names, "labels", *inputs.versions)
