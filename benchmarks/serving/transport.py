"""What Triton adds to a network: whole volumes as we send them, and patches as others do."""

import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving import networks
from benchmarks.serving.volume import grid_of
from services.cli.stack.triton import TritonServer
from services.inference.triton import Triton
from services.serving.card import Card, load_card
from services.serving.repository import CPU_THREADS

_SECONDS = 600.0
_RUNS = 5
_PATCHES_CONFIG = """\
name: "patches"
backend: "python"
max_batch_size: 0
input [ {{ name: "window" data_type: TYPE_FP32 dims: [ 1, 1, -1, -1, -1 ] }} ]
output [ {{ name: "logits" data_type: TYPE_FP32 dims: [ 1, -1, -1, -1, -1 ] }} ]
parameters {{ key: "folder" value {{ string_value: "{folder}" }} }}
parameters {{ key: "cpu_threads" value {{ string_value: "{threads}" }} }}
"""


def measured(model: Path, ct: NDArray[np.int16]) -> dict[str, float]:
    """Best seconds of five runs: in this process, through Triton as a whole, and through Triton in patches."""
    with TemporaryDirectory() as home:
        repository = Path(home) / "models"
        _lay_down(model.resolve(), repository)
        server = TritonServer(repository, Path(home) / "triton", log_path=Path(home) / "triton.log")
        server.start()
        try:
            server.wait_ready()
            ways = {
                "inside": networks.ours(model),
                "whole": _whole(server.address, model.name),
                "patches": _patches(server.address, load_card(model)),
            }
            return _in_turn({name: partial(way, ct) for name, way in ways.items()})
        finally:
            server.stop()


def _in_turn(ways: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Each after the other, round after round, so that a machine that slows down slows them all."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_RUNS):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - began)
    return {name: min(values) for name, values in seconds.items()}


def _lay_down(model: Path, repository: Path) -> None:
    shutil.copytree(model, repository / model.name, ignore=shutil.ignore_patterns("__pycache__"))
    folder = repository / "patches" / "1"
    folder.mkdir(parents=True)
    (folder / "model.py").write_text("from benchmarks.serving.patch_model import TritonPythonModel\n")
    (folder.parent / "config.pbtxt").write_text(_PATCHES_CONFIG.format(folder=model, threads=CPU_THREADS))


def _whole(address: str, name: str) -> networks.Work:
    client = Triton(address)
    model = client.model(name, "1")
    return lambda ct: client.infer(model, ct, grid_of(ct), seconds=_SECONDS)


def _patches(address: str, card: Card) -> networks.Work:
    """The caller slides the window and puts the answers together, as it would with a model of windows."""
    import torch
    import tritonclient.grpc as triton
    from monai.inferers.utils import sliding_window_inference
    from torch.nn.functional import avg_pool3d, interpolate

    client = triton.InferenceServerClient(address)
    low, high = card.hu_window

    def one(window: torch.Tensor) -> torch.Tensor:
        given = triton.InferInput("window", list(window.shape), "FP32").set_data_from_numpy(window.numpy())
        answer = client.infer("patches", [given], client_timeout=_SECONDS)
        return torch.from_numpy(answer.as_numpy("logits").copy())

    @torch.inference_mode()
    def run(ct: NDArray[np.int16]) -> NDArray[np.uint8]:
        image = ((torch.from_numpy(ct).float() - low) / (high - low)).clamp(0, 1)[None, None]
        coarse = avg_pool3d(image, card.working_factor)
        logits = sliding_window_inference(
            coarse, card.window, 1, one, overlap=card.overlap, mode="gaussian", sigma_scale=0.25
        )
        assert isinstance(logits, torch.Tensor)
        fine = interpolate(logits.sigmoid(), scale_factor=card.working_factor, mode="trilinear")
        return (fine[0] * 255).to(torch.uint8).numpy()

    return run
