"""gRPC takes an option that it does not know without a word: the names are looked for in its library."""

from pathlib import Path

import grpc
import pytest

from services.core.rpc import client, ports
from services.core.rpc.settings import ServiceSettings
from services.inference import triton


@pytest.fixture(scope="module")
def library() -> bytes:
    (built,) = (Path(grpc.__file__).parent / "_cython").glob("cygrpc*.so")
    return built.read_bytes()


def test_grpc_knows_every_option(library: bytes) -> None:
    given = [*ports._options(ServiceSettings(port=0, metrics_port=0)), *client._OPTIONS, *triton._OPTIONS]
    assert [name for name, _ in given if name.encode() not in library] == []
