"""Predictions through the service's API: real Triton, real storage."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from abdomenatlas.inference.v1 import inference_pb2 as pb
from abdomenatlas.inference.v1.inference_pb2_grpc import InferenceServiceStub
from abdomenatlas.storage.v1 import storage_pb2
from services.core import classmaps
from services.core.errors import AtlasError, Reason
from services.core.geometry import network_grid
from services.core.nifti import read_ct
from services.core.resample import to_grid
from services.core.rpc.convert import geometry_from_proto
from services.core.storage import Storage
from tests.components import triton as component
from tests.components.processes import wait_until
from tests.inference.conftest import StartInference, sigkill, wait_ready
from tests.inference.repository import add_model
from tests.inference.volumes import ct, image, upload

THRESHOLD = "models/threshold/versions/1"
STAGES = ["queued", "reading", "resampling", "predicting", "storing"]


def predict(
    inference: InferenceServiceStub, volume: str, model: str = THRESHOLD
) -> tuple[storage_pb2.Prediction, list[tuple[str, float]]]:
    """The prediction and the progress before it."""
    messages = list(inference.Predict(pb.PredictRequest(volume=volume, model=model)))
    assert messages[-1].WhichOneof("update") == "prediction"
    return messages[-1].prediction, [(m.progress.stage, m.progress.fraction) for m in messages[:-1]]


def refused(inference: InferenceServiceStub, volume: str, model: str = THRESHOLD) -> AtlasError:
    """The error that a prediction ends with."""
    with pytest.raises(AtlasError) as caught:
        predict(inference, volume, model)
    return caught.value


def test_a_prediction_is_recorded_with_everything_that_made_it(
    inference: InferenceServiceStub, volumes: Storage
) -> None:
    """Voxels, grid, model, class map; the id follows from what went in."""
    name = upload(volumes, "recorded", image(ct(1)))
    volume = volumes.rpc.GetVolume(storage_pb2.GetVolumeRequest(name=name)).volume
    prediction, progress = predict(inference, name)

    stages, fractions = zip(*progress, strict=True)
    assert sorted(set(stages), key=STAGES.index) == STAGES
    assert list(fractions) == sorted(fractions)

    model = inference.GetModel(pb.GetModelRequest(name=THRESHOLD)).model
    assert prediction.model == storage_pb2.ModelRef(name=THRESHOLD, weights_sha256=model.weights_sha256)
    assert prediction.voxel_digest == volume.voxel_digest
    assert (prediction.class_map, prediction.grid.spacing_mm) == ("abdomenatlas-1.0", 1.5)
    read = read_ct(volumes.get(volume.ct))
    grid = network_grid(read.geometry)
    array = volumes.array(prediction.array)
    assert array.geometry == grid == geometry_from_proto(prediction.array.geometry)
    assert array.channels == classmaps.load().organs
    on_grid = to_grid(read.voxels, read.geometry, grid).astype(np.int32)
    np.testing.assert_array_equal(array.channel("liver"), np.clip(510 - 10 * np.abs(on_grid - 150), 0, 255))


def test_asking_again_returns_what_is_recorded(inference: InferenceServiceStub, volumes: Storage) -> None:
    """At once: nothing is read, nobody is asked."""
    name = upload(volumes, "again", image(ct(2)))
    first, _ = predict(inference, name)
    second, progress = predict(inference, name)
    assert second == first
    assert {stage for stage, _ in progress} <= {"queued"}


@pytest.mark.parametrize("orientation", ["LPS", "RPI", "ASR", "SAL", "PIR", "IRA"])
def test_the_orientation_of_the_file_does_not_matter(
    inference: InferenceServiceStub, volumes: Storage, orientation: str
) -> None:
    """The same patient gives the same array file, byte for byte."""
    plain, _ = predict(inference, upload(volumes, "plain", image(ct(3))))
    other, _ = predict(inference, upload(volumes, f"turned-{orientation}", image(ct(3), orientation)))
    assert other.array.object.sha256 == plain.array.object.sha256
    assert other.voxel_digest != plain.voxel_digest


@pytest.mark.parametrize("dtype", ["int32", "float32", "float64", "uint8 scaled", "int16 shifted"])
def test_the_voxel_type_of_the_file_does_not_matter(
    inference: InferenceServiceStub, volumes: Storage, dtype: str
) -> None:
    """Integers, reals, and integers that the header scales."""
    hu = ct(4) // 8 * 8
    reference, _ = predict(inference, upload(volumes, "int16", image(hu)))
    if dtype == "uint8 scaled":
        file = image(((hu + 1000) // 8).astype(np.uint8))
        file.header.set_slope_inter(8, -1000)
    elif dtype == "int16 shifted":
        file = image(hu + np.int16(1024))
        file.header.set_slope_inter(1, -1024)
    else:
        file = image(hu.astype(dtype))
    other, _ = predict(inference, upload(volumes, dtype.replace(" ", "-"), file))
    assert other.array.object.sha256 == reference.array.object.sha256


@pytest.mark.parametrize("fault", ["empty", "garbage", "cut", "grid", "organs", "dtype", "raise"])
def test_a_wrong_answer_is_refused_and_not_recorded(
    inference: InferenceServiceStub, volumes: Storage, fault: str
) -> None:
    """And the refusal is final: asking again would not help."""
    name = upload(volumes, f"fault-{fault}", image(ct(5)))
    error = refused(inference, name, f"models/{fault}/versions/1")
    assert error.reason is Reason.MODEL_ANSWER_INVALID
    assert error.remedy
    assert not error.is_passing
    assert not volumes.rpc.ListPredictions(storage_pb2.ListPredictionsRequest(parent=name)).predictions


def test_a_dead_model_process_is_a_passing_error(inference: InferenceServiceStub, volumes: Storage) -> None:
    """The scheduler tries again later."""
    assert refused(inference, upload(volumes, "dead", image(ct(5))), "models/die/versions/1").is_passing


@pytest.mark.parametrize(
    ("volume", "model", "reason"),
    [
        ("volumes/nobody", THRESHOLD, Reason.RESOURCE_NOT_FOUND),
        ("volumes/../x", THRESHOLD, Reason.NAME_INVALID),
        ("", THRESHOLD, Reason.FIELD_REQUIRED),
        ("volumes/nobody", "models/threshold", Reason.NAME_INVALID),
        ("volumes/nobody", "models/threshold/versions/7", Reason.MODEL_NOT_FOUND),
        ("volumes/nobody", "models/other/versions/1", Reason.MODEL_NOT_FOUND),
    ],
)
def test_names_that_mean_nothing(inference: InferenceServiceStub, volume: str, model: str, reason: Reason) -> None:
    """Each is refused for what it is."""
    assert refused(inference, volume, model).reason is reason


def test_models_are_listed_in_pages(inference: InferenceServiceStub) -> None:
    """All of Triton's, each with what a caller must know."""
    first = inference.ListModels(pb.ListModelsRequest(page_size=7))
    rest = inference.ListModels(pb.ListModelsRequest(page_token=first.next_page_token))
    names = [model.name for model in (*first.models, *rest.models)]
    assert len(first.models) == 7
    assert names == sorted(names)
    assert THRESHOLD in names
    assert not rest.next_page_token
    assert all(model.ready and model.organs and model.weights_sha256 for model in first.models)


def test_models_asked_together_share_one_decoding(start_inference: StartInference, volumes: Storage) -> None:
    """Of calls for one volume at the same time, one reads the CT and the others wait for it."""
    name = upload(volumes, "shared", image(ct(6)))
    models = [THRESHOLD, *(f"models/{fault}/versions/1" for fault in ("organs", "grid", "dtype"))]
    with start_inference() as (_, inference), ThreadPoolExecutor(4) as pool:
        streams = [inference.Predict(pb.PredictRequest(volume=name, model=model)) for model in models]
        read = sum(pool.map(_count_readings, streams))
    assert read == 1


def _count_readings(stream: object) -> int:
    stages = set()
    try:
        for message in stream:  # type: ignore[attr-defined]
            stages.add(message.progress.stage)
    except AtlasError:
        pass
    return "reading" in stages


def test_the_same_call_twice_at_once_is_computed_once(start_inference: StartInference, volumes: Storage) -> None:
    """The second waits for the first and returns its record."""
    name = upload(volumes, "twice", image(ct(7)))
    with start_inference() as (_, inference), ThreadPoolExecutor(2) as pool:
        (one, first), (two, second) = pool.map(lambda _: predict(inference, name, "models/slow/versions/1"), range(2))
    assert one == two
    assert sorted("predicting" in dict(stages) for stages in (first, second)) == [False, True]


def test_a_volume_that_needs_too_much_memory_is_refused_before_it_is_read(
    start_inference: StartInference, volumes: Storage
) -> None:
    """The record's header is enough to know."""
    name = upload(volumes, "large", image(np.full((160, 160, 40), -1000, np.int16)))
    with start_inference(memory_bytes=str(70 * 2**20)) as (_, inference):
        stream = inference.Predict(pb.PredictRequest(volume=name, model=THRESHOLD))
        assert next(stream).progress.stage == "queued"
        with pytest.raises(AtlasError, match="this service may use 70 MiB") as caught:
            next(stream)
        assert caught.value.reason is Reason.VOLUME_TOO_LARGE


def test_waiting_calls_say_so_and_come_in_turn(start_inference: StartInference, volumes: Storage) -> None:
    """With one slot, four models after one another; the list of models still answers."""
    names = [upload(volumes, f"queue-{n}", image(ct(10 + n))) for n in range(3)]
    with start_inference(concurrent_predictions="1") as (_, inference), ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(predict, inference, name, "models/slow/versions/1") for name in names]
        assert inference.ListModels(pb.ListModelsRequest()).models
        progress = [call.result()[1] for call in calls]
    assert max(len([1 for stage, _ in one if stage == "queued"]) for one in progress) > 1


def test_the_deadline_for_a_model_holds(start_inference: StartInference, volumes: Storage) -> None:
    """It is a passing error: Triton may be busy."""
    name = upload(volumes, "deadline", image(ct(8)))
    with start_inference(model_seconds="0.5") as (_, inference):
        error = refused(inference, name, "models/slow/versions/1")
    assert error.reason is Reason.DEADLINE_EXCEEDED
    assert error.is_passing


def test_triton_killed_during_a_prediction(start_inference: StartInference, volumes: Storage, tmp_path: Path) -> None:
    """A passing error; when Triton is back the same call gives what an undisturbed one gives."""
    models = tmp_path / "given"
    models.mkdir()
    add_model(models, "slow", fault="slow")
    name = upload(volumes, "triton-killed", image(ct(9)))
    with component.triton(tmp_path / "triton", models) as server, start_inference(triton=server.address) as (_, stub):
        stream = stub.Predict(pb.PredictRequest(volume=name, model="models/slow/versions/1"))
        assert any(message.progress.stage == "predicting" for message in stream)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        with pytest.raises(AtlasError) as caught:
            list(stream)
        assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE
        assert refused(stub, name, "models/slow/versions/1").is_passing
        server.start()
        server.wait_ready()
        wait_until(lambda: _lists_models(stub), "Triton to be found again", 60)
        prediction, _ = predict(stub, name, "models/slow/versions/1")
    with start_inference() as (_, stub):
        undisturbed, _ = predict(stub, upload(volumes, "triton-well", image(ct(9))), "models/slow/versions/1")
    assert prediction.array.object == undisturbed.array.object


def _lists_models(stub: InferenceServiceStub) -> bool:
    try:
        return bool(stub.ListModels(pb.ListModelsRequest()).models)
    except AtlasError:
        return False


def test_inference_killed_during_a_prediction(start_inference: StartInference, volumes: Storage) -> None:
    """Nothing half-done is recorded, and the call made again succeeds."""
    name = upload(volumes, "killed", image(ct(20)))
    with start_inference() as (process, stub):
        stream = stub.Predict(pb.PredictRequest(volume=name, model="models/slow/versions/1"))
        assert any(message.progress.stage == "predicting" for message in stream)
        sigkill(process)
        with pytest.raises(AtlasError):
            list(stream)
        process.start()
        wait_ready(process)
        wait_until(lambda: _lists_models(stub), "the channel to be connected again", 60)
        prediction, _ = predict(stub, name, "models/slow/versions/1")
    assert list(volumes.rpc.ListPredictions(storage_pb2.ListPredictionsRequest(parent=name)).predictions) == [
        prediction
    ]


def test_a_caller_that_goes_away_loses_nothing(start_inference: StartInference, volumes: Storage) -> None:
    """The work ends in its own time and its slot is free again."""
    name = upload(volumes, "gone", image(ct(21)))
    with start_inference(concurrent_predictions="1") as (_, stub):
        stream = stub.Predict(pb.PredictRequest(volume=name, model="models/slow/versions/1"))
        assert any(message.progress.stage == "predicting" for message in stream)
        stream.cancel()
        _, progress = predict(stub, name, "models/slow/versions/1")
    assert "predicting" not in dict(progress)


def test_sigterm_ends_what_outlasts_the_drain(start_inference: StartInference, volumes: Storage) -> None:
    """The caller gets a passing error, and the process does not wait for the model."""
    name = upload(volumes, "drained", image(ct(22)))
    with start_inference(drain_seconds="0.2") as (process, stub):
        stream = stub.Predict(pb.PredictRequest(volume=name, model="models/hang/versions/1"))
        assert any(message.progress.stage == "predicting" for message in stream)
        process.terminate()
        with pytest.raises(AtlasError) as caught:
            list(stream)
        assert caught.value.is_passing
        wait_until(lambda: process.exit_code() is not None, "the end", 60)
        assert process.exit_code() == 0


def test_storage_that_does_not_answer_is_a_passing_error(start_inference: StartInference) -> None:
    """It is named."""
    with start_inference(storage="127.0.0.1:1") as (_, stub):
        error = refused(stub, "volumes/any")
    assert (error.reason, error.field) == (Reason.DEPENDENCY_UNAVAILABLE, "storage")


@pytest.mark.parametrize(
    "file",
    [
        "ts_example_3mm/example_ct.nii.gz",
        "ircad3d_17/ct.nii.gz",
        "robustness/oblique_head_uint8_CT_pitch.nii.gz",
        "robustness/sclslope_uint8_head_CT_AVM.nii.gz",
    ],
)
def test_real_cts_are_predicted_on_their_network_grid(
    inference: InferenceServiceStub, volumes: Storage, real_data: Path, file: str
) -> None:
    """Also the oblique one, and those with scaled uint8 voxels."""
    data = (real_data / file).read_bytes()
    name = upload(volumes, file.replace("/", "-"), data)
    prediction, _ = predict(inference, name)
    array = volumes.array(prediction.array)
    assert array.geometry == network_grid(read_ct(data).geometry)
    assert any(array.channel(organ).any() for organ in array.channels)
