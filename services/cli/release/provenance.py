"""What each mask of a release was made of, as data for `provenance.json` and `release.json`.

Nothing here tells the time, so that the same labels give the same files.
"""

import json
import re
from typing import Any, cast

from google.protobuf.json_format import MessageToDict

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.array_pb2 import ArrayRef
from services.cli.release.contents import FORMAT, Contents, ReleaseCase
from services.cli.release.metadata import metadata
from services.cli.release.models import models
from services.core import datasets
from services.core.names import content_id

ORIGINS = {pb.ORIGIN_SOURCE: "source", pb.ORIGIN_REVISION: "revision", pb.ORIGIN_AI: "ai"}

_FILE = re.compile(r"(?:.*?/)?(?P<stem>[^/]+?)\.nii(?:\.gz)?: ", re.DOTALL)


def case_provenance(case: ReleaseCase, contents: Contents) -> dict[str, Any]:
    """`provenance.json` of one case."""
    volume, labels = case.volume, case.labels
    known = {organ.organ for organ in labels.organs}
    return {
        "format": FORMAT,
        "case": case.name,
        "volume": volume.name,
        "source": {
            "dataset": volume.dataset or None,
            "id": volume.source_id or None,
            "licence": volume.licence or None,
            "hospital": volume.hospital or None,
        },
        "phase": volume.phase or None,
        "ct": {
            "sha256": volume.ct.sha256,
            "voxel_digest": volume.voxel_digest,
            "shape": list(volume.geometry.shape),
            "affine": [list(volume.geometry.affine[row : row + 4]) for row in (0, 4, 8)],
            "notes": list(volume.notes),
        },
        "class_map": labels.class_map,
        "label_version": labels.name,
        "policy": labels.author,
        "organs": {organ.organ: _organ(organ, case) for organ in labels.organs},
        "sources": {str(source.value): _source(source, case) for source in labels.sources},
        "unknown_organs": [organ for organ in contents.class_map.organs if organ not in known],
        "models": models([case]),
        "reviews": [
            {
                "round": review.round,
                "reviewer": review.reviewer,
                "decision": sched.Review.Decision.Name(review.decision).removeprefix("DECISION_").lower(),
                "revision": review.revision or None,
            }
            for review in case.reviews
        ],
        "records": [_version_record(version, case) for version in (*_whole(case), labels)],
    }


def identity(contents: Contents) -> str:
    """The release's id. It follows from everything that the release tells, so that equal ids mean equal files.

    A review that accepts labels changes no voxel, but who looked at them is part of the release.
    """
    told = (_record(contents), *(case_provenance(case, contents) for case in contents.cases))
    return content_id(metadata(contents), *(content_id(json.dumps(part, sort_keys=True)) for part in told))


def release_record(contents: Contents) -> dict[str, Any]:
    """`release.json` of the whole release."""
    return {"release": identity(contents), **_record(contents)}


def _record(contents: Contents) -> dict[str, Any]:
    campaign = contents.campaign
    return {
        "format": FORMAT,
        "campaign": campaign.name,
        "round": campaign.round,
        "class_map": contents.class_map.name,
        "grid_spacing_mm": campaign.grid.spacing_mm,
        "profile": campaign.profile,
        "models": models(contents.cases),
        "split": {"test_share": contents.lot.test_share, "seed": contents.lot.seed},
        "cases": [
            {
                "case": case.name,
                "volume": case.volume.name,
                "dataset": case.volume.dataset or None,
                "source_id": case.volume.source_id or None,
                "licence": case.volume.licence or None,
                "label_version": case.labels.name,
            }
            for case in contents.cases
        ],
        "left_out": contents.left_out,
    }


def _whole(case: ReleaseCase) -> list[pb.LabelVersion]:
    """The versions whose masks the release holds as they are."""
    taken = {organ.label_version for organ in case.labels.organs}
    return [version for name, version in case.given.items() if name in taken]


def _version_record(version: pb.LabelVersion, case: ReleaseCase) -> dict[str, Any]:
    """A label version as storage has it, for `atlas import`: without its arrays, which the masks are, and its time."""
    kept = pb.LabelVersion()
    kept.CopyFrom(version)
    for field, _ in version.ListFields():
        if field.name == "create_time" or field.message_type is ArrayRef.DESCRIPTOR:
            kept.ClearField(cast(Any, field.name))
    kept.notes[:] = [_without_file_name(note, version) for note in version.notes]
    for organ in kept.organs if version.name == case.labels.name else ():
        models_of = case.models(organ)
        organ.ClearField("models")
        organ.models.extend(models_of)
    return MessageToDict(kept, preserving_proto_field_name=True)


def _without_file_name(note: str, version: pb.LabelVersion) -> str:
    """A note without the path of the file that it is of, which notes once began with: it may name a patient."""
    found = _FILE.match(note)
    if not found:
        return note
    # Not only the version's own organs: of one that was imported out of a release some may be left.
    known = {*datasets.VOCABULARY, *(name for organ in version.organs for name in organ.structures)}
    if version.dataset_map in datasets.names():
        known |= {structure.name for structure in datasets.load(version.dataset_map).structures}
    what = f"{found['stem']}.nii.gz" if found["stem"] in known else "label map"
    return f"{what}: {note[found.end() :]}"


def _source(source: pb.LabelSource, case: ReleaseCase) -> dict[str, Any]:
    """What a value of the source map means."""
    told: dict[str, Any] = {"origin": ORIGINS.get(source.origin, "unknown"), "voxels": source.voxels}
    if source.label_versions:
        told["label_versions"] = list(source.label_versions)
    if source.predictions:
        told["models"] = [case.predictions[name].model.name for name in source.predictions]
    if source.change:
        told["added_by"] = _change(source.change)
    return told


def _change(kind: pb.LabelChange.Kind.ValueType) -> str:
    return pb.LabelChange.Kind.Name(kind).removeprefix("KIND_").lower()


def _organ(organ: pb.OrganLabel, case: ReleaseCase) -> dict[str, Any]:
    made_of: dict[str, Any] = {"origin": ORIGINS.get(organ.origin, "unknown")}
    if organ.label_version:
        made_of["label_version"] = organ.label_version
        by = "reviewer" if organ.origin == pb.ORIGIN_REVISION else "author"
        given = case.given[organ.label_version]
        made_of[by] = given.author
        if given.dataset_map:
            made_of |= {"dataset_map": given.dataset_map, "dataset_map_version": given.dataset_map_version or None}
    if models_of := case.models(organ):
        made_of["models"] = [model.name for model in models_of]
    if organ.readers:
        made_of["readers"] = [case.given[name].author for name in organ.readers]
        made_of["disputed_voxels"] = organ.disputed_voxels
    if organ.changes:
        made_of["changes"] = [
            {
                "step": _change(change.kind),
                "added_ml": round(change.added_mm3 / 1000, 3),
                "removed_ml": round(change.removed_mm3 / 1000, 3),
            }
            for change in organ.changes
        ]
    return made_of | {"voxels": organ.voxels, "volume_ml": round(organ.volume_mm3 / 1000, 3)}
