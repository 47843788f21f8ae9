"""The client of Triton against a real one: discovery, cards, faults, deadlines, kills."""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from tritonclient import grpc as tritonclient

from services.cli.stack.triton import TritonServer
from services.core import classmaps
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.inference.answer import open_answer
from services.inference.model import Model
from services.inference.triton import Triton
from tests.components import triton as component
from tests.components.processes import wait_until
from tests.components.require import require
from tests.inference.repository import FAULTS, add_model

GRID = Geometry((20, 18, 16), (1.5, 0, 0, -10, 0, 1.5, 0, 20, 0, 0, 1.5, 30))
CT = np.random.default_rng(0).integers(-200, 300, GRID.array_shape).astype(np.int16)


def ask(triton: Triton, name: str, seconds: float = 60.0) -> bytes:
    return triton.infer(triton.model(name, "1"), CT, GRID, seconds=seconds)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[TritonServer]:
    """A Triton of the test's own, with the model `threshold`."""
    require(component.is_installed(), "Triton is not installed")
    with component.triton(tmp_path) as server:
        yield server


def test_models_come_from_the_repository_index(triton: Triton) -> None:
    """Every loaded model is listed, by name, with its card."""
    models = triton.models()
    assert [model.name for model in models] == sorted(f"models/{n}/versions/1" for n in (*FAULTS, "threshold"))
    card = triton.model("threshold", "1").require_card()
    assert card.organs == classmaps.load().organs
    assert (card.architecture, card.class_map, card.spacing_mm) == ("threshold", "abdomenatlas-1.0", 1.5)


def test_a_proxy_in_the_environment_is_not_asked(triton_server: TritonServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    assert Triton(triton_server.address).models()


def test_the_answer_is_the_array_file_on_the_grid(triton: Triton) -> None:
    """And the same bytes again when it is asked again."""
    data = ask(triton, "threshold")
    array = open_answer(data, classmaps.load().organs, GRID, "threshold")
    expected = np.clip(510 - 10 * np.abs(CT.astype(np.int32) - 150), 0, 255)
    np.testing.assert_array_equal(array.channel("liver"), expected)
    assert ask(triton, "threshold") == data


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("empty", "is empty"),
        ("garbage", "cannot be read"),
        ("cut", "cannot be read"),
        ("grid", "the CT was given on"),
        ("organs", "its card says"),
        ("dtype", "not uint8"),
    ],
)
def test_a_wrong_answer_is_refused(triton: Triton, fault: str, says: str) -> None:
    """What comes back is never trusted."""
    data = ask(triton, fault)
    with pytest.raises(AtlasError, match=says) as caught:
        open_answer(data, classmaps.load().organs, GRID, fault)
    assert caught.value.reason is Reason.MODEL_ANSWER_INVALID


def test_a_chunk_that_does_not_decompress_is_refused(triton: Triton) -> None:
    """The frame's metadata alone proves nothing."""
    data = bytearray(ask(triton, "threshold"))
    data[len(data) // 3 : len(data) // 3 + 400] = bytes(400)
    with pytest.raises(AtlasError) as caught:
        open_answer(bytes(data), classmaps.load().organs, GRID, "threshold")
    assert caught.value.reason is Reason.MODEL_ANSWER_INVALID


def test_a_model_that_raises_is_named_with_its_error(triton: Triton) -> None:
    """It is not worth asking again."""
    with pytest.raises(AtlasError, match="dislikes this CT") as caught:
        ask(triton, "raise")
    assert caught.value.reason is Reason.MODEL_ANSWER_INVALID
    assert not caught.value.is_passing


def test_a_model_whose_process_dies_may_be_asked_again(triton: Triton) -> None:
    """Every time anew, and the other models go on."""
    for _ in range(2):
        with pytest.raises(AtlasError) as caught:
            ask(triton, "die")
        assert caught.value.is_passing
    assert ask(triton, "threshold")


def test_a_killed_model_process_is_back_for_the_next_call(own_server: TritonServer) -> None:
    """Triton alone would answer "not healthy" for ever."""
    triton = Triton(own_server.address)
    before = ask(triton, "threshold")
    (stub,) = psutil.Process(own_server.pid).children(recursive=True)
    stub.kill()
    with pytest.raises(AtlasError) as caught:
        ask(triton, "threshold")
    assert caught.value.reason is Reason.MODEL_NOT_READY
    assert ask(triton, "threshold") == before


def test_the_deadline_holds(triton: Triton) -> None:
    """The caller is let go although the model still works."""
    started = time.monotonic()
    with pytest.raises(AtlasError) as caught:
        ask(triton, "slow", seconds=0.5)
    assert caught.value.reason is Reason.DEADLINE_EXCEEDED
    assert time.monotonic() - started < 2


def test_unknown_models_are_not_found(triton: Triton) -> None:
    """Neither a name nor a version that Triton does not have."""
    for name, version in (("resnet", "1"), ("threshold", "2")):
        with pytest.raises(AtlasError) as caught:
            triton.model(name, version)
        assert caught.value.reason is Reason.MODEL_NOT_FOUND
    with pytest.raises(AtlasError) as caught:
        triton.infer(Model("threshold", "2"), CT, GRID, seconds=10)
    assert caught.value.reason is Reason.MODEL_NOT_FOUND


def test_a_model_added_to_the_folder_and_loaded_appears(own_server: TritonServer, tmp_path: Path) -> None:
    """Without a restart of anything; unloaded it is there but not ready."""
    triton, control = Triton(own_server.address), tritonclient.InferenceServerClient(own_server.address)
    add_model(tmp_path / "models", "newcomer", architecture="newnet")
    with pytest.raises(AtlasError) as caught:
        triton.model("newcomer", "1")
    assert caught.value.reason is Reason.MODEL_NOT_READY
    control.load_model("newcomer")
    assert [m.card.architecture for m in triton.models() if m.card] == ["newnet", "threshold"]
    assert ask(triton, "newcomer")
    control.unload_model("newcomer")
    wait_until(lambda: triton.model("newcomer", "1").card is None, "unloading", 60)
    with pytest.raises(AtlasError, match="newcomer version 1") as caught:
        triton.model("newcomer", "1").require_card()
    assert caught.value.reason is Reason.MODEL_NOT_READY
    with pytest.raises(AtlasError) as caught:
        triton.infer(Model("newcomer", "1"), CT, GRID, seconds=10)
    assert caught.value.is_passing


def test_a_bad_card_is_named(own_server: TritonServer, tmp_path: Path) -> None:
    """The model is listed, but not as ready, and the others are not affected."""
    add_model(tmp_path / "models", "bad", weights_sha256=None)
    tritonclient.InferenceServerClient(own_server.address).load_model("bad")
    triton = Triton(own_server.address)
    assert [(m.model, m.card is not None) for m in triton.models()] == [("bad", False), ("threshold", True)]
    with pytest.raises(AtlasError, match="parameter weights_sha256 of model bad is missing") as caught:
        triton.model("bad", "1").require_card()
    assert caught.value.reason is Reason.MODEL_CARD_INVALID


def test_triton_killed_in_the_middle_of_a_call_and_started_again(tmp_path: Path) -> None:
    """The call ends at once with an error that passes, and the same client finds the new server at the same address."""
    require(component.is_installed(), "Triton is not installed")
    models = tmp_path / "given"
    shutil.copytree(component.MODELS, models)
    add_model(models, "slow", fault="slow")
    with component.triton(tmp_path, models) as server:
        triton = Triton(server.address)
        before = ask(triton, "threshold")
        failures: list[AtlasError] = []

        def call() -> None:
            try:
                ask(triton, "slow")
            except AtlasError as error:
                failures.append(error)

        caller = threading.Thread(target=call)
        caller.start()
        time.sleep(1)
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        caller.join(10)
        assert [error.reason for error in failures] == [Reason.DEPENDENCY_UNAVAILABLE]
        with pytest.raises(AtlasError) as caught:
            triton.models()
        assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE
        wait_until(lambda: server.exit_code() is not None, "the end of the process", 10)
        assert server.exit_code() == -signal.SIGKILL
        server.start()
        server.wait_ready()
        wait_until(lambda: _answers(triton), "the new server", 60)
        assert ask(triton, "threshold") == before


def _answers(triton: Triton) -> bool:
    try:
        return bool(triton.models())
    except AtlasError:
        return False
