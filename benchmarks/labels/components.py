"""The largest component of each of nine organs."""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.labels.case import Case
from benchmarks.labels.measure import Contender
from services.core.boxes import Boxed, masks_of
from services.core.components import largest_component

Mask = npt.NDArray[np.uint8]


def dusty(case: Case) -> list[Mask]:
    """The reader's masks with two thousand specks in each, up to 20 mm outside the organ, as networks leave them."""
    rng = np.random.default_rng(7)
    masks = case.masks("reader")
    for mask in masks:
        low, high = (np.argwhere(mask.any(axis=(1, 2)))[n][0] for n in (0, -1))
        inside = np.argwhere(mask[(low + high) // 2])
        for _ in range(2000):
            j, i = inside[rng.integers(len(inside))] + rng.integers(-25, 26, 2)
            k = rng.integers(max(low - 10, 0), min(high + 10, len(mask) - 1))
            mask[k, j % mask.shape[1], i % mask.shape[2]] = 1
    return masks


def ours(case: Case) -> Callable[[], list[Boxed]]:
    """The product's function, on each whole mask."""
    masks = dusty(case)
    largest_component(np.ones((1, 1, 1), np.uint8))
    return lambda: [largest_component(mask, case.geometry.orientation) for mask in masks]


def ours_labels(case: Case) -> Callable[[], list[Boxed]]:
    """The product's functions, out of a label map of all organs."""
    labels = _label_map(case)
    largest_component(np.ones((1, 1, 1), np.uint8))
    masks_of(np.ones((1, 1, 1), np.uint8))
    return lambda: [largest_component(mask, case.geometry.orientation) for _, mask in sorted(masks_of(labels).items())]


def cc3d_masks(case: Case) -> Callable[[], list[Mask]]:
    """cc3d's `largest_k` of each whole mask."""
    import cc3d

    masks = dusty(case)
    return lambda: [np.asarray(cc3d.largest_k(mask, k=1, connectivity=26), np.uint8) for mask in masks]


def cc3d_labels(case: Case) -> Callable[[], Mask]:
    """cc3d once over the label map of all organs, and of each organ its largest component."""
    import cc3d

    labels = _label_map(case)

    def run() -> Mask:
        found, count = cc3d.connected_components(labels, connectivity=26, return_N=True)
        sizes = np.bincount(found.ravel(), minlength=count + 1)
        organ = np.zeros(count + 1, np.uint8)
        organ[found.ravel()] = labels.ravel()
        keep = np.zeros(count + 1, np.uint8)
        for label in range(1, int(labels.max()) + 1):
            of = np.flatnonzero(organ == label)
            keep[of[sizes[of].argmax()]] = label
        return keep[found]

    return run


def _label_map(case: Case) -> Mask:
    labels = np.zeros(case.geometry.array_shape, np.uint8)
    for index, mask in enumerate(dusty(case)):
        labels[(labels == 0) & (mask != 0)] = index + 1
    return labels


def _digest_boxes(case: Case, found: list[Boxed]) -> dict[str, Any]:
    return _digest([part.whole(case.geometry.array_shape) for part in found])


def _digest_masks(_case: Case, found: list[Mask]) -> dict[str, Any]:
    return _digest([(mask != 0).astype(np.uint8) for mask in found])


def _digest_labels(_case: Case, found: Mask) -> dict[str, Any]:
    return _digest([(found == label).astype(np.uint8) for label in range(1, int(found.max()) + 1)])


def _digest(masks: list[Mask]) -> dict[str, Any]:
    return {"digest": hashlib.sha256(b"".join(hashlib.sha256(m.data).digest() for m in masks)).hexdigest()}


CONTENDERS = {
    "ours": Contender(ours, _digest_boxes),
    "cc3d_masks": Contender(cc3d_masks, _digest_masks),
    "ours_labels": Contender(ours_labels, _digest_boxes),
    "cc3d_labels": Contender(cc3d_labels, _digest_labels),
}
