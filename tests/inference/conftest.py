"""A real Triton with a good model and one for every fault, a real storage service, and the inference service."""

import contextlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from abdomenatlas.inference.v1.inference_pb2_grpc import InferenceServiceStub
from services.cli.stack.child import ServiceProcess, tail
from services.cli.stack.ports import free_ports
from services.cli.stack.triton import TritonServer
from services.core import modelversions
from services.core.rpc.client import connect
from services.core.storage import Storage
from services.inference.promotion import Promoter
from services.inference.triton import Triton
from tests.components import triton as component
from tests.components.processes import wait_until
from tests.components.require import require
from tests.inference.repository import FAULTS, add_model

StartInference = Callable[..., contextlib.AbstractContextManager[tuple[ServiceProcess, InferenceServiceStub]]]


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A Triton for all tests that do not kill it."""
    require(component.is_installed(), "Triton is not installed: pip install --no-deps nvidia-pytriton==0.7.0")
    models = tmp_path_factory.mktemp("templates")
    shutil.copytree(component.MODELS, models, dirs_exist_ok=True)
    for fault in FAULTS:
        add_model(models, fault, fault=fault)
    with component.triton(tmp_path_factory.mktemp("triton"), models) as server:
        yield server


@pytest.fixture(scope="session")
def triton(triton_server: TritonServer) -> Triton:
    """The client of the shared Triton."""
    return Triton(triton_server.address)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A Triton of this module's own, with version 1 of the model `threshold`."""
    require(component.is_installed(), "Triton is not installed")
    with component.triton(tmp_path_factory.mktemp("promotion")) as server:
        yield server


@pytest.fixture
def model(server: TritonServer) -> Path:
    """The model's folder with version 1 served, whatever the last test did."""
    folder = server.log.parent / "models" / "threshold"
    original = component.MODELS / "threshold"
    for number in modelversions.numbers(folder)[1:]:
        shutil.rmtree(folder / str(number))
    config = (original / modelversions.CONFIG_FILE).read_text()
    modelversions.write_config(folder, modelversions.with_served(config, [1]))
    triton = Triton(server.address)
    triton.load("threshold")
    wait_until(
        lambda: [m.version for m in triton.models() if m.card and m.model == "threshold"] == ["1"], "version 1", 120
    )
    return folder


@pytest.fixture
def promoter(server: TritonServer, model: Path) -> Promoter:
    return Promoter(Triton(server.address), model.parent)


@contextlib.contextmanager
def service(name: str, home: Path, **settings: str) -> Iterator[ServiceProcess]:
    """Run `python -m services.<name>` with these settings on free ports; killed on leaving."""
    port, metrics_port = free_ports(2)
    given = {**settings, "port": str(port), "metrics_port": str(metrics_port)}
    process = ServiceProcess(
        name=name,
        address=f"127.0.0.1:{port}",
        metrics=f"127.0.0.1:{metrics_port}",
        log=home / f"{name}-{port}.log",
        environment={f"ATLAS_{name.upper()}_{key.upper()}": value for key, value in given.items()},
    )
    process.start()
    try:
        wait_ready(process)
        yield process
    finally:
        process.kill()


def wait_ready(process: ServiceProcess) -> None:
    """Wait until it serves; its log is the message if it ended."""

    def ready() -> bool:
        assert process.exit_code() is None, tail(process.log)
        return process.is_ready()

    wait_until(ready, process.name, 90)


@pytest.fixture(scope="session")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """The storage service on a folder and SQLite."""
    home = tmp_path_factory.mktemp("storage")
    with service("storage", home, objects=f"file:{home}/objects", database_url=f"sqlite:///{home}/catalog.db") as it:
        yield it


@pytest.fixture(scope="session")
def volumes(storage: ServiceProcess) -> Storage:
    """The client of the storage service."""
    return Storage(storage.address)


@pytest.fixture
def start_inference(tmp_path: Path, storage: ServiceProcess, triton_server: TritonServer) -> StartInference:
    """Start an inference service of the test's own; settings may be given by name."""

    @contextlib.contextmanager
    def start(**settings: str) -> Iterator[tuple[ServiceProcess, InferenceServiceStub]]:
        given = {"storage": storage.address, "triton": triton_server.address, **settings}
        with service("inference", tmp_path, **given) as process:
            yield process, InferenceServiceStub(connect(process.address))

    return start


@pytest.fixture(scope="session")
def inference(
    tmp_path_factory: pytest.TempPathFactory, storage: ServiceProcess, triton_server: TritonServer
) -> Iterator[InferenceServiceStub]:
    """The inference service that tests share."""
    home = tmp_path_factory.mktemp("inference")
    with service("inference", home, storage=storage.address, triton=triton_server.address) as process:
        yield InferenceServiceStub(connect(process.address))


def sigkill(process: ServiceProcess) -> None:
    """End it as the kernel does when memory is short."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: process.exit_code() is not None, "the end", 60)
