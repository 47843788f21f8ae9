"""What is known about a volume beside its voxels: from the records of storage, through our tables, to the strategies.

In the tables it is JSON, one key a fact; a row from before a fact was known has the key left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from abdomenatlas.storage.v1.storage_pb2 import AttentionMap, LabelVersion, Volume
from services.core.rpc.convert import geometry_from_proto
from services.scheduler.acquisition import Candidate
from services.scheduler.acquisition.cost import CostModel, Work

Facts = Mapping[str, Any]

# Of a volume of which nothing is known.
_EVEN = [0.25, 0.25, 0.25, 0.25]


def of_volume(volume: Volume) -> dict[str, Any]:
    """Of the CT: spacing and extent in mm, its dataset, and what share of the tissue lies where in HU.

    The shares tell phases of contrast apart; the least and the greatest HU would tell of padding and metal.
    """
    geometry = geometry_from_proto(volume.geometry)
    extent = [size * mm for size, mm in zip(geometry.shape, geometry.spacing_mm, strict=True)]
    tissue = sum(volume.tissue_mm3)
    shares = [mm3 / tissue for mm3 in volume.tissue_mm3] if tissue else _EVEN
    return {"spacing_mm": list(geometry.spacing_mm), "extent_mm": extent, "hu": shares, "source": volume.dataset}


def of_attention(attention: AttentionMap) -> dict[str, Any]:
    """Of the attention map: what there is to look at, and how much of it is expected to be wrong.

    A profile that knows no regions knows no probabilities either: what asks for attention is then taken for wrong.
    """
    has_regions = attention.region_count > 0
    errors = {
        organ.organ: organ.expected_error_mm3 if has_regions else organ.attention_mm3 for organ in attention.organs
    }
    return {
        "organs": len(attention.organs),
        "regions": attention.region_count,
        "attention_mm3": sum(organ.attention_mm3 for organ in attention.organs),
        "expected_error_mm3": sum(errors.values()),
        "organ_errors_mm3": errors,
    }


def of_labels(labels: LabelVersion) -> dict[str, Any]:
    """Of the merged labels: tissue by organ, whoever labelled it."""
    return {"organs_mm3": {organ.organ: organ.volume_mm3 for organ in labels.organs}}


def work(facts: Facts) -> Work:
    """What a reviewer has to look at."""
    return Work(facts.get("organs", 0), facts.get("regions", 0), facts.get("attention_mm3", 0.0))


def labelled_mm3(facts: Facts) -> float:
    """Labelled tissue of all organs."""
    return float(sum(facts.get("organs_mm3", {}).values()))


def candidate(volume: str, priority: int, facts: Facts, cost: CostModel) -> Candidate:
    """The volume as the strategies see it."""
    return Candidate(
        volume=volume,
        priority=priority,
        attention_mm3=facts.get("attention_mm3", 0.0),
        expected_error_mm3=facts.get("expected_error_mm3", 0.0),
        organ_errors_mm3=facts.get("organ_errors_mm3", {}),
        minutes=cost.minutes(work(facts)),
        organs_mm3=facts.get("organs_mm3", {}),
        spacing_mm=_triple(facts.get("spacing_mm", (1.0, 1.0, 1.0))),
        extent_mm=_triple(facts.get("extent_mm", (0.0, 0.0, 0.0))),
        hu=tuple(facts.get("hu", _EVEN)),
        source=facts.get("source", ""),
    )


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = values
    return first, second, third
