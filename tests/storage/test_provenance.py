"""What a merged label version tells of its voxels: held against its source map, and found again by model."""

from pathlib import Path

import numpy as np
import pytest
from alembic import command
from alembic.config import Config
from google.protobuf import json_format
from sqlalchemy import Engine, text

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.array_pb2 import ArrayRef
from services.core import arrayfile
from services.core.database import writing
from services.core.errors import Reason
from services.core.rpc.convert import array_ref
from services.storage.catalog import database, tables
from services.storage.catalog.catalog import Catalog
from services.storage.model_uses import model_uses
from services.storage.provenance import COMBINED, SOURCES
from tests.storage import files
from tests.storage.test_catalog import NOW, volume
from tests.storage.test_records import label, liver, predict, refusal
from tests.storage.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.volume()
    return world


def combined(world: World, *channels: str) -> ArrayRef:
    """Combined labels whose first slice, on every channel, is 1."""
    voxels = np.zeros(files.GEOMETRY.array_shape, np.uint8)
    voxels[0] = 1
    data = arrayfile.encode(channels, [voxels] * len(channels), files.GEOMETRY)
    return array_ref(world.blobs.put(data), arrayfile.decode(data))


SLICE = int(np.prod(files.GEOMETRY.array_shape[1:]))


def test_a_source_map_has_what_the_record_says(world: World) -> None:
    source = pb.LabelSource(value=1, origin=pb.ORIGIN_AI, voxels=SLICE)
    hidden = pb.LabelSource(value=2, origin=pb.ORIGIN_SOURCE)
    version = label(world, combined=combined(world, COMBINED, SOURCES), sources=[source, hidden])
    assert list(version.sources) == [source, hidden]


@pytest.mark.parametrize(
    ("channels", "told", "field"),
    [
        ((COMBINED, SOURCES), {}, "label_version.sources"),
        ((COMBINED, SOURCES), {1: SLICE - 1}, "label_version.sources"),
        ((COMBINED, SOURCES), {1: SLICE, 2: 1}, "label_version.sources"),
        ((COMBINED,), {1: SLICE}, "label_version.sources"),
        ((SOURCES, COMBINED), {1: SLICE}, "label_version.combined.channels"),
        (("liver",), {}, "label_version.combined.channels"),
    ],
)
def test_another_one_is_refused(world: World, channels: tuple[str, ...], told: dict[int, int], field: str) -> None:
    sources = [pb.LabelSource(value=value, origin=pb.ORIGIN_AI, voxels=voxels) for value, voxels in told.items()]
    error = refusal(label, world, combined=combined(world, *channels), sources=sources)
    assert (error.reason, error.field) == (Reason.FIELD_INVALID, field)


def test_a_version_from_another_archive_is_found_by_the_models_it_names(world: World) -> None:
    model = pb.ModelRef(name="models/foreign/versions/3", weights_sha256="d" * 64)
    version = label(world, value=1, organs=[liver(1, models=[model])])
    (use,) = model_uses(world.catalog, pb.ListModelUsesRequest(model="models/foreign")).uses
    assert (use.label_version, use.organ, use.model) == (version.name, "liver", model.name)


def test_readers_that_were_brought_together_must_be_there(world: World) -> None:
    missing = f"volumes/case/labels/{'9' * 32}"
    assert refusal(label, world, organs=[liver(readers=[missing])]).reason == Reason.RESOURCE_NOT_FOUND


def test_versions_from_before_are_found_too(engine: Engine, catalog: Catalog) -> None:
    """The migration reads their records: organs that AI made, and that have voxels."""
    config = Config()
    config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
    with writing(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0004")
    prediction = tables.Prediction(
        volume_id="a", id="p", array_sha256="0" * 64, create_time=NOW, record="{}", model="models/unet/versions/7"
    )
    organs = [
        pb.OrganLabel(
            organ="liver", origin=pb.ORIGIN_AI, predictions=["volumes/a/predictions/p"], voxels=5, volume_mm3=9
        ),
        pb.OrganLabel(organ="aorta", origin=pb.ORIGIN_AI, predictions=["volumes/a/predictions/p"]),
        pb.OrganLabel(organ="spleen", origin=pb.ORIGIN_SOURCE, voxels=5),
    ]
    merged = json_format.MessageToJson(pb.LabelVersion(organs=organs), indent=None)
    assert catalog.add_all([volume("a", dataset="d"), prediction])
    add = text(
        "INSERT INTO label_versions (volume_id, id, array_sha256, create_time, record, origin, author)"
        " VALUES ('a', :id, '', :now, :record, :origin, 'x')"
    )
    versions = (("m", 3, merged), ("s", 1, merged), ("e", 3, "{}"))
    with catalog.writing() as session:
        session.execute(add, [{"id": i, "now": NOW, "record": r, "origin": o} for i, o, r in versions])
    database.upgrade(engine)
    (use,) = model_uses(catalog, pb.ListModelUsesRequest(model="models/unet")).uses
    expected = pb.ModelUse(
        label_version="volumes/a/labels/m",
        organ="liver",
        model="models/unet/versions/7",
        voxels=5,
        volume_mm3=9,
        dataset="d",
    )
    assert use == expected


def test_a_prediction_names_its_model(world: World) -> None:
    prediction = predict(world)
    label(world, value=1, organs=[liver(1, predictions=[prediction.name])])
    found = model_uses(world.catalog, pb.ListModelUsesRequest(model="models/unet/versions/1", organ="liver"))
    assert [use.volume_mm3 for use in found.uses] == [liver(1).volume_mm3]
