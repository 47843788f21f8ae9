"""Bit planes without their empty surroundings, so that what is done with an organ costs what the organ is large."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numba import njit

from services.core.blocks import BLOCK, Chosen
from services.core.boxes import EMPTY, Boxed
from services.uncertainty import bitplanes
from services.uncertainty.bitplanes import Shape, Words

Box = tuple[slice, slice, slice]
"""Slices, rows and words (k, j, w) of a grid's bit planes."""


@dataclass(frozen=True)
class Trimmed:
    """The bits of a box of a grid, (k, j, w), or of several masks in the same box, (mask, k, j, w); elsewhere all is 0.

    `first` is where the box begins.
    """

    first: Shape
    words: Words

    @staticmethod
    def of(words: Words, first: Shape = (0, 0, 0)) -> "Trimmed":
        """What is left of bits without their empty margins, as a copy; `first` is where they begin in the grid."""
        k, j, i = bitplanes.bounds(words)
        w = slice(i.start // 64, -(-i.stop // 64))
        return Trimmed((first[0] + k.start, first[1] + j.start, first[2] + w.start), words[k, j, w].copy())

    @staticmethod
    def around(chosen: Chosen, shape: tuple[int, ...], masks: int) -> "Trimmed":
        """So many masks, all 0, in the smallest box around some blocks (k, j, i) of a grid of `shape` (k, j, i)."""
        ends = []
        for axis, (size, length) in enumerate(zip(BLOCK, shape, strict=True)):
            some = np.flatnonzero(chosen.any(axis=tuple({0, 1, 2} - {axis})))
            ends.append((size * int(some[0]), min(size * int(some[-1] + 1), length)) if some.size else (0, 0))
        k, j, i = ends
        words = np.zeros((masks, k[1] - k[0], j[1] - j[0], -(-(i[1] - i[0]) // 64)), np.uint64)
        return Trimmed((k[0], j[0], i[0] // 64), words)

    @staticmethod
    def packed(mask: Boxed) -> "Trimmed":
        """The bits of a mask in its smallest box."""
        k, j, i = mask.corner
        inset = (0, 0, i % 64)
        words = np.zeros(bitplanes.words_of((*mask.voxels.shape[:2], mask.voxels.shape[2] + inset[2])), np.uint64)
        bitplanes.pack(mask.voxels, words, inset)
        return Trimmed((k, j, i // 64), words)

    @property
    def box(self) -> Box:
        """Where the bits lie in the grid."""
        k, j, w = (slice(a, a + n) for a, n in zip(self.first, self.words.shape[-3:], strict=True))
        return k, j, w

    def add_to(self, words: Words, box: Box) -> None:
        """Set these bits in those of another box, as far as it reaches."""
        inner = _common(self.box, box)
        if inner:
            words[(..., *_within(inner, box))] |= self._part(inner)

    def over(self, box: Box) -> Words:
        """The bits of another box: a copy, or these very words if it is this one."""
        if box == self.box:
            return self.words
        words = np.zeros((*self.words.shape[:-3], *_shape(box)), np.uint64)
        self.add_to(words, box)
        return words

    def common(self, other: "Trimmed") -> "Trimmed | None":
        """The bits that both have; None if their boxes alone tell that there are none."""
        inner = _common(self.box, other.box)
        return Trimmed(first_of(inner), self._part(inner) & other._part(inner)) if inner else None

    def slices(self, start: int, stop: int) -> "Trimmed":
        """A view of what lies from slice `start` to `stop` of the grid."""
        first, *inner = self.first
        low, high = max(start - first, 0), max(stop - first, 0)
        return Trimmed((first + low, inner[0], inner[1]), self.words[..., low:high, :, :])

    def blocks(self, shape: tuple[int, ...]) -> Chosen:
        """Which of all blocks, `shape` (k, j, i) of them, hold any bit; of one mask."""
        held = np.zeros(shape, np.bool_)
        _mark_blocks(self.words, self.first, BLOCK, held)
        return held

    def boxed(self) -> Boxed:
        """The mask in its smallest box of voxels."""
        k, j, i = bitplanes.bounds(self.words)
        if k.stop == 0:
            return EMPTY
        a, b, c = self.first
        return Boxed((a + k.start, b + j.start, 64 * c + i.start), bitplanes.unpack(self.words, (k, j, i)))

    def _part(self, box: Box) -> Words:
        part: Words = self.words[(..., *_within(box, self.box))]
        return part


def span(parts: Iterable[Trimmed]) -> Box:
    """The smallest box that holds all parts that are not empty; of no words if there are none."""
    boxes = [part.box for part in parts if part.words.size]
    if not boxes:
        return slice(0, 0), slice(0, 0), slice(0, 0)
    k, j, w = (slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))
    return k, j, w


def grown(box: Box, margin: Shape, within: Shape) -> Box:
    """A box and `margin` voxels (k, j, i) on either side of it; `within` is the shape (k, j, w) of the grid's bits."""
    by = margin[0], margin[1], -(-margin[2] // 64)
    k, j, w = (slice(max(0, s.start - m), min(n, s.stop + m)) for s, m, n in zip(box, by, within, strict=True))
    return k, j, w


def first_of(box: Box) -> Shape:
    """Where a box begins."""
    k, j, w = box
    return k.start, j.start, w.start


def voxels_of(box: Box) -> Box:
    """The voxels of a box of words, which may reach beyond the ends of the grid's rows."""
    k, j, w = box
    return k, j, slice(64 * w.start, 64 * w.stop)


def corner_of(box: Box) -> Shape:
    """The first voxel of a box of words."""
    k, j, w = first_of(box)
    return k, j, 64 * w


def _shape(box: Box) -> Shape:
    k, j, w = (part.stop - part.start for part in box)
    return k, j, w


def _within(inner: Box, outer: Box) -> Box:
    """A box as an index into the words of one around it."""
    k, j, w = (slice(a.start - b.start, a.stop - b.start) for a, b in zip(inner, outer, strict=True))
    return k, j, w


def _common(first: Box, second: Box) -> Box | None:
    k, j, w = (slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(first, second, strict=True))
    return (k, j, w) if k.start < k.stop and j.start < j.stop and w.start < w.stop else None


@njit(nogil=True, cache=True)
def _mark_blocks(words, first, size, held):  # type: ignore[no-untyped-def]
    depth, height, width = words.shape
    for k in range(depth):
        for j in range(height):
            for w in range(width):
                if words[k, j, w]:
                    held[(first[0] + k) // size[0], (first[1] + j) // size[1], first[2] + w] = True
