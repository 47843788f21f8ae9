"""What several models say about one volume, read organ by organ, slab by slab or block by block."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.core.arrayfile import ArrayFile
from services.core.blocks import BLOCK, LAYERS, SLAB, Chosen
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, require_same

MAX_MODELS = 16

Stack = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Blocks:
    """What the models say in some blocks of the slab that begins at slice `start`.

    Block (k, j, i) of the slab is number `places[k, j, i]` of `stack` (model, block, k, j, i); -1 if it was not read.
    """

    start: int
    places: npt.NDArray[np.int64]
    stack: Stack


@dataclass(frozen=True)
class Ensemble:
    """The predictions of different models, in a fixed order, on one grid: uint8 = floor(255 p) per organ.

    A model need not have every organ; an organ is judged by the models that have it. Raises GEOMETRY_MISMATCH or
    DTYPE_UNSUPPORTED.
    """

    members: tuple[ArrayFile, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.members) <= MAX_MODELS:
            raise AtlasError(
                Reason.FIELD_INVALID,
                f"An ensemble has 1 to {MAX_MODELS} models, not {len(self.members)}.",
                field="predictions",
            )
        for index, member in enumerate(self.members):
            name = f"predictions[{index}]"
            require_same(self.geometry, member.geometry, first_name="predictions[0]", second_name=name)
            if member.dtype != np.uint8:
                raise AtlasError(
                    Reason.DTYPE_UNSUPPORTED, f"Probabilities are uint8, these are {member.dtype}.", field=name
                )

    @property
    def geometry(self) -> Geometry:
        """The grid of all predictions."""
        return self.members[0].geometry

    @property
    def organs(self) -> frozenset[str]:
        """The organs that at least one model has."""
        return frozenset(organ for member in self.members for organ in member.channels)

    def having(self, organ: str) -> tuple[ArrayFile, ...]:
        """The models that have an organ, in order."""
        return tuple(member for member in self.members if organ in member.channels)

    def highest(self, organ: str) -> Stack:
        """The largest probability of each model in each block of the grid, (model, k, j, i) in blocks."""
        return np.stack([member.highest(organ) for member in self.having(organ)])

    def blocks(self, organ: str, wanted: Chosen) -> Iterator[Blocks]:
        """The wanted ones of all blocks (k, j, i) of the grid, slab by slab. A stack is overwritten by the next one."""
        members, slabs = self.having(organ), wanted.reshape(-1, LAYERS, *wanted.shape[1:])
        counts = np.count_nonzero(slabs, axis=(1, 2, 3))
        stack = np.empty((len(members), counts.max(initial=0), *BLOCK), np.uint8)
        for number in np.flatnonzero(counts).tolist():
            here = slabs[number]
            for member, into in zip(members, stack, strict=True):
                member.read_blocks(organ, number * SLAB, here, into)
            places = np.where(here, np.cumsum(here).reshape(here.shape) - 1, -1)
            yield Blocks(number * SLAB, places, stack)

    def slabs(self, organ: str, slices: slice = slice(None)) -> Iterator[tuple[int, Stack]]:
        """(first slice, probabilities (model, k, j, i)) of an organ, for the slabs that `slices` along k touches.

        Slabs that are 0 for every model are left out. A stack is overwritten by the next one.
        """
        depth, *plane = self.geometry.array_shape
        first, last, _ = slices.indices(depth)
        members = self.having(organ)
        stack = np.empty((len(members), min(SLAB, depth), *plane), np.uint8)
        clean = [False] * len(members)
        for start in range(first // SLAB * SLAB, last, SLAB):
            some = False
            for number, member in enumerate(members):
                if member.read_slab(organ, start, stack[number]):
                    some, clean[number] = True, False
                elif not clean[number]:
                    stack[number] = 0
                    clean[number] = True
            if some:
                yield start, np.ascontiguousarray(stack[:, : depth - start])
