"""From the records of storage to what strategies look at."""

import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.geometry import Geometry
from services.core.rpc.convert import geometry_to_proto
from services.scheduler import facts
from services.scheduler.acquisition import Candidate
from services.scheduler.acquisition.cost import CostModel, Work

PARITY = pb.AttentionMap(
    organs=[pb.OrganScore(organ="liver", attention_mm3=300.0), pb.OrganScore(organ="spleen", attention_mm3=200.0)]
)
CALIBRATED = pb.AttentionMap(
    organs=[
        pb.OrganScore(organ="liver", attention_mm3=300.0, expected_error_mm3=30.0),
        pb.OrganScore(organ="spleen", attention_mm3=200.0, expected_error_mm3=90.0),
    ],
    region_count=7,
)


@pytest.mark.parametrize(
    ("attention", "expected_error_mm3", "work"),
    [
        (PARITY, 500.0, Work(organs=2, regions=0, attention_mm3=500.0)),
        (CALIBRATED, 120.0, Work(organs=2, regions=7, attention_mm3=500.0)),
        (pb.AttentionMap(), 0.0, Work()),
    ],
)
def test_what_is_expected_to_be_wrong(attention: pb.AttentionMap, expected_error_mm3: float, work: Work) -> None:
    known = facts.of_attention(attention)
    assert sum(known["organ_errors_mm3"].values()) == expected_error_mm3
    assert known["expected_error_mm3"] == expected_error_mm3
    assert facts.work(known) == work


def test_a_volume_as_strategies_see_it() -> None:
    # 100 x 80 x 60 voxels of 1 x 2 x 5 mm.
    geometry = Geometry((100, 80, 60), (1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0, 5.0, 0.0))
    volume = pb.Volume(geometry=geometry_to_proto(geometry), tissue_mm3=[4e6, 2e6, 1e6, 1e6], dataset="btcv")
    labels = pb.LabelVersion(organs=[pb.OrganLabel(organ="liver", volume_mm3=1.5e6), pb.OrganLabel(organ="spleen")])
    known = facts.of_volume(volume) | facts.of_attention(CALIBRATED) | facts.of_labels(labels)
    assert facts.labelled_mm3(known) == 1.5e6
    assert facts.candidate("v", 120, known, CostModel()) == Candidate(
        volume="v",
        priority=120,
        attention_mm3=500.0,
        expected_error_mm3=120.0,
        organ_errors_mm3={"liver": 30.0, "spleen": 90.0},
        minutes=15.0,
        organs_mm3={"liver": 1.5e6, "spleen": 0.0},
        spacing_mm=(1.0, 2.0, 5.0),
        extent_mm=(100.0, 160.0, 300.0),
        hu=(0.5, 0.25, 0.125, 0.125),
        source="btcv",
    )


def test_a_volume_from_before_facts_were_kept_is_a_candidate_too() -> None:
    candidate = facts.candidate("v", 5, {}, CostModel())
    assert (candidate.priority, candidate.foreground_mm3, candidate.minutes) == (5, 0.0, 15.0)
