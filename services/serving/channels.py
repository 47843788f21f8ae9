"""From a network's channels to one logit an organ, as the card's `outputs` say."""

import torch
from torch import Tensor

from services.serving.card import Card


def organ_logits(channels: Tensor, card: Card) -> Tensor:
    """Logits (organ, z, y, x) whose sigmoid is each organ's probability; `channels` is (channel, z, y, x).

    Sigmoid channels are the organs' logits already. Under softmax an organ's probability is the sum of those of its
    channels, exp(a) / (exp(a) + exp(b)) with a and b the logarithms of the summed exponentials of its own channels and
    of all others: the sigmoid of a - b.
    """
    if card.outputs is None or card.outputs.activation == "sigmoid":
        return channels
    logits = torch.empty((len(card.organs), *channels.shape[1:]), device=channels.device)
    for logit, own in zip(logits, card.outputs.channels.values(), strict=True):
        others = [channel for channel in range(len(channels)) if channel not in own]
        logit.copy_(channels[list(own)].logsumexp(0) - channels[others].logsumexp(0))
    return logits
