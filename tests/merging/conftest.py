"""The merging service and the storage behind it, as processes."""

from collections.abc import Iterator

import pytest

from abdomenatlas.merging.v1.merging_pb2_grpc import MergingServiceStub
from services.core.rpc.client import connect
from services.core.storage import Storage
from tests.contract.service_process import ServiceProcess, launched, wait_healthy


@pytest.fixture(scope="session")
def storage_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A storage service on a folder and SQLite."""
    with launched("storage", tmp_path_factory.mktemp("storage")) as service:
        wait_healthy(service)
        yield service


@pytest.fixture(scope="session")
def storage(storage_process: ServiceProcess) -> Storage:
    """Its client."""
    return Storage(storage_process.address)


@pytest.fixture(scope="session")
def merging_process(
    storage_process: ServiceProcess, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    """The merging service on that storage."""
    with launched("merging", tmp_path_factory.mktemp("merging"), storage=storage_process.address) as service:
        wait_healthy(service)
        yield service


@pytest.fixture(scope="session")
def stub(merging_process: ServiceProcess) -> MergingServiceStub:
    """Its client."""
    return MergingServiceStub(connect(merging_process.address))
