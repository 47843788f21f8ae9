"""Scores one volume: predictions out of storage, an attention map into it."""

from collections.abc import Sequence

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.geometry_pb2 import VoxelBox
from abdomenatlas.uncertainty.v1.uncertainty_pb2 import ScoreRequest
from services.core import arrayfile, predictions, scan
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.memory import MemoryGate
from services.core.names import content_id, parse
from services.core.predictions import PredictionSet
from services.core.rpc.convert import array_ref, geometry_from_proto
from services.core.rpc.progress import Report
from services.core.storage import Storage, found
from services.core.turns import Turns
from services.uncertainty import profiles
from services.uncertainty.attention import Cause, OrganScore, Profile, Region, attention_size, listed, ranked
from services.uncertainty.memory import needed_bytes, with_scan_bytes
from services.uncertainty.messages import finding_message
from services.uncertainty.tissue import Hounsfield


def score(storage: Storage, gate: MemoryGate, turns: Turns, request: ScoreRequest, report: Report) -> pb.AttentionMap:
    """The attention map of a request; one that is in storage already is not made again. Blocks.

    Whatever is wrong with the request is found before a voxel is read, and nothing is written unless all organs were
    scored.
    """
    report("queued", 0.0)
    parse(request.volume, "volumes/*", "volume")
    profile = profiles.find(request.profile)
    volume = storage.rpc.GetVolume(pb.GetVolumeRequest(name=request.volume)).volume
    inputs = predictions.find(storage, volume, request.predictions)
    organs = _organs(request.organs, inputs)
    map_id = _id(volume, profile, inputs, organs)
    name = f"{volume.name}/attentionMaps/{map_id}"
    # Of two calls for the same thing the second waits, and finds what the first has recorded.
    with turns.of(name):
        existing = found(lambda: storage.rpc.GetAttentionMap(pb.GetAttentionMapRequest(name=name)).attention_map)
        if existing:
            return existing
        needed = needed_bytes(
            inputs.geometry,
            models=len(inputs.records),
            organs=len(inputs.organs),
            compressed_bytes=inputs.compressed_bytes,
        )
        scanned = geometry_from_proto(volume.geometry, "volume.geometry")
        if profile.reads_ct:
            needed = with_scan_bytes(needed, volume.ct.size_bytes, scanned, inputs.geometry)
        with gate.hold(needed, what=volume.name):
            report("reading", 0.05)
            ct = None
            if profile.reads_ct:
                ct = scan.on_grid(storage.get(volume.ct), scanned, inputs.geometry, volume.name)
            attention_map = _make(storage, profile, inputs, organs, scanned, ct, report)
        return storage.rpc.CreateAttentionMap(
            pb.CreateAttentionMapRequest(parent=volume.name, attention_map_id=map_id, attention_map=attention_map)
        ).attention_map


def _make(
    storage: Storage,
    profile: Profile,
    inputs: PredictionSet,
    organs: Sequence[str],
    scanned: Geometry,
    ct: Hounsfield | None,
    report: Report,
) -> pb.AttentionMap:
    ensemble = inputs.open(storage)
    report("scoring", 0.2)
    heat = arrayfile.Writer(organs, "uint8", inputs.geometry)
    scores: list[OrganScore] = []
    regions: list[Region] = []
    for attention in profile.attend(ensemble, organs, scanned, ct):
        heat.write(attention.score.organ, attention.heat.voxels, attention.heat.corner)
        scores.append(attention.score)
        regions += attention.regions
        report("scoring", 0.2 + 0.7 * len(scores) / len(organs))
    report("storing", 0.9)
    data = heat.finish()
    return pb.AttentionMap(
        profile=profile.name,
        predictions=inputs.names,
        heat=array_ref(storage.put(data), arrayfile.decode(data)),
        organs=[_organ_score(organ, inputs.geometry) for organ in ranked(scores, profile.urgency)],
        priority=profile.priority(scores),
        attention_size=attention_size(scores, inputs.geometry.array_shape[0]),
        regions=[_region(rank, region, inputs.geometry) for rank, region in enumerate(listed(regions), 1)],
        region_count=len(regions),
        profile_version=profile.version,
    )


def _organs(asked: Sequence[str], inputs: PredictionSet) -> tuple[str, ...]:
    """The organs to score, in order of the class map. Raises ORGAN_UNKNOWN or FIELD_INVALID."""
    inputs.class_map.require(tuple(asked))
    missing = sorted(set(asked) - set(inputs.organs))
    if missing:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"None of the predictions has {', '.join(missing)}.",
            field="organs",
            remedy=f"Leave it out; they have {', '.join(inputs.organs)}.",
        )
    return tuple(organ for organ in inputs.organs if organ in asked or not asked)


def _id(volume: pb.Volume, profile: Profile, inputs: PredictionSet, organs: Sequence[str]) -> str:
    return content_id(
        "attention", profile.name, profile.version, volume.name, "predictions", *inputs.names, "organs", *organs
    )


def _organ_score(score: OrganScore, grid: Geometry) -> pb.OrganScore:
    return pb.OrganScore(
        organ=score.organ,
        attention_voxels=score.voxels,
        attention_mm3=score.voxels * grid.voxel_volume_mm3,
        heat_sum=score.heat_sum,
        inconsistency_voxels=score.inconsistency_voxels,
        uncertainty_voxels=score.uncertainty_voxels,
        overlap_voxels=score.overlap_voxels,
        expected_error_mm3=score.expected_error_mm3,
    )


_CAUSES = {
    Cause.ADD: pb.AttentionRegion.CAUSE_ADD,
    Cause.REMOVE: pb.AttentionRegion.CAUSE_REMOVE,
    Cause.OVERLAP: pb.AttentionRegion.CAUSE_OVERLAP,
    Cause.PRIOR: pb.AttentionRegion.CAUSE_PRIOR,
    Cause.LIKE: pb.AttentionRegion.CAUSE_LIKE,
    Cause.UNLIKE: pb.AttentionRegion.CAUSE_UNLIKE,
}


def _region(rank: int, region: Region, grid: Geometry) -> pb.AttentionRegion:
    centre_mm = grid.matrix @ [*region.centre[::-1], 1.0]
    return pb.AttentionRegion(
        rank=rank,
        organ=region.organ,
        cause=_CAUSES[region.cause],
        box=VoxelBox(first=region.corner[::-1], size=region.size[::-1]),
        centre_mm=centre_mm[:3].tolist(),
        volume_mm3=region.volume_mm3,
        probability=region.probability,
        disagreement=region.disagreement,
        findings=[finding_message(finding) for finding in region.findings],
    )
