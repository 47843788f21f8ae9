"""Regions of attention and what rules found there: what must hold of them, and how they are kept."""

import json
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from google.protobuf import json_format
from sqlalchemy import Engine

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1 import finding_pb2
from abdomenatlas.type.v1.finding_pb2 import Evidence, Finding
from abdomenatlas.type.v1.geometry_pb2 import VoxelBox
from services.core.database import writing
from services.core.errors import Reason
from services.storage.catalog import database, tables
from services.storage.catalog.catalog import Catalog
from services.storage.kinds import ATTENTION_MAPS
from tests.storage.test_catalog import NOW, volume
from tests.storage.test_records import attend, predict, refusal
from tests.storage.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.volume()
    return world


def region(**fields: Any) -> pb.AttentionRegion:
    """A region of the liver that is one voxel."""
    given: dict[str, Any] = {
        "rank": 1,
        "organ": "liver",
        "cause": pb.AttentionRegion.CAUSE_ADD,
        "box": VoxelBox(first=[0, 0, 0], size=[1, 1, 1]),
        "centre_mm": [1.0, 2.0, 3.0],
        "volume_mm3": 1.5**3,
        "probability": 0.5,
        **fields,
    }
    return pb.AttentionRegion(**given)


def finding(**fields: Any) -> Finding:
    """What a rule says of that voxel."""
    given: dict[str, Any] = {
        "rule": "apart",
        "organs": ["gall_bladder", "liver"],
        "severity": finding_pb2.SEVERITY_WARNING,
        "message": "gall_bladder lies 31 mm from liver; they are neighbours.",
        "evidence": [Evidence(name="gap_mm", value=31.0), Evidence(name="limit_mm", value=20.0)],
        "box": VoxelBox(first=[0, 0, 0], size=[1, 1, 1]),
        "centre_mm": [1.0, 2.0, 3.0],
        "volume_mm3": 1.5**3,
        **fields,
    }
    return Finding(**given)


def test_regions_of_attention_are_recorded(world: World) -> None:
    regions = [
        region(findings=[finding()] * 16),
        region(rank=2, cause=pb.AttentionRegion.CAUSE_PRIOR, findings=[finding()]),
    ]
    attention = attend(world, [predict(world).name], regions=regions, region_count=3)
    assert (list(attention.regions), attention.region_count) == (regions, 3)


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"rank": 2}, "rank"),
        ({"organ": "tail"}, "organ"),
        ({"cause": pb.AttentionRegion.CAUSE_UNSPECIFIED}, "cause"),
        ({"cause": pb.AttentionRegion.CAUSE_PRIOR}, "findings"),
        ({"cause": pb.AttentionRegion.CAUSE_PRIOR, "findings": [finding()] * 2}, "findings"),
        ({"findings": [finding()] * 17}, "findings"),
        ({"box": VoxelBox(first=[0, 0, 0], size=[1, 1, 4000])}, "box"),
        ({"box": VoxelBox(first=[0, 0, 0], size=[1, 0, 1])}, "box"),
        ({"box": VoxelBox(first=[0, 0], size=[1, 1, 1])}, "box"),
        ({"volume_mm3": 3.4}, "volume_mm3"),
        ({"volume_mm3": float("nan")}, "volume_mm3"),
        ({"probability": 1.1}, "probability"),
        ({"probability": float("nan")}, "probability"),
        ({"disagreement": -0.1}, "disagreement"),
        ({"centre_mm": [1.0, 2.0]}, "centre_mm"),
        ({"centre_mm": [1.0, 2.0, float("inf")]}, "centre_mm"),
    ],
)
def test_a_region_that_cannot_be_is_refused(world: World, wrong: dict[str, Any], field: str) -> None:
    prediction = predict(world).name
    error = refusal(attend, world, [prediction], regions=[region(**wrong)], region_count=1)
    assert (error.reason, error.field) == (Reason.FIELD_INVALID, f"attention_map.regions[0].{field}")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"rule": ""}, "rule"),
        ({"message": "two\nlines"}, "message"),
        ({"organs": ["spleen"]}, "organs"),
        ({"organs": ["liver", "two\nlines"]}, "organs"),
        ({"severity": finding_pb2.SEVERITY_UNSPECIFIED}, "severity"),
        ({"evidence": [Evidence(name="gap_mm", value=1.0)] * 17}, "evidence"),
        ({"evidence": [Evidence(value=1.0)]}, "evidence.name"),
        ({"evidence": [Evidence(name="gap_mm", value=float("nan"))]}, "evidence.value"),
        ({"box": None}, "box"),
        ({"volume_mm3": 3.4}, "volume_mm3"),
        ({"centre_mm": []}, "centre_mm"),
    ],
)
def test_a_finding_that_cannot_be_is_refused(world: World, wrong: dict[str, Any], field: str) -> None:
    regions = [region(findings=[finding(), finding(**wrong)])]
    error = refusal(attend, world, [predict(world).name], regions=regions, region_count=1)
    assert error.field == f"attention_map.regions[0].findings[1].{field}"


def test_too_many_regions_are_refused(world: World) -> None:
    regions = [region(rank=rank) for rank in range(1, 258)]
    prediction = predict(world).name
    assert refusal(attend, world, [prediction], regions=regions, region_count=257).field == "attention_map.regions"
    error = refusal(attend, world, [prediction], regions=regions[:2], region_count=1)
    assert error.field == "attention_map.region_count"


def go_back(engine: Engine, revision: str) -> None:
    """To an older schema."""
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with writing(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)


def test_maps_from_before_tell_their_findings_too(engine: Engine, catalog: Catalog) -> None:
    """The migration makes a finding of a rule's name and sentence, and back again."""
    old = json.loads(json_format.MessageToJson(pb.AttentionMap(regions=[region(), region(rank=2)])))
    told = {"cause": "CAUSE_PRIOR", "rule": "sides_swapped", "message": "They are swapped."}
    old["regions"][1] |= told
    assert catalog.add_all([volume("a")])
    for id_, record in (("p", "{}"), ("c", json.dumps(old))):
        catalog.add(
            tables.AttentionMap(
                volume_id="a", id=id_, array_sha256="0" * 64, create_time=NOW, record=record, profile="calibrated"
            ),
            id_,
        )

    def stored() -> str:
        return catalog.get(tables.AttentionMap, "a", "c", "volumes/a/attentionMaps/c").record

    go_back(engine, "0006")
    assert json.loads(stored()) == old
    database.upgrade(engine)
    kept = json_format.Parse(stored(), pb.AttentionMap())
    where = region()
    said = Finding(
        rule="sides_swapped",
        message="They are swapped.",
        organs=["liver"],
        box=where.box,
        centre_mm=where.centre_mm,
        volume_mm3=where.volume_mm3,
    )
    assert list(kept.regions) == [region(), region(rank=2, cause=pb.AttentionRegion.CAUSE_PRIOR, findings=[said])]
    go_back(engine, "0006")
    assert json.loads(stored()) == old


def test_what_a_pod_of_the_version_before_still_writes_is_read() -> None:
    """After the migration, while pods of both versions run."""
    record = json.loads(
        json_format.MessageToJson(pb.AttentionMap(name="volumes/a/attentionMaps/c", regions=[region()]))
    )
    record["regions"][0] |= {"rule": "sides_swapped", "message": "They are swapped."}
    row = tables.AttentionMap(
        volume_id="a", id="c", array_sha256="0" * 64, create_time=NOW, record=json.dumps(record), profile="calibrated"
    )
    assert list(ATTENTION_MAPS.parse(row).regions) == [region()]
