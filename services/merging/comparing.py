"""Compares two label versions of one volume: masks out of storage, measures out of them. Nothing is stored."""

import math

import numpy as np

from abdomenatlas.merging.v1 import merging_pb2 as pb
from abdomenatlas.storage.v1 import storage_pb2 as storage_pb
from services.core import metrics
from services.core.arrayfile import ArrayFile
from services.core.boxes import Mask
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, require_same
from services.core.memory import MemoryGate
from services.core.metrics.nsd import DEFAULT_TOLERANCE_MM, require_tolerance
from services.core.names import parse
from services.core.rpc.convert import geometry_from_proto
from services.core.rpc.progress import Report
from services.core.storage import Storage
from services.merging.memory import needed_to_compare_bytes

MAX_ORGANS = 256


def compare(storage: Storage, gate: MemoryGate, request: pb.CompareRequest, report: Report) -> pb.LabelComparison:
    """How far the second label version of a request agrees with the first. Blocks.

    Raises what is wrong with the request before a voxel is read, GEOMETRY_MISMATCH, or VOLUME_TOO_LARGE.
    """
    report("queued", 0.0)
    _require_one_volume(request)
    records = [_record(storage, request.first), _record(storage, request.second)]
    first, second = (list(record.masks.channels) for record in records)
    organs = _organs(request, first, second)
    tolerances_mm = _tolerances_mm(request, organs)
    grids = [geometry_from_proto(record.masks.geometry, "masks.geometry") for record in records]
    require_same(*grids, first_name=request.first, second_name=request.second)
    compressed = sum(record.masks.object.size_bytes for record in records)
    with gate.hold(needed_to_compare_bytes(grids[0], compressed_bytes=compressed), what=request.first):
        report("reading", 0.05)
        masks = [storage.array(record.masks) for record in records]
        compared = []
        for number, organ in enumerate(organs):
            report("comparing", 0.2 + 0.8 * number / len(organs))
            compared.append(_agreement(organ, masks, grids[0], tolerances_mm[organ]))
    return pb.LabelComparison(
        first=request.first,
        second=request.second,
        organs=compared,
        only_first=[organ for organ in first if organ not in second],
        only_second=[organ for organ in second if organ not in first],
    )


def _require_one_volume(request: pb.CompareRequest) -> None:
    volumes = [parse(getattr(request, field), "volumes/*/labels/*", field)[0] for field in ("first", "second")]
    if volumes[0] != volumes[1]:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"{request.second} is not a label version of volumes/{volumes[0]}.",
            field="second",
            remedy="Compare label versions of one volume.",
        )


def _record(storage: Storage, name: str) -> storage_pb.LabelVersion:
    return storage.rpc.GetLabelVersion(storage_pb.GetLabelVersionRequest(name=name)).label_version


def _organs(request: pb.CompareRequest, first: list[str], second: list[str]) -> list[str]:
    """The organs to compare, in the reference's order. Raises ORGAN_UNKNOWN for one that a version does not have."""
    if len(request.organs) > MAX_ORGANS:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"{len(request.organs)} organs are named.",
            field="organs",
            remedy=f"Name at most {MAX_ORGANS}.",
        )
    for organ in request.organs:
        for name, channels in ((request.first, first), (request.second, second)):
            if organ not in channels:
                raise AtlasError(
                    Reason.ORGAN_UNKNOWN,
                    f"{name} does not say where the {organ[:64]!r} is: nobody looked.",
                    field="organs",
                    remedy=f"It has: {', '.join(channels)}.",
                )
    return [organ for organ in first if organ in second and (not request.organs or organ in request.organs)]


def _tolerances_mm(request: pb.CompareRequest, organs: list[str]) -> dict[str, float]:
    """The tolerance of every organ. Raises FIELD_INVALID."""
    usual = request.tolerance_mm if request.HasField("tolerance_mm") else DEFAULT_TOLERANCE_MM
    require_tolerance(usual, field="tolerance_mm")
    for organ, tolerance_mm in request.organ_tolerances_mm.items():
        require_tolerance(tolerance_mm, field=f"organ_tolerances_mm[{organ[:64]}]")
    return {organ: request.organ_tolerances_mm.get(organ, usual) for organ in organs}


def _agreement(organ: str, masks: list[ArrayFile], grid: Geometry, tolerance_mm: float) -> pb.OrganAgreement:
    found = metrics.agreement(
        _mask(masks[0], organ),
        _mask(masks[1], organ),
        grid.spacing_mm,
        tolerance_mm=tolerance_mm,
        voxel_volume_mm3=grid.voxel_volume_mm3,
    )
    return pb.OrganAgreement(
        organ=organ,
        dsc=None if math.isnan(found.dsc) else found.dsc,
        nsd=None if math.isnan(found.nsd) else found.nsd,
        tolerance_mm=found.tolerance_mm,
        hd95_mm=found.hd95_mm if math.isfinite(found.hd95_mm) else None,
        first_ml=found.first_ml,
        second_ml=found.second_ml,
    )


def _mask(masks: ArrayFile, organ: str) -> Mask:
    return np.asarray(masks.channel(organ), np.uint8)
