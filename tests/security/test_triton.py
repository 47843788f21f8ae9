"""A real Triton that demands certificates answers inference, and nobody who has none."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.cli.stack.triton import TritonServer
from services.core.errors import AtlasError, Reason
from services.core.rpc.credentials import Credentials
from services.inference.triton import Triton
from tests.components.processes import wait_until
from tests.components.require import require
from tests.components.triton import MODELS, is_installed
from tests.security.pki import Authority


class ClosedTriton(TritonServer):
    """tritonserver with mutual TLS, as the chart starts it."""

    authority: Authority

    def _command(self, wheel: Path) -> list[str]:
        pair = self.authority.service("triton")
        return [
            *super()._command(wheel),
            "--grpc-use-ssl=true",
            "--grpc-use-ssl-mutual=true",
            f"--grpc-server-cert={pair.cert}",
            f"--grpc-server-key={pair.key}",
            f"--grpc-root-cert={self.authority.ca}",
        ]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClosedTriton]:
    require(is_installed(), "the wheel with tritonserver")
    made = ClosedTriton(MODELS, tmp_path / "triton", log_path=tmp_path / "triton.log")
    made.authority = Authority(tmp_path / "pki")
    made.start()
    yield made
    made.stop(10)


def serves(triton: Triton) -> bool:
    try:
        return all(model.fault is None for model in triton.models())
    except AtlasError:
        return False


def test_triton_answers_a_certificate_of_its_authority_alone(server: ClosedTriton, tmp_path: Path) -> None:
    authority = server.authority
    triton = Triton(server.address, authority.credentials(authority.service("inference")))
    wait_until(lambda: serves(triton), "Triton", 120)
    stranger = Authority(tmp_path / "evil")
    pair = stranger.service("inference")
    for credentials in (None, authority.credentials(), Credentials(authority.ca, pair.cert, pair.key)):
        with pytest.raises(AtlasError) as caught:
            Triton(server.address, credentials).models()
        assert caught.value.reason == Reason.DEPENDENCY_UNAVAILABLE
