"""The three collections below a volume."""

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.storage.catalog import tables
from services.storage.collection import Kind

PREDICTIONS = Kind(
    collection="predictions",
    message=pb.Prediction,
    table=tables.Prediction,
    array_sha256=lambda p: p.array.object.sha256,
    columns=lambda p: {"model": p.model.name},
    inputs=lambda p: (p.model, p.grid, p.class_map, p.voxel_digest, list(p.array.channels)),
)
ATTENTION_MAPS = Kind(
    collection="attentionMaps",
    message=pb.AttentionMap,
    table=tables.AttentionMap,
    array_sha256=lambda a: a.heat.object.sha256,
    columns=lambda a: {"profile": a.profile},
    inputs=lambda a: (a.profile, list(a.predictions), list(a.heat.channels)),
)


def _label_inputs(version: pb.LabelVersion) -> object:
    organs = [(o.organ, o.origin, o.label_version, list(o.readers), list(o.predictions)) for o in version.organs]
    # What a person or a dataset gave is its own input.
    given = "" if version.origin == pb.ORIGIN_AI else version.masks.object.sha256
    return version.origin, version.class_map, version.author, version.policy, organs, given


LABEL_VERSIONS = Kind(
    collection="labels",
    message=pb.LabelVersion,
    table=tables.LabelVersion,
    array_sha256=lambda v: v.masks.object.sha256,
    columns=lambda v: {
        "origin": v.origin,
        "author": v.author,
        "combined_sha256": v.combined.object.sha256,
        "disagreement_sha256": v.disagreement.object.sha256,
    },
    inputs=_label_inputs,
)
