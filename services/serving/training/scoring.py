"""How well a network finds the organs of cases, on its working grid."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from services.core import metrics
from services.serving.card import Card
from services.serving.gpu import BATCH
from services.serving.sliding import NOWHERE, logit_slabs
from services.serving.training.case import Case
from services.serving.training.run import precision

_LOUDEST = 1e4
"""No logit of a sane network is larger, and its sums stay finite."""


@torch.inference_mode()
def scores(network: nn.Module, card: Card, cases: Sequence[Case]) -> NDArray[np.float64]:
    """DSC (case, organ); NaN where nobody looked for the organ, or looked and it is not there.

    A network whose logits are no numbers, because it diverged, finds nothing.
    """
    device = next(network.parameters()).device
    batch = BATCH if device.type == "cuda" else 1
    low, high = card.hu_window

    def run(windows: Tensor) -> Tensor:
        return torch.nan_to_num(network(windows), nan=NOWHERE).clamp(-_LOUDEST, _LOUDEST)

    found = np.full((len(cases), len(card.organs)), np.nan)
    network.eval()
    for row, case in zip(found, cases, strict=True):
        image = ((torch.from_numpy(case.ct.astype(np.float32)) - low) / (high - low)).clamp_(0, 1)
        with torch.autocast(device.type, precision(device)):
            slabs = logit_slabs(run, image, card, batch=batch, device=device)
            masks = torch.cat([(logits > 0).cpu() for _, logits in slabs], dim=1).numpy()
        for channel, organ in enumerate(card.organs):
            if organ in case.organs and (truth := case.mask(organ)).any():
                row[channel] = metrics.dsc(masks[channel], truth)
    return found
