"""From a CT on the network grid to one uint8 probability array an organ."""

from collections.abc import Iterator
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - what every torch program calls it
from monai.inferers.utils import sliding_window_inference
from numpy.typing import NDArray
from torch import Tensor, nn

from services.core import arrayfile
from services.core.geometry import Geometry
from services.serving.card import Card


def working_image(ct: Tensor, card: Card) -> Tensor:
    """HU (z, y, x) on the network grid -> float32 in [0, 1], averaged over blocks; the edge fills the last ones."""
    low, high = card.hu_window
    image = ((ct.float() - low) / (high - low)).clamp_(0, 1)[None, None]
    factor = card.working_factor
    missing = [-n % factor for n in ct.shape]
    image = F.pad(image, (0, missing[2], 0, missing[1], 0, missing[0]), mode="replicate")
    return F.avg_pool3d(image, factor)


def working_logits(network: nn.Module, image: Tensor, card: Card) -> Tensor:
    """Logits (1, organ, z, y, x) on the working grid, by a gaussian-weighted sliding window."""
    logits = sliding_window_inference(
        image, card.window, 1, network, overlap=card.overlap, mode="gaussian", sigma_scale=0.25
    )
    return cast(Tensor, logits)


@torch.inference_mode()
def probabilities(network: nn.Module, ct: NDArray[np.int16], card: Card) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """(organ, floor(255 p) as uint8 (z, y, x) on the network grid) for each organ, one at a time.

    Half precision on a GPU; float32 on the CPU, where the same CT and number of threads give the same bytes.
    """
    device = next(network.parameters()).device
    image = working_image(torch.from_numpy(ct).to(device), card)
    with torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"):
        logits = working_logits(network, image, card)
    coarse = logits.float().sigmoid()
    z, y, x = ct.shape
    for channel, organ in enumerate(card.organs):
        fine = F.interpolate(
            coarse[:, channel : channel + 1], scale_factor=card.working_factor, mode="trilinear", align_corners=False
        )
        # Interpolation in float32 may exceed 1 by a rounding error, and 256 would wrap to 0.
        stored = (fine[0, 0, :z, :y, :x] * 255).floor_().clamp_(0, 255)
        yield organ, stored.to(torch.uint8).cpu().numpy()


def predict(network: nn.Module, ct: NDArray[np.int16], geometry: Geometry, card: Card) -> bytes:
    """The finished array file of one CT on the network grid: one uint8 channel an organ."""
    writer = arrayfile.Writer(card.organs, np.uint8, geometry)
    for organ, stored in probabilities(network, ct, card):
        writer.write(organ, stored)
    return writer.finish()
