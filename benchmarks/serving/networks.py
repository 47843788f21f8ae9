"""One network on the CPU: from the CT on the network grid to stored probabilities."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving.volume import grid_of
from services.core import arrayfile
from services.serving.repository import CPU_THREADS

Work = Callable[[NDArray[np.int16]], Any]


def ours(folder: Path) -> Work:
    """What Triton's model does."""
    from services.serving.card import load_card
    from services.serving.networks import load_network
    from services.serving.prediction import predict
    from services.serving.runtime import on_cpu

    card = load_card(folder)
    run = on_cpu(load_network(folder, card), card, CPU_THREADS)
    return lambda ct: predict(run, ct, grid_of(ct), card)


def monai(folder: Path) -> Work:
    """The same network, windows and overlap as people run them: every window, all channels at once, as floats."""
    import torch
    from monai.inferers.utils import sliding_window_inference
    from torch.nn.functional import avg_pool3d, interpolate

    from services.serving.card import load_card
    from services.serving.networks import load_network

    torch.set_num_threads(CPU_THREADS)
    card = load_card(folder)
    network = load_network(folder, card)
    low, high = card.hu_window

    @torch.inference_mode()
    def run(ct: NDArray[np.int16]) -> NDArray[np.uint8]:
        image = ((torch.from_numpy(ct).float() - low) / (high - low)).clamp(0, 1)[None, None]
        coarse = avg_pool3d(image, card.working_factor)
        logits = sliding_window_inference(
            coarse, card.window, 1, network, overlap=card.overlap, mode="gaussian", sigma_scale=0.25
        )
        assert isinstance(logits, torch.Tensor)
        fine = interpolate(logits.sigmoid(), scale_factor=card.working_factor, mode="trilinear")
        return (fine[0] * 255).to(torch.uint8).numpy()

    return run


CONTENDERS = {"ours": ours, "monai": monai}


def masks(result: bytes | NDArray[np.uint8]) -> NDArray[np.bool_]:
    """(organ, z, y, x): probability above one half, of either contender's result."""
    if isinstance(result, bytes):
        array = arrayfile.decode(result)
        return np.stack([array.channel(organ) > 127 for organ in array.channels])
    return result > 127
