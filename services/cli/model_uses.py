"""Which organs of which cases hold AI voxels of a model: out of storage, or out of a release's own files."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.connection import Connection
from services.cli.paging import every
from services.core.errors import AtlasError, Reason


@dataclass(frozen=True)
class Use:
    """One organ of one case, and a model that made it, alone or with others."""

    case: str
    organ: str
    model: str
    volume_ml: float
    label_version: str
    dataset: str

    def as_data(self) -> dict[str, Any]:
        """For a program."""
        return asdict(self)


def in_storage(connection: Connection, request: pb.ListModelUsesRequest, campaign: str) -> Iterator[Use]:
    """Of a whole archive, or of the labels that a campaign ("" for none) would release now."""
    uses = every(connection.storage.rpc.ListModelUses, request, "uses")
    labels = None
    if campaign:
        items = every(connection.scheduler.ListItems, sched.ListItemsRequest(parent=campaign), "items")
        labels = {item.label_version for item in items}
    for use in uses:
        if labels is None or use.label_version in labels:
            case = use.label_version.split("/")[1]
            yield Use(case, use.organ, use.model, use.volume_mm3 / 1000, use.label_version, use.dataset)


def in_release(folder: Path, request: pb.ListModelUsesRequest) -> Iterator[Use]:
    """Of a folder that `atlas export` wrote. Raises FOLDER_EMPTY, or FIELD_INVALID for a damaged `provenance.json`."""
    paths = sorted(folder.glob("*/provenance.json"))
    if not paths:
        remedy = "Name the folder of a release: atlas export wrote it."
        raise AtlasError(Reason.FOLDER_EMPTY, "No case here has a provenance.json.", field=str(folder), remedy=remedy)
    for path in paths:
        try:
            told = json.loads(path.read_text())
            yield from _of_case(told, request)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message, remedy = "This is not the provenance of a release's case.", "Export the release again."
            raise AtlasError(Reason.FIELD_INVALID, message, field=str(path), remedy=remedy) from error


def _of_case(told: dict[str, Any], request: pb.ListModelUsesRequest) -> Iterator[Use]:
    dataset = told["source"]["dataset"] or ""
    if request.dataset not in ("", dataset):
        return
    for organ, label in told["organs"].items():
        if label["origin"] != "ai" or not label["voxels"] or request.organ not in ("", organ):
            continue
        for model in label.get("models", []):
            if request.model in (model, model.partition("/versions/")[0]):
                yield Use(told["case"], organ, model, label["volume_ml"], told["label_version"], dataset)
