"""The uncertainty service and the storage behind it, as processes."""

from collections.abc import Iterator

import pytest

from abdomenatlas.uncertainty.v1.uncertainty_pb2_grpc import UncertaintyServiceStub
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
def stub(storage_process: ServiceProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[UncertaintyServiceStub]:
    """A client of the uncertainty service."""
    with launched("uncertainty", tmp_path_factory.mktemp("uncertainty"), storage=storage_process.address) as service:
        wait_healthy(service)
        yield UncertaintyServiceStub(connect(service.address))
