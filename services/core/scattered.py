"""Parts that a source labelled in whatever organ they lie in, such as tumours, on their way to these organs."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.core.boxes import Boxed
from services.core.components import components
from services.core.geometry import Triple

_MOST_PARTS = 4096


@dataclass(frozen=True)
class Part:
    """A 26-connected part of `voxels` voxels, and the label that it was given; 0 if it touches none, and stays.

    `share` is how much of its surface touches that organ, 0 to 1.
    """

    voxels: int
    label: int
    share: float


def give_to_organs(
    labels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], part: int, organs: Mapping[int, int], spacing_mm: Triple
) -> list[Part]:
    """Give every part of the label `part` in a label map (k, j, i) to the organ that it touches most, in place.

    `organs` says by label which label its organ goes by; other labels are no organs. How much they touch is the area of
    the faces of voxels that they share, in mm^2, with `spacing_mm` along i, j and k; of equal organs the one with the
    lower label wins. Only the 4096 largest parts are looked at. Returns the parts, the largest first.
    """
    found, given = components((labels == part).view(np.uint8), most=_MOST_PARTS), []
    for box in found:
        touched = _touched_mm2(labels, box, spacing_mm)
        area = np.zeros_like(touched)
        for label, organ in organs.items():
            if label < len(touched):
                area[organ] += touched[label]
        best = int(area.argmax())
        if not area[best] > 0:
            given.append(Part(box.count, 0, 0.0))
            continue
        given.append(Part(box.count, best, float(area[best] / touched.sum())))
    # Parts do not touch each other, but no part may be judged by what another one became.
    for box, entry in zip(found, given, strict=True):
        if entry.label:
            labels[box.slices][box.voxels != 0] = entry.label
    return given


def _touched_mm2(
    labels: npt.NDArray[np.uint8] | npt.NDArray[np.uint16], box: Boxed, spacing_mm: Triple
) -> npt.NDArray[np.float64]:
    """Area in mm^2 that a component shares with each label, 0 among them."""
    low = [max(0, c - 1) for c in box.corner]
    high = [min(n, c + s + 1) for n, c, s in zip(labels.shape, box.corner, box.voxels.shape, strict=True)]
    around = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    pad = [(c - a, b - c - s) for c, a, b, s in zip(box.corner, low, high, box.voxels.shape, strict=True)]
    inside = np.pad(box.voxels, pad) != 0
    area = np.zeros(np.iinfo(labels.dtype).max + 1)
    for axis, spacing in enumerate(reversed(spacing_mm)):
        face_mm2 = float(np.prod(spacing_mm)) / spacing
        before, after = ((slice(None),) * axis + (part,) for part in (slice(None, -1), slice(1, None)))
        for one, other in ((before, after), (after, before)):
            shared = inside[one] & ~inside[other]
            area += face_mm2 * np.bincount(around[other][shared], minlength=len(area))
    return area
