"""What several models say about one volume, read organ by organ and slab by slab."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.core.arrayfile import SLAB, ArrayFile
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, require_same

MAX_MODELS = 16

Stack = npt.NDArray[np.uint8]


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
