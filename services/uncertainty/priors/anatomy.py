"""The organs of one label set and what rules ask of them; nothing is computed before it is asked for.

Everything here is in the posture of `posture.Posture`: array axes (k, j, i) run to the head, the front and the right,
and world coordinates are RAS+ mm.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from services.core.boxes import Boxed, Corner, common
from services.core.components import components
from services.core.geometry import Geometry, Triple
from services.uncertainty.priors.blocks import Blocks
from services.uncertainty.priors.faces import faces
from services.uncertainty.priors.field import Field
from services.uncertainty.priors.measures import Measures, measure
from services.uncertainty.priors.posture import Posture

ML_MM3 = 1000.0

MOST_PIECES = 8
"""More pieces than this are not looked at, because each may take as much memory as the whole."""

Masks = Mapping[str, Boxed] | Iterable[tuple[str, Boxed]]


@dataclass(frozen=True)
class Profile:
    """An organ slice by slice, from the feet to the head; slice n of the profile is slice `first` + n of the grid.

    `levels_mm` are heights (S), `areas_mm2` the organ's area, `centres_mm` its RAS centre, (n, 3), NaN where it is 0.
    """

    first: int
    thickness_mm: float
    levels_mm: npt.NDArray[np.float64]
    areas_mm2: npt.NDArray[np.float64]
    centres_mm: npt.NDArray[np.float64]


_FACES = {"I": (0, False), "S": (0, True), "P": (1, False), "A": (1, True), "L": (2, False), "R": (2, True)}


class Organ:
    """One organ's mask and facts. `is_empty` means that it was looked for and not found."""

    def __init__(self, name: str, mask: Boxed, grid: Geometry, field: Field) -> None:
        self.name, self.mask, self.grid, self._field = name, mask, grid, field

    @cached_property
    def _measures(self) -> Measures:
        return measure(self.mask.voxels)

    @property
    def voxels(self) -> int:
        """Number of voxels."""
        return self._measures.voxels

    @property
    def is_empty(self) -> bool:
        """Whether there is no voxel of it."""
        return self.voxels == 0

    @property
    def volume_ml(self) -> float:
        """Volume in ml."""
        return self.voxels * self.grid.voxel_volume_mm3 / ML_MM3

    @cached_property
    def centre_mm(self) -> Triple:
        """Centre of gravity in RAS+ mm. Not of an empty organ."""
        r, a, s = self.grid.matrix[:3, :3] @ self.middle + self.grid.matrix[:3, 3]
        return float(r), float(a), float(s)

    @cached_property
    def low_mm(self) -> Triple:
        """R, A and S of its left, back and lower end in mm, along the grid's axes through its centre."""
        return self._ends(0)

    @cached_property
    def high_mm(self) -> Triple:
        """R, A and S of its right, front and upper end in mm, along the grid's axes through its centre."""
        return self._ends(1)

    @cached_property
    def profile(self) -> Profile:
        """The organ slice by slice."""
        found = self._measures
        thickness = self.grid.spacing_mm[2]
        with np.errstate(invalid="ignore"):
            j, i = found.sum_j / found.by_k, found.sum_i / found.by_k
        k = np.arange(len(found.by_k), dtype=float)
        index = np.stack([i + self.mask.corner[2], j + self.mask.corner[1], k + self.mask.corner[0]])
        centres = (self.grid.matrix[:3, :3] @ index + self.grid.matrix[:3, 3:]).T
        levels = self.centre_mm[2] + (index[2] - self.middle[2]) * self.grid.matrix[2, 2]
        areas = found.by_k * self.grid.voxel_volume_mm3 / thickness
        return Profile(self.mask.corner[0], thickness, levels, areas, centres)

    @property
    def plane_counts(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Voxels in every plane of its box along k, j and i."""
        return self._measures.by_k, self._measures.by_j, self._measures.by_i

    @property
    def face_mm2(self) -> Triple:
        """Area of a voxel's face that looks along k, j and i."""
        i, j, k = self.grid.spacing_mm
        return i * j, i * k, j * k

    @cached_property
    def faces_mm2(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Area of its surface that looks along k, j and i, in every plane between the voxels of its box."""
        k, j, i = (planes * area for planes, area in zip(faces(self.mask.voxels), self.face_mm2, strict=True))
        return k, j, i

    @cached_property
    def blocks(self) -> Blocks:
        """The organ in blocks of about 3 mm, for all that looks at its shape."""
        return Blocks.of(self.mask, self.grid)

    @cached_property
    def cut_at(self) -> frozenset[str]:
        """The faces of the field of view that it touches, of R L A P S I; what lies beyond them is not known."""
        return self._field.touched_by(self.mask, self.blocks)

    def to_face_mm(self, face: str) -> float:
        """Distance from its nearest voxel to a face of the grid: R L A P S or I."""
        axis, is_far = _FACES[face]
        beyond = self.grid.array_shape[axis] - self.mask.slices[axis].stop if is_far else self.mask.slices[axis].start
        return float(beyond * self.grid.spacing_mm[2 - axis])

    @property
    def pieces(self) -> "list[Organ]":
        """The `MOST_PIECES` largest of its 26-connected components, the largest first. They are not kept."""
        found = components(self.mask.voxels, most=MOST_PIECES)
        return [self.part(moved(part, self.mask.corner)) for part in found]

    def part(self, mask: Boxed) -> "Organ":
        """A part of it, a box on the grid, with its own facts."""
        return Organ(self.name, mask, self.grid, self._field)

    @cached_property
    def by_slice(self) -> npt.NDArray[np.bool_]:
        """For every slice of the grid, from the feet to the head, whether it has a voxel there."""
        found = np.zeros(self.grid.array_shape[0], bool)
        found[self.mask.slices[0]] = self._measures.by_k > 0
        return found

    def _ends(self, side: int) -> Triple:
        r, a, s = self.centre_mm
        matrix, index = self.grid.matrix, self.middle
        ends = [(c, c + n - 1)[side] for c, n in zip(self.mask.corner, self.mask.voxels.shape, strict=True)][::-1]
        return tuple(  # type: ignore[return-value]
            value + float(matrix[axis, axis]) * (ends[axis] - index[axis]) for axis, value in enumerate((r, a, s))
        )

    @cached_property
    def middle(self) -> Triple:
        """Index (i, j, k) of the centre of gravity on the grid. Not of an empty organ."""
        found, corner = self._measures, self.mask.corner
        k = (found.by_k * np.arange(len(found.by_k))).sum() / found.voxels
        return (
            float(found.sum_i.sum() / found.voxels) + corner[2],
            float(found.sum_j.sum() / found.voxels) + corner[1],
            float(k) + corner[0],
        )


@dataclass(frozen=True)
class Anatomy:
    """The organs that were looked for in one patient, by name.

    `grid` is the labels' grid in the posture. An organ that nobody looked for is not in `organs`.
    """

    organs: Mapping[str, Organ]
    grid: Geometry
    posture: Posture

    @classmethod
    def of(cls, masks: Masks, geometry: Geometry, scanned: Geometry | None = None) -> "Anatomy":
        """The anatomy of boxed masks (k, j, i) on `geometry`, in any orientation; an empty box was looked for in vain.

        Pairs are read one after the other, and a box that is a view of a whole array is copied out of it. `scanned` is
        the grid of the CT if it is another than that of the masks: it bounds the field of view.
        """
        posture = Posture(geometry)
        field = Field(posture.grid, scanned or posture.grid)
        pairs = masks.items() if isinstance(masks, Mapping) else masks
        organs = {name: Organ(name, posture.take(mask), posture.grid, field) for name, mask in pairs}
        return cls(organs, posture.grid, posture)

    def found(self, *names: str) -> tuple[Organ, ...] | None:
        """These organs, if every one was looked for and found; else None."""
        organs = [self.organs[name] for name in names if name in self.organs]
        return tuple(organs) if len(organs) == len(names) and not any(organ.is_empty for organ in organs) else None

    def present(self, names: Iterable[str]) -> list[Organ]:
        """Those of the organs that were looked for and found."""
        return [self.organs[name] for name in names if name in self.organs and not self.organs[name].is_empty]


def shared(first: Boxed, second: Boxed) -> Boxed:
    """Where two masks are both set, as a 0/1 box."""
    part = common(first, second)
    if part is None:
        return EMPTY
    both = (first.within(part) != 0) & (second.within(part) != 0)
    return Boxed((part[0].start, part[1].start, part[2].start), both.astype(np.uint8))


def moved(mask: Boxed, corner: Corner) -> Boxed:
    """A box out of an array that itself has its first voxel at `corner` of a larger one, seen from that."""
    k, j, i = (a + b for a, b in zip(mask.corner, corner, strict=True))
    return Boxed((k, j, i), mask.voxels)


def joined(masks: Sequence[Boxed]) -> Boxed:
    """Several masks in one box, 0/1."""
    low = [min(ends) for ends in zip(*(mask.corner for mask in masks), strict=True)]
    high = [max(part.stop for part in parts) for parts in zip(*(mask.slices for mask in masks), strict=True)]
    whole = Boxed((low[0], low[1], low[2]), np.zeros([b - a for a, b in zip(low, high, strict=True)], np.uint8))
    for mask in masks:
        whole.within(mask.slices)[mask.voxels != 0] = 1
    return whole


EMPTY = Boxed((0, 0, 0), np.zeros((0, 0, 0), np.uint8))
