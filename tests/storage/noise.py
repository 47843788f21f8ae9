"""The worst label map: every voxel is some organ, at random, in a file of 16 bits a voxel."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from services.core import classmaps, nifti
from services.core.geometry import Geometry
from services.core.memory import MemoryGate
from tests.storage.world import World

SHAPE = (160, 160, 160)
GRID = Geometry(SHAPE, (1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0))


class Watched(MemoryGate):
    """A gate that remembers the most that was asked of it at once."""

    most = 0

    @contextmanager
    def hold(self, needed_bytes: int, *, what: str) -> Iterator[None]:
        """As the gate does."""
        self.most = max(self.most, needed_bytes)
        with super().hold(needed_bytes, what=what):
            yield


def prepare() -> tuple[World, Watched, bytes]:
    """A volume in the catalog and its label map."""
    gate = Watched(2**32)
    world = World(Path(tempfile.mkdtemp()), gate=gate)
    world.volume(nifti.encode(np.full(GRID.array_shape, -1000, np.int16), GRID))
    ids = np.random.default_rng(0).integers(0, len(classmaps.load().organs) + 1, GRID.array_shape, np.int16)
    gate.most = 0
    return world, gate, nifti.encode(ids, GRID)


def work(inputs: tuple[World, Watched, bytes]) -> int:
    """Import it as the service does."""
    world, gate, label_map = inputs
    world.import_masks(("", label_map))
    return gate.most
