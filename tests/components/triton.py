"""A real Triton on a copy of a model repository, so that a test may change its models."""

import contextlib
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from services.cli.stack.triton import TritonServer

MODELS = Path(__file__).parent / "models"


def is_installed() -> bool:
    """Say whether this environment has the wheel that carries tritonserver."""
    return find_spec("pytriton") is not None


@contextlib.contextmanager
def triton(home: Path, models: Path = MODELS, *, ready: bool = True) -> Iterator[TritonServer]:
    """Start a server in `home` on a copy of `models` (`home / "models"`), ready unless told otherwise."""
    repository = home / "models"
    shutil.copytree(models, repository, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    server = TritonServer(repository, home / "triton", log_path=home / "triton.log")
    server.start()
    try:
        if ready:
            server.wait_ready()
        yield server
    finally:
        server.stop(10)
