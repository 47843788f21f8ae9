"""Crops of cached cases for training, varied as scanners vary them; no flips, because left and right matter."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from services.serving.cache import load_case
from services.serving.card import Card

_AIR_HU = -1024


class Sampler:
    """Draws (image, truth) pairs; every case is held in memory (about 2 MB each)."""

    def __init__(self, paths: list[Path], card: Card, rng: np.random.Generator) -> None:
        """Read the cached cases."""
        self._cases = [_padded(*load_case(path), card.window) for path in paths]
        self._card = card
        self._rng = rng

    def draw(self) -> tuple[Tensor, Tensor]:
        """Image float32 (1, 1, *window) in [0, 1] and truth float32 (1, organ, *window)."""
        ct, label = self._cases[self._rng.integers(len(self._cases))]
        crop = self._place(label)
        image = _scanner(ct[crop].astype(np.float32), self._rng)
        low, high = self._card.hu_window
        image = np.clip((image - low) / (high - low), 0, 1)
        organs = torch.arange(1, len(self._card.organs) + 1, dtype=torch.uint8).view(-1, 1, 1, 1)
        truth = torch.from_numpy(np.ascontiguousarray(label[crop]))[None] == organs
        return torch.from_numpy(image)[None, None], truth[None].float()

    def _place(self, label: NDArray[np.uint8]) -> tuple[slice, ...]:
        """A window around a voxel of a random organ two times in three, anywhere otherwise."""
        window = np.array(self._card.window)
        room = np.array(label.shape) - window
        corner = self._rng.integers(room + 1)
        if self._rng.random() < 0.67:
            voxels = np.flatnonzero(label == self._rng.integers(1, len(self._card.organs) + 1))
            if voxels.size:
                centre = np.array(np.unravel_index(self._rng.choice(voxels), label.shape))
                offset = (self._rng.uniform(0.2, 0.8, 3) * window).astype(int)
                corner = np.clip(centre - offset, 0, room)
        return tuple(slice(int(c), int(c + w)) for c, w in zip(corner, window, strict=True))


def _padded(
    ct: NDArray[np.int16], label: NDArray[np.uint8], window: tuple[int, int, int]
) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Fill up with air to the window's size, centred, as the sliding window does."""
    missing = [max(0, w - n) for w, n in zip(window, ct.shape, strict=True)]
    pads = [(m // 2, m - m // 2) for m in missing]
    return np.pad(ct, pads, constant_values=_AIR_HU), np.pad(label, pads)


def _scanner(image: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Vary calibration, contrast, sharpness, slice thickness and noise (HU in, HU out)."""
    image = image * np.float32(rng.uniform(0.9, 1.1)) + np.float32(rng.normal(0, 8))
    if rng.random() < 0.3:
        image = ndimage.gaussian_filter(image, rng.uniform(0.2, 0.8), truncate=2)
    if rng.random() < 0.3:  # thick slices
        image = ndimage.uniform_filter1d(image, 2 + int(rng.random() < 0.4), axis=0)
    if rng.random() < 0.4:
        image = image + rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(2, 25))
    return image
