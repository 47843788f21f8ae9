"""What workers record: held against the volume and the bytes; the first commit of an id stays."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.type.v1.array_pb2 import ArrayRef
from abdomenatlas.type.v1.geometry_pb2 import GridSpec
from services.core import arrayfile
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, network_grid
from services.core.rpc.convert import array_ref
from tests.storage import files
from tests.storage.world import World

GRID = network_grid(files.GEOMETRY, 1.5)
ID, OTHER_ID = "a" * 32, "b" * 32
MODEL = pb.ModelRef(name="models/unet/versions/1", weights_sha256="c" * 64)


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.volume()
    return world


def array(world: World, *channels: str, geometry: Geometry = GRID, value: int = 0, dtype: str = "uint8") -> ArrayRef:
    data = arrayfile.encode(channels, [np.full(geometry.array_shape, value, dtype)] * len(channels), geometry)
    return array_ref(world.blobs.put(data), arrayfile.decode(data))


def predict(world: World, id_: str = ID, value: int = 0, **fields: Any) -> pb.Prediction:
    given: dict[str, Any] = {
        "model": MODEL,
        "array": array(world, "liver", "spleen", value=value),
        "grid": GridSpec(spacing_mm=1.5),
        "class_map": "abdomenatlas-1.0",
        "voxel_digest": world.volumes.get("volumes/case").voxel_digest,
        **fields,
    }
    return world.records.create_prediction(
        pb.CreatePredictionRequest(parent="volumes/case", prediction_id=id_, prediction=pb.Prediction(**given))
    )


def attend(world: World, predictions: list[str], id_: str = ID, **fields: Any) -> pb.AttentionMap:
    given: dict[str, Any] = {"profile": "parity", "predictions": predictions, "heat": array(world, "liver"), **fields}
    return world.records.create_attention_map(
        pb.CreateAttentionMapRequest(
            parent="volumes/case", attention_map_id=id_, attention_map=pb.AttentionMap(**given)
        )
    )


def liver(value: int = 0, **fields: Any) -> pb.OrganLabel:
    """The entry of a liver that is everywhere (1) or nowhere (0)."""
    voxels = value * files.GEOMETRY.voxel_count
    given: dict[str, Any] = {"origin": pb.ORIGIN_AI, "voxels": voxels, **fields}
    return pb.OrganLabel(organ="liver", volume_mm3=voxels * files.GEOMETRY.voxel_volume_mm3, **given)


def label(world: World, id_: str = ID, value: int = 0, **fields: Any) -> pb.LabelVersion:
    given: dict[str, Any] = {
        "origin": pb.ORIGIN_AI,
        "masks": array(world, "liver", geometry=files.GEOMETRY, value=value),
        "class_map": "abdomenatlas-1.0",
        "organs": [liver(value)],
        "author": "precedence",
        **fields,
    }
    return world.records.create_label_version(
        pb.CreateLabelVersionRequest(
            parent="volumes/case", label_version_id=id_, label_version=pb.LabelVersion(**given)
        )
    )


def refusal(action: Any, *args: Any, **kwargs: Any) -> AtlasError:
    with pytest.raises(AtlasError) as caught:
        action(*args, **kwargs)
    return caught.value


def test_each_kind_is_recorded_read_and_listed(world: World) -> None:
    prediction = predict(world)
    attention = attend(world, [prediction.name])
    version = label(world, organs=[pb.OrganLabel(organ="liver", origin=pb.ORIGIN_AI, predictions=[prediction.name])])
    assert prediction.name == f"volumes/case/predictions/{ID}"
    assert attention.name == f"volumes/case/attentionMaps/{ID}"
    assert version.name == f"volumes/case/labels/{ID}"
    assert prediction.create_time.seconds > 0
    records = world.records
    for collection, message in (
        (records.predictions, prediction),
        (records.attention_maps, attention),
        (records.label_versions, version),
    ):
        assert collection.get(message.name) == message
        assert collection.page("volumes/case", 0, "", "List") == ([message], "")


def test_the_first_answer_of_the_same_inputs_stays(world: World) -> None:
    first = predict(world)
    assert predict(world, value=7) == first
    attention = attend(world, [first.name])
    assert attend(world, [first.name], heat=array(world, "liver", value=3)) == attention
    version = label(world)
    assert label(world, value=1) == version


def test_other_inputs_under_the_same_id_are_a_conflict(world: World) -> None:
    first = predict(world)
    other = pb.ModelRef(name="models/unetr/versions/1", weights_sha256="c" * 64)
    assert refusal(predict, world, model=other).reason == Reason.RESOURCE_CONFLICT
    attend(world, [first.name])
    assert refusal(attend, world, [first.name], profile="calibrated").reason == Reason.RESOURCE_CONFLICT
    label(world)
    assert refusal(label, world, author="somebody").reason == Reason.RESOURCE_CONFLICT


def test_other_masks_of_a_person_under_the_same_id_are_a_conflict(world: World) -> None:
    given: dict[str, Any] = {
        "origin": pb.ORIGIN_REVISION,
    }
    label(world, organs=[liver(origin=pb.ORIGIN_REVISION)], **given)
    other = [liver(1, origin=pb.ORIGIN_REVISION)]
    assert refusal(label, world, value=1, organs=other, **given).reason == Reason.RESOURCE_CONFLICT


def test_arrays_on_the_wrong_grid_are_refused(world: World) -> None:
    off = Geometry.from_matrix(GRID.shape, GRID.matrix + np.outer([0, 0, 1, 0], [0, 0, 0, 1.5]))
    wrong = refusal(predict, world, array=array(world, "liver", geometry=off))
    assert wrong.reason == Reason.GEOMETRY_MISMATCH
    assert str(GRID) in wrong.message
    assert str(off) in wrong.message
    assert refusal(predict, world, grid=GridSpec(spacing_mm=2)).reason == Reason.GEOMETRY_MISMATCH
    prediction = predict(world)
    for error in (
        refusal(attend, world, [prediction.name], heat=array(world, "liver", geometry=off)),
        refusal(label, world, masks=array(world, "liver")),
        refusal(label, world, combined=array(world, "combined_labels")),
    ):
        assert error.reason == Reason.GEOMETRY_MISMATCH


def test_records_that_contradict_their_bytes_are_refused(world: World) -> None:
    changes: list[tuple[dict[str, Any], Reason]] = [
        ({"channels": ["spleen", "liver"]}, Reason.FIELD_INVALID),
        ({"dtype": "int16"}, Reason.FIELD_INVALID),
        ({"size": 3}, Reason.FIELD_INVALID),
        ({"digest": "0" * 64}, Reason.DIGEST_MISMATCH),
        ({"object": world.blobs.put(b"no array file").name}, Reason.FIELD_INVALID),
    ]
    for change, reason in changes:
        ref = array(world, "liver", "spleen")
        if "channels" in change:
            ref.ClearField("channels")
            ref.channels.extend(change["channels"])
        ref.dtype = change.get("dtype", ref.dtype)
        ref.object.size_bytes = change.get("size", ref.object.size_bytes)
        ref.geometry.digest = change.get("digest", ref.geometry.digest)
        ref.object.name = change.get("object", ref.object.name)
        assert refusal(predict, world, array=ref).reason == reason
    ref = array(world, "liver")
    ref.object.CopyFrom(world.blobs.put(b"no array file"))
    assert refusal(predict, world, array=ref).reason == Reason.ARRAY_FILE_CORRUPT


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": pb.ModelRef(name="unet", weights_sha256="c" * 64)}, Reason.NAME_INVALID),
        ({"model": pb.ModelRef(name="models/unet/versions/1")}, Reason.FIELD_INVALID),
        ({"class_map": "x"}, Reason.CLASS_MAP_MISMATCH),
        ({"voxel_digest": "0" * 64}, Reason.FIELD_INVALID),
        ({"grid": GridSpec()}, Reason.FIELD_INVALID),
        ({"grid": GridSpec(spacing_mm=float("nan"))}, Reason.FIELD_INVALID),
    ],
)
def test_predictions_that_make_no_sense_are_refused(world: World, change: Any, reason: Reason) -> None:
    assert refusal(predict, world, **change).reason == reason
    assert refusal(predict, world, id_="short").reason == Reason.NAME_INVALID


def test_channels_are_organs_of_the_class_map_once_each(world: World) -> None:
    assert refusal(predict, world, array=array(world, "hepar")).reason == Reason.ORGAN_UNKNOWN
    assert refusal(predict, world, array=array(world, "liver", dtype="int16")).reason == Reason.FIELD_INVALID
    for organs in ([], [pb.OrganLabel(organ="spleen", origin=pb.ORIGIN_AI)], [pb.OrganLabel(organ="liver")]):
        assert refusal(label, world, organs=organs).reason in (Reason.FIELD_INVALID, Reason.FIELD_REQUIRED)


def test_masks_are_read_before_they_are_recorded(world: World) -> None:
    """0 and 1 alone, as many voxels and cubic millimetres as the entry says."""
    assert refusal(label, world, value=2, organs=[liver(1)]).reason == Reason.MASK_NOT_BINARY
    wrong_volume = liver(1)
    wrong_volume.volume_mm3 *= 2
    for organ in (liver(0), liver(1, voxels=7), wrong_volume):
        error = refusal(label, world, value=1, organs=[organ])
        assert (error.reason, error.field) == (Reason.FIELD_INVALID, "label_version.organs")
    assert label(world, value=1).organs[0].voxels == files.GEOMETRY.voxel_count


def test_what_it_was_made_of_must_be_there_and_of_this_volume(world: World) -> None:
    gone = f"volumes/case/predictions/{OTHER_ID}"
    assert refusal(attend, world, [gone]).reason == Reason.RESOURCE_NOT_FOUND
    assert refusal(attend, world, []).reason == Reason.FIELD_REQUIRED
    assert refusal(attend, world, [f"volumes/other/predictions/{ID}"]).reason == Reason.FIELD_INVALID
    organ = pb.OrganLabel(organ="liver", origin=pb.ORIGIN_SOURCE, label_version=f"volumes/case/labels/{OTHER_ID}")
    assert refusal(label, world, organs=[organ]).reason == Reason.RESOURCE_NOT_FOUND


def test_models_of_another_archive_are_named_in_full(world: World) -> None:
    assert label(world, organs=[liver(models=[MODEL])]).organs[0].models[0] == MODEL
    for wrong in ([pb.ModelRef(name="unet")], [pb.ModelRef(name=MODEL.name, weights_sha256="c")], [MODEL] * 17):
        error = refusal(label, world, OTHER_ID, organs=[liver(models=wrong)])
        assert error.field.startswith("label_version.organs.models")


def test_lists_are_paged_in_the_order_of_coming(world: World) -> None:
    names = [predict(world, id_=f"{number:032x}").name for number in (3, 1, 2)]
    page, token = world.records.predictions.page("volumes/case", 2, "", "ListPredictions")
    assert [message.name for message in page] == names[:2]
    page, end = world.records.predictions.page("volumes/case", 2, token, "ListPredictions")
    assert ([message.name for message in page], end) == (names[2:], "")
    for parent, method in (("volumes/case", "ListAttentionMaps"), ("volumes/other", "ListPredictions")):
        error = refusal(world.records.predictions.page, parent, 2, token, method)
        assert error.reason == Reason.PAGE_TOKEN_INVALID
    assert refusal(world.records.predictions.page, "volumes/no", 2, "", "List").reason == Reason.RESOURCE_NOT_FOUND


def test_label_versions_are_listed_by_origin(world: World) -> None:
    source = world.import_masks(("liver", files.mask(files.ball(4))))
    merged = label(world)
    page = world.records.label_versions.page
    assert [m.name for m in page("volumes/case", 0, "", "L")[0]] == [source.name, merged.name]
    assert [m.name for m in page("volumes/case", 0, "", "L", pb.ORIGIN_AI)[0]] == [merged.name]
