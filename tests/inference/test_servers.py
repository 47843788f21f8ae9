"""Several Tritons behind one address: which they are, that they take turns, and that all of them load a model."""

import os
import signal
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from tritonclient import grpc as tritonclient

from services.cli.stack.triton import TritonServer
from services.core.errors import AtlasError, Reason
from services.inference.servers import servers
from services.inference.triton import Triton
from tests.components import triton as component
from tests.components.processes import wait_until
from tests.components.require import require
from tests.inference.test_triton import ask

BY_NAME = [("grpc.default_authority", "localhost"), ("grpc.ssl_target_name_override", "localhost")]


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("ipv4:10.0.0.1:8001,10.0.0.2:8002", [("ipv4:10.0.0.1:8001", []), ("ipv4:10.0.0.2:8002", [])]),
        ("no-such-host.invalid:8001", [("no-such-host.invalid:8001", [])]),
    ],
)
def test_an_address_names_its_servers(address: str, found: list[tuple[str, list[tuple[str, str]]]]) -> None:
    """One of which nothing is known is left to gRPC."""
    assert servers(address) == found


@pytest.mark.parametrize("address", ["localhost:8001", "dns:///localhost:8001"])
def test_a_host_is_asked_for_at_each_of_its_addresses(address: str) -> None:
    """Its certificate bears its name, whatever the address."""
    assert ("ipv4:127.0.0.1:8001", BY_NAME) in servers(address)


def test_servers_take_turns_and_each_loads_a_model_whose_process_died(tmp_path: Path) -> None:
    """A volume a server, and no server is left without the model."""
    require(component.is_installed(), "Triton is not installed")
    with ExitStack() as stack:
        tritons = [stack.enter_context(component.triton(tmp_path / name)) for name in ("one", "two")]
        triton = Triton("ipv4:" + ",".join(server.address for server in tritons))
        wait_until(lambda: bool(ask(triton, "threshold")) and all(map(_answers, tritons)), "both servers", 120)
        for server in tritons:
            (stub,) = [p for p in psutil.Process(server.pid).children(True) if "python_backend_stub" in p.name()]
            os.kill(stub.pid, signal.SIGKILL)
        with pytest.raises(AtlasError) as caught:
            ask(triton, "threshold")
        assert caught.value.reason is Reason.MODEL_NOT_READY
        assert all(ask(triton, "threshold") for _ in range(4))


def _answers(server: TritonServer) -> int:
    with tritonclient.InferenceServerClient(server.address) as client:
        return int(client.get_inference_statistics("threshold").model_stats[0].inference_count)
