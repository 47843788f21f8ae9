"""How well a network finds the organs of cases, on its working grid."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from services.core import metrics
from services.serving.card import Card
from services.serving.gpu import BATCH
from services.serving.sliding import logit_slabs
from services.serving.training.case import Case
from services.serving.training.run import precision


@torch.inference_mode()
def scores(network: nn.Module, card: Card, cases: Sequence[Case]) -> NDArray[np.float64]:
    """DSC (case, organ); NaN where nobody looked for the organ, or looked and it is not there.

    Raises MODEL_ANSWER_INVALID if the network's logits are not finite.
    """
    device = next(network.parameters()).device
    batch = BATCH if device.type == "cuda" else 1
    low, high = card.hu_window
    found = np.full((len(cases), len(card.organs)), np.nan)
    network.eval()
    for row, case in zip(found, cases, strict=True):
        image = ((torch.from_numpy(case.ct.astype(np.float32)) - low) / (high - low)).clamp_(0, 1)
        with torch.autocast(device.type, precision(device)):
            slabs = logit_slabs(network, image, card, batch=batch, device=device)
            masks = torch.cat([(logits > 0).cpu() for _, logits in slabs], dim=1).numpy()
        for channel, organ in enumerate(card.organs):
            if organ in case.organs and (truth := case.mask(organ)).any():
                row[channel] = metrics.dsc(masks[channel], truth)
    return found
