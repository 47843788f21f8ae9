"""The organs of one volume on their way into a label version: each a mask, who speaks for it, and what changed it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.core.boxes import EMPTY, Boxed, Corner, common, crop
from services.merging.precedence import Origin

_BITS = np.array([byte.bit_count() for byte in range(256)], np.uint8)


class Kind(IntEnum):
    """What changed a mask. The numbers are those of `storage.v1.LabelChange.Kind`."""

    SIDES = 1
    ISLANDS = 2
    PLAUSIBLE = 3
    LARGEST = 4
    HOLES = 5
    CLEARED = 6
    REASSIGNED = 7


@dataclass(frozen=True)
class Packed:
    """A mask at eight voxels a byte: `bits` are those of the box `shape` (k, j, i) at `corner`, packed along i."""

    corner: Corner
    shape: tuple[int, ...]
    bits: npt.NDArray[np.uint8]

    @cached_property
    def voxels(self) -> int:
        """Number of voxels that are set."""
        return int(_BITS[self.bits].sum(dtype=np.int64))

    @classmethod
    def of(cls, mask: Boxed) -> "Packed":
        """The 0/1 mask in its smallest box."""
        box = crop(mask.voxels, mask.corner)
        return cls(box.corner, box.voxels.shape, np.packbits(box.voxels, axis=2))

    @property
    def mask(self) -> Boxed:
        """The mask again, 0/1, in memory of its own."""
        return Boxed(self.corner, np.unpackbits(self.bits, axis=2, count=self.shape[2]))


NOTHING = Packed.of(EMPTY)


@dataclass(frozen=True)
class Change:
    """What one step did to a mask: the voxels that came to it, and how many left it."""

    kind: Kind
    added: Packed
    removed_voxels: int


@dataclass(frozen=True)
class Layer:
    """One organ. `predicted` is what AI said of an organ for which a higher origin speaks, if that was asked for."""

    origin: Origin
    mask: Packed
    predicted: Packed = NOTHING
    changes: tuple[Change, ...] = ()

    @property
    def additions(self) -> tuple[Change, ...]:
        """The changes by which voxels came to it."""
        return tuple(change for change in self.changes if change.added.bits.size)

    def changed(self, kind: Kind, mask: Boxed) -> "Layer":
        """The layer with another mask and a note of the change; itself if nothing changed."""
        before = self.mask.mask
        added, removed = minus(mask, before), minus(before, mask).count
        if not added.count and not removed:
            return self
        change = Change(kind, Packed.of(added), removed)
        return replace(self, mask=Packed.of(mask), changes=(*self.changes, change))


Layers = Mapping[str, Layer]
"""The organs by name, in order of the class map."""


def minus(mask: Boxed, other: Boxed) -> Boxed:
    """What of a mask is not in another one, in memory of its own."""
    left = Boxed(mask.corner, mask.voxels.copy())
    take_away(left, other)
    return left


def take_away(mask: Boxed, other: Boxed) -> None:
    """Set voxels of `mask` to 0, in place, wherever `other` is set."""
    if region := common(mask, other):
        mask.within(region)[...] &= other.within(region) ^ np.uint8(1)


def paint(labels: Boxed, mask: Boxed, value: int) -> None:
    """Set voxels of a box to `value`, in place, wherever `mask` is set."""
    if region := common(labels, mask):
        labels.within(region)[mask.within(region) != 0] = value


def union(masks: Sequence[Boxed]) -> Boxed:
    """What is in any of the masks, 0/1, in one box."""
    parts = [mask for mask in masks if mask.voxels.size]
    if not parts:
        return EMPTY
    first = [min(part.slices[axis].start for part in parts) for axis in range(3)]
    stop = [max(part.slices[axis].stop for part in parts) for axis in range(3)]
    shape = [b - a for a, b in zip(first, stop, strict=True)]
    result = Boxed((first[0], first[1], first[2]), np.zeros(shape, np.uint8))
    for part in parts:
        result.within(part.slices)[...] |= part.voxels
    return result
