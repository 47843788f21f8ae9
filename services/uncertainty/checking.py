"""Checks one label version: masks out of storage, findings out of them. Nothing is stored."""

from collections.abc import Iterator

import numpy as np

from abdomenatlas.storage.v1 import storage_pb2 as storage_pb
from abdomenatlas.type.v1.finding_pb2 import Severity
from abdomenatlas.uncertainty.v1 import uncertainty_pb2 as pb
from services.core.arrayfile import ArrayFile
from services.core.boxes import Boxed, crop
from services.core.errors import AtlasError, Reason
from services.core.memory import MemoryGate
from services.core.names import parse
from services.core.rpc.convert import geometry_from_proto
from services.core.rpc.progress import Report
from services.core.storage import Storage
from services.uncertainty.memory import needed_to_check_bytes
from services.uncertainty.messages import finding_message
from services.uncertainty.priors import catalog
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.check import check

MAX_RULES = 64


def check_labels(storage: Storage, gate: MemoryGate, request: pb.CheckLabelsRequest, report: Report) -> pb.LabelCheck:
    """What the rules find in the label version of a request. Blocks.

    Raises what is wrong with the request before a voxel is read, or VOLUME_TOO_LARGE.
    """
    report("queued", 0.0)
    parse(request.label_version, "volumes/*/labels/*", "label_version")
    priors = catalog.find(_names(request))
    get = storage_pb.GetLabelVersionRequest(name=request.label_version)
    record = storage.rpc.GetLabelVersion(get).label_version
    needed = needed_to_check_bytes(
        geometry_from_proto(record.masks.geometry, "masks.geometry"),
        organs=len(record.masks.channels),
        compressed_bytes=record.masks.object.size_bytes,
    )
    with gate.hold(needed, what=request.label_version):
        report("reading", 0.05)
        masks = storage.array(record.masks)
        anatomy = Anatomy.of(boxes(masks, report), masks.geometry)
        findings = []
        for number, prior in enumerate(priors):
            report("checking", 0.5 + 0.5 * number / len(priors))
            # One rule after the other: its regions are let go before the next one makes some.
            findings += [finding_message(finding) for finding in check(anatomy, [prior])]
    return pb.LabelCheck(
        label_version=request.label_version,
        rules=[prior.name for prior in priors],
        catalog_version=catalog.VERSION,
        findings=findings,
    )


def rule_messages() -> list[pb.AnatomicalRule]:
    """All rules, for people."""
    return [
        pb.AnatomicalRule(
            name=prior.name,
            severity=Severity.ValueType(prior.severity),
            description=prior.says,
            threshold=prior.threshold,
            source=prior.source,
        )
        for prior in catalog.PRIORS
    ]


def _names(request: pb.CheckLabelsRequest) -> list[str]:
    if len(request.rules) > MAX_RULES:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"{len(request.rules)} rules are named.",
            field="rules",
            remedy=f"Name at most {MAX_RULES}, or none for all.",
        )
    return list(request.rules)


def boxes(masks: ArrayFile, report: Report) -> Iterator[tuple[str, Boxed]]:
    """The masks of an array file, one after the other, each as a view of a whole array."""
    for number, organ in enumerate(masks.channels):
        report("reading", 0.05 + 0.45 * number / len(masks.channels))
        yield organ, crop(np.asarray(masks.channel(organ), np.uint8))
