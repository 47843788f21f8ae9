"""What a campaign knows of a case once it is scored: the product's own facts, from the product's own records."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from abdomenatlas.storage.v1 import storage_pb2 as pb
from benchmarks.error_detection.cases import LabelCase
from services.core.fingerprint import profile as body_of
from services.core.fingerprint import tissue_mm3
from services.core.rpc.convert import geometry_to_proto
from services.scheduler import facts
from services.uncertainty.attention import OrganAttention, Profile, ranked


@dataclass(frozen=True)
class Looked:
    """What `services.scheduler.facts.candidate` makes a candidate of."""

    priority: int
    facts: Mapping[str, Any]


def looked(
    case: LabelCase, profile: Profile, found: Sequence[OrganAttention], labels_mm3: Mapping[str, float]
) -> Looked:
    """A case under a profile; `labels_mm3` is the labelled tissue by organ. The box of the case is taken for its CT."""
    scores = [one.score for one in found]
    voxel = case.geometry.voxel_volume_mm3
    attention = pb.AttentionMap(
        organs=[
            pb.OrganScore(
                organ=score.organ, attention_mm3=score.voxels * voxel, expected_error_mm3=score.expected_error_mm3
            )
            for score in ranked(scores, profile.urgency)
        ],
        region_count=sum(len(one.regions) for one in found),
    )
    tissue = () if case.ct is None else tissue_mm3(body_of(case.ct, case.geometry))
    volume = pb.Volume(geometry=geometry_to_proto(case.geometry), tissue_mm3=tissue)
    labels = pb.LabelVersion(organs=[pb.OrganLabel(organ=organ, volume_mm3=mm3) for organ, mm3 in labels_mm3.items()])
    return Looked(
        profile.priority(scores), facts.of_volume(volume) | facts.of_attention(attention) | facts.of_labels(labels)
    )
