"""Crops of cases for training, varied as scanners vary them; no flips, because left and right matter.

What is drawn follows from seed, epoch and number alone: a run that was cut off, and one on more devices, sees the same.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from services.serving.card import Card, Triple
from services.serving.training.case import Case

Voxel = TypeVar("Voxel", np.int16, np.uint32)
_AIR_HU = -1024
_GROUP = 16
"""So many cases are drawn from at a time, so that a cache smaller than the data reads every case once an epoch."""
_AROUND_ORGAN = 0.67


class Crop(NamedTuple):
    """`image` (batch, 1, *window) in [0, 1], `truth` (batch, organ, *window), `known` (batch, organ); all float32."""

    image: Tensor
    truth: Tensor
    known: Tensor


class Sampler:
    """Draws crops for a card. `organs` are learned (all if None): of the others nothing is known.

    Of every two crops one comes from `replay`, if there are such cases.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        card: Card,
        seed: int,
        *,
        organs: Collection[str] | None = None,
        replay: Sequence[Case] = (),
    ) -> None:
        self._cases, self._replay, self._card, self.seed = cases, replay, card, seed
        self._learned = [organ for organ in card.organs if organs is None or organ in organs]

    def draw(self, epoch: int, numbers: Sequence[int], total: int) -> Crop:
        """The crops `numbers` of the `total` that an epoch has, as one batch."""
        crops = [self._one(epoch, number, total) for number in numbers]
        return Crop(*(torch.cat(parts) for parts in zip(*crops, strict=True)))

    def _one(self, epoch: int, number: int, total: int) -> Crop:
        rng = np.random.default_rng([self.seed, epoch, number])
        cases = self._replay if self._replay and number % 2 else self._cases
        case = cases[self._chosen(len(cases), epoch, number / total, rng)]
        learned = [organ for organ in self._learned if organ in case.organs]
        corner = self._corner(case, learned, rng)
        image = _scanner(_cut(case.ct, corner, self._card.window, _AIR_HU).astype(np.float32), rng)
        low, high = self._card.hu_window
        image = np.clip((image - low) / (high - low), 0, 1)
        bits = _cut(case.bits, corner, self._card.window, 0)
        truth = torch.zeros((1, len(self._card.organs), *self._card.window))
        known = torch.zeros((1, len(self._card.organs)))
        for organ in learned:
            channel = self._card.organs.index(organ)
            there = bits >> np.uint32(case.organs.index(organ)) & 1
            truth[0, channel] = torch.from_numpy(there.astype(np.float32))
            known[0, channel] = 1
        return Crop(torch.from_numpy(image)[None, None], truth, known)

    def _chosen(self, count: int, epoch: int, share: float, rng: np.random.Generator) -> int:
        """A case of the group whose turn it is at this share of the epoch."""
        order = np.random.default_rng([self.seed, epoch]).permutation(count)
        first = int(share * count) // _GROUP * _GROUP
        return int(rng.choice(order[first : first + _GROUP]))

    def _corner(self, case: Case, learned: list[str], rng: np.random.Generator) -> NDArray[np.int64]:
        """Where a window begins: around a voxel of a random organ two times in three, anywhere otherwise.

        Negative where the case is smaller than the window: it lies in the middle then, as in the sliding window.
        """
        window, shape = np.array(self._card.window), np.array(case.ct.shape)
        room = np.maximum(shape - window, 0)
        corner = rng.integers(room + 1)
        if learned and rng.random() < _AROUND_ORGAN:
            voxels = case.centres[case.organs.index(learned[rng.integers(len(learned))])]
            if len(voxels):
                offset = (rng.uniform(0.2, 0.8, 3) * window).astype(int)
                corner = np.clip(voxels[rng.integers(len(voxels))] - offset, 0, room)
        return np.asarray(corner - np.maximum(window - shape, 0) // 2, np.int64)


def _cut(voxels: NDArray[Voxel], corner: NDArray[np.int64], window: Triple, outside: int) -> NDArray[Voxel]:
    inside = tuple(slice(max(c, 0), c + w) for c, w in zip(corner.tolist(), window, strict=True))
    crop = np.asarray(voxels[inside])
    before = [max(-c, 0) for c in corner.tolist()]
    pads = [(b, w - n - b) for b, w, n in zip(before, window, crop.shape, strict=True)]
    return np.pad(crop, pads, constant_values=outside)


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
