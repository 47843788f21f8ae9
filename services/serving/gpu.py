"""What computes a window on a GPU: torch in half precision, compiled where it can be."""

import os
from collections.abc import Callable
from typing import Any

import structlog
import torch
from torch import Tensor, nn

from services.serving.card import Card
from services.serving.runtime import cache_folder
from services.serving.sliding import Run

BATCH = 4
"""Windows computed at a time."""

Backend = str | Callable[..., Any]
"""What torch.compile hands a network to: "inductor" where the card does not say otherwise."""

log = structlog.get_logger()


def on_gpu(network: nn.Module, device: torch.device, card: Card, *, backend: Backend = "inductor") -> Run:
    """Run on `device` in half precision, and in float32 the windows that half precision cannot hold.

    Where the card says so, the network is compiled here for `BATCH` windows, which takes up to some minutes at the
    start and no time later: what is not such a batch is computed as it is. If it cannot be compiled, all are.
    """
    torch.backends.cudnn.benchmark = True
    network = network.to(device)
    whole = _compiled(network, device, card, backend) if card.gpu_runtime == "inductor" else None

    def run(windows: Tensor) -> Tensor:
        chosen = network if whole is None or len(windows) != BATCH else whole
        logits = _half(chosen, windows.to(device))
        # Above 65504 a half is infinite, and from there on nothing is a number.
        return logits if torch.isfinite(logits.sum()) else network(windows.to(device))

    return run


def _half(network: Callable[[Tensor], Tensor], windows: Tensor) -> Tensor:
    # A shape or state that it was not compiled for must not have it compiled again in the middle of a volume.
    with torch.autocast(windows.device.type, torch.float16), torch.compiler.set_stance("eager_on_recompile"):
        return network(windows).float()


def _compiled(network: nn.Module, device: torch.device, card: Card, backend: Backend) -> Run | None:
    """The network compiled for `BATCH` of the card's windows, None if it cannot be."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder() / "compiled"))
    compiled: Run = torch.compile(network, dynamic=False, backend=backend)
    # Compilers, and what they start, raise whatever they like.
    try:
        # Compiled when it is first called, and for how it is called: later calls are in inference mode, too.
        with torch.inference_mode(), torch.autocast(device.type, torch.float16):
            compiled(torch.zeros((BATCH, 1, *card.window), device=device))
    except Exception as error:
        log.warning("network is not compiled", model=card.name, error=f"{type(error).__name__}: {str(error)[:300]}")
        return None
    log.info("network is compiled", model=card.name, windows=BATCH)
    return compiled
