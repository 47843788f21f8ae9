"""A foreign network as our windows know it: axes, intensities and channels turned around it."""

from torch import Tensor, nn

from services.serving.card import AXIS, Card

_SPATIAL = 2
"""Where the axes of space begin in (batch, channel, z, y, x)."""


class Adapted(nn.Module):
    """Windows (b, 1, z, y, x) in [0, 1] -> what `network` says of them, in our axes; sigmoid channels are the organs'.

    The network is given its own axes and intensities, as the card says them.
    """

    def __init__(self, network: nn.Module, card: Card, *, selects: bool) -> None:
        super().__init__()
        self.network = network
        low, high = card.intensity
        self._scale, self._shift = high - low, low
        # (z, y, x) are axes 2, 1, 0 of space.
        self._order = [_SPATIAL + 2 - AXIS[letter] for letter in card.axes]
        self._back = [_SPATIAL + self._order.index(_SPATIAL + axis) for axis in range(3)]
        self._flipped = [_SPATIAL + place for place, letter in enumerate(card.axes) if letter in "LPI"]
        wanted = [channel for own in card.channels.values() for channel in own]
        is_selection = selects and not card.is_softmax and wanted != list(range(card.channel_count))
        self._channels = wanted if is_selection else None

    def forward(self, windows: Tensor) -> Tensor:
        """Logits (b, channel, z, y, x)."""
        own = self._mirrored(windows.permute(0, 1, *self._order))
        logits: Tensor = self.network(own * self._scale + self._shift)
        if self._channels:
            logits = logits[:, self._channels]
        return self._mirrored(logits).permute(0, 1, *self._back)

    def _mirrored(self, values: Tensor) -> Tensor:
        # OpenVINO does not take a flip of no axis.
        return values.flip(self._flipped) if self._flipped else values


def needs_adapting(card: Card) -> bool:
    """Whether the card's network differs from what our windows are."""
    return card.axes != "SAR" or card.intensity != (0, 1) or card.outputs is not None


def own_window(card: Card) -> tuple[int, int, int]:
    """The window's sides along the network's own axes."""
    x, y, z = (card.window[2 - AXIS[letter]] for letter in card.axes)
    return x, y, z
