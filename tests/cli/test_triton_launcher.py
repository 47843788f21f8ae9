"""The launcher of the real tritonserver."""

import importlib.metadata
import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from services.cli.stack import triton as launcher
from services.cli.stack.triton import TritonServer
from services.core.errors import AtlasError, Reason
from tests.components import triton as component
from tests.components.require import require
from tests.inference.repository import add_model


@pytest.fixture(autouse=True)
def _is_installed() -> None:
    require(component.is_installed(), "Triton is not installed: pip install --no-deps nvidia-pytriton==0.7.0")


def server(home: Path, models: Path = component.MODELS) -> TritonServer:
    return TritonServer(models, home / "state", log_path=home / "triton.log")


def processes(of: TritonServer) -> list[int]:
    """Server and stubs of a state folder that run now."""
    mark = of._shared_memory_prefix
    return [p.pid for p in psutil.process_iter(["cmdline"]) if any(mark in word for word in p.info["cmdline"] or ())]


def regions(of: TritonServer) -> list[Path]:
    return list(Path("/dev/shm").glob(f"{of._shared_memory_prefix}*"))


def test_it_starts_stops_and_leaves_nothing(tmp_path: Path) -> None:
    """No process, no shared memory; the ports stay its own for the next start."""
    triton = server(tmp_path)
    triton.start()
    triton.wait_ready()
    address = triton.address
    assert len(processes(triton)) == 2
    assert regions(triton)
    triton.stop()
    assert (triton.pid, triton.exit_code()) == (None, 0)
    assert not processes(triton)
    assert not regions(triton)
    triton.start()
    triton.wait_ready()
    assert triton.address == address
    triton.stop()


def test_what_a_killed_server_left_is_cleared_by_the_next_one(tmp_path: Path) -> None:
    """Its stubs would run for ever, and its shared memory would stay: also if another process starts the next."""
    first = server(tmp_path)
    first.start()
    first.wait_ready()
    before = processes(first)
    assert first.pid is not None
    os.kill(first.pid, signal.SIGKILL)
    second = server(tmp_path)
    second.start()
    second.wait_ready()
    assert not set(before) & set(processes(second))
    assert len(regions(second)) == 1
    second.kill()
    assert not processes(second)
    assert not regions(second)
    assert first.exit_code() == -signal.SIGKILL


def test_a_model_that_does_not_load_is_told_with_the_log(tmp_path: Path) -> None:
    """At once, not after the whole wait."""
    add_model(tmp_path / "models", "broken", fault="load")
    triton = server(tmp_path, tmp_path / "models")
    triton.start()
    with pytest.raises(AtlasError, match="no weights") as caught:
        triton.wait_ready(60)
    assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE
    triton.stop()


def test_a_folder_without_models_is_refused(tmp_path: Path) -> None:
    """Before anything starts."""
    with pytest.raises(AtlasError) as caught:
        server(tmp_path, tmp_path).start()
    assert caught.value.reason is Reason.FOLDER_EMPTY


def faked(name: str, version: str | None) -> Callable[[str], str]:
    """importlib.metadata.version with another answer for one package."""

    def fake(asked: str) -> str:
        if asked != name:
            return importlib.metadata.version(asked)
        if version is None:
            raise importlib.metadata.PackageNotFoundError(asked)
        return version

    return fake


@pytest.mark.parametrize(
    ("package", "version", "says"),
    [
        ("numpy", "2.4.6", "Under NumPy 2.4.6 Triton's models answer with no bytes"),
        (launcher.WHEEL, None, "pip install"),
    ],
)
def test_an_environment_that_would_answer_wrongly_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, version: str | None, says: str
) -> None:
    """NumPy 2 gives empty answers without any error, so it is looked for before the start."""
    monkeypatch.setattr(launcher, "version", faked(package, version))
    with pytest.raises(AtlasError) as caught:
        server(tmp_path).start()
    assert says in str(caught.value)
    assert caught.value.reason is Reason.DEPENDENCY_UNAVAILABLE
