"""What computes a window on the CPU: what the card names."""

import hashlib
import os
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor, nn

from services.serving.card import Card
from services.serving.normalising import with_exact_norms
from services.serving.sliding import Run


def on_cpu(network: nn.Module, card: Card, threads: int) -> Run:
    """Run on the CPU in float32, by the runtime that the card names. `threads` compute it."""
    torch.set_num_threads(threads)
    return _RUNTIMES[card.cpu_runtime](network, card, threads)


def _torch(network: nn.Module, _card: Card, _threads: int) -> Run:
    return network


def _openvino(network: nn.Module, card: Card, threads: int) -> Run:
    """The network as OpenVINO computes it: converted once and then read from the cache."""
    import openvino

    path = _converted(network, card)
    model = openvino.Core().compile_model(
        path,
        "CPU",
        # float32: some processors would be given bfloat16, and answer differently from the next one.
        {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1},
    )
    request = model.create_infer_request()

    def run(windows: Tensor) -> Tensor:
        # One after the other: the shape that a network was converted for is that of one window.
        return torch.cat([torch.from_numpy(request.infer(window[None].numpy())[0].copy()) for window in windows])

    return run


_CONVERSION = "2"
"""Raise it when the same network is converted otherwise: what was kept is then made anew."""

_RUNTIMES: dict[str, Callable[[nn.Module, Card, int], Run]] = {"torch": _torch, "openvino": _openvino}


def cache_folder() -> Path:
    """Where converted networks are kept: ATLAS_SERVING_CACHE, or below the user's cache folder."""
    named = os.environ.get("ATLAS_SERVING_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(named) if named else Path(base) / "abdomenatlas" / "networks"


def _converted(network: nn.Module, card: Card) -> Path:
    """The network's file in OpenVINO's own form. Written beside and moved, so that processes may race for it."""
    import openvino
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    weights = card.weights.sha256 if card.weights else ""
    described = card.model_dump_json(include={"network", "organs", "window", "axes", "intensity", "outputs"})
    about = "\0".join([_CONVERSION, described, weights, version("openvino"), torch.__version__])
    folder = cache_folder()
    path = folder / f"{card.name}-{hashlib.sha256(about.encode()).hexdigest()[:16]}.xml"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # That a trace holds for one shape of input alone: a window always has that shape.
        warnings.simplefilter("ignore")
        decoder = TorchScriptPythonDecoder(with_exact_norms(network), example_input=(torch.zeros(1, 1, *card.window),))
    # Not openvino.convert_model, which may report its use over the internet.
    frontend = FrontEndManager().load_by_framework("pytorch")
    model = frontend.convert(frontend.load(decoder))
    model.reshape([1, 1, *card.window])
    part = folder / f"{path.stem}.{os.getpid()}.part"
    openvino.serialize(model, part.with_suffix(".part.xml"), part.with_suffix(".part.bin"))
    # The weights first: who finds the .xml finds them too.
    part.with_suffix(".part.bin").replace(path.with_suffix(".bin"))
    part.with_suffix(".part.xml").replace(path)
    return path
