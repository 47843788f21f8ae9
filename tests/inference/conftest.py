"""A real Triton with a good model and one for every fault."""

import shutil
from collections.abc import Iterator

import pytest

from services.cli.stack.triton import TritonServer
from services.inference.triton import Triton
from tests.components import triton as component
from tests.components.require import require
from tests.inference.repository import FAULTS, add_model


@pytest.fixture(scope="session")
def triton_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonServer]:
    """A Triton for all tests that do not kill it; its models lie in `home / "models"`."""
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
