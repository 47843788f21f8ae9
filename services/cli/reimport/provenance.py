"""What the `provenance.json` of a released case tells of its records."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.errors import AtlasError, Reason
from services.core.names import parse


@dataclass(frozen=True)
class Told:
    """The records of one case as the archive had them that released it."""

    volume: pb.Volume
    """Its name and what was told of it; neither file nor geometry."""
    given: tuple[pb.LabelVersion, ...]
    """Source and revision versions whose masks went into the labels, without their arrays."""
    labels: pb.LabelVersion
    """The labels, without their arrays."""


def read_provenance(path: Path) -> Told:
    """Raises FIELD_INVALID, FIELD_REQUIRED or NAME_INVALID if the file does not tell of records."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        *given, labels = [_version(record) for record in data["records"]]
        volume = pb.Volume(
            name=data["volume"],
            voxel_digest=data["ct"]["voxel_digest"],
            dataset=data["source"]["dataset"] or "",
            source_id=data["source"]["id"] or "",
            licence=data["source"]["licence"] or "",
            hospital=data["source"]["hospital"] or "",
            phase=data["phase"] or "",
        )
    except (ValueError, KeyError, TypeError, ParseError) as error:
        raise AtlasError(
            Reason.FIELD_INVALID,
            "It does not tell of the records that the case was made of.",
            field=str(path),
            remedy="Import a release that this version of the product wrote.",
        ) from error
    parse(volume.name, "volumes/*", "volume")
    for version in (*given, labels):
        parse(version.name, f"{volume.name}/labels/*", "records.name")
    return Told(volume, tuple(given), labels)


def _version(record: dict[str, Any]) -> pb.LabelVersion:
    return ParseDict(record, pb.LabelVersion(), ignore_unknown_fields=True)
