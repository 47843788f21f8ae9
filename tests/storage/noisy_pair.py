"""The worst label map of a dataset: un-split kidneys at random, under a header that is not the CT's."""

import tempfile
from pathlib import Path

import numpy as np

from services.core import nifti
from services.core.geometry import Geometry
from tests.storage.noise import GRID, Watched
from tests.storage.world import World

FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])
FLIP[:2, 3] = np.array(GRID.shape[:2]) - 1
TURNED = Geometry.from_matrix(GRID.shape, GRID.matrix @ FLIP)


def prepare() -> tuple[World, Watched, bytes]:
    """A volume in the catalog and its label map."""
    gate = Watched(2**32)
    world = World(Path(tempfile.mkdtemp()), gate=gate)
    rng = np.random.default_rng(0)
    world.volume(nifti.encode(rng.integers(-100, 200, GRID.array_shape).astype(np.int16), GRID))
    # Two halves, that there is something to split, and around each of them specks that belong to neither.
    ids = rng.integers(1, 4, GRID.array_shape, np.int16) * (rng.random(GRID.array_shape) < 0.5)
    ids[:, :, 78:82] = 0
    ids[:, 100:] *= rng.random((GRID.shape[2], GRID.shape[1] - 100, GRID.shape[0])) < 0.05
    gate.most = 0
    return world, gate, nifti.encode(ids.astype(np.int16), TURNED)


def work(inputs: tuple[World, Watched, bytes]) -> int:
    """Import it as the service does."""
    world, gate, label_map = inputs
    version = world.import_files(("", label_map, "l"), dataset_map="kits23", class_map="abdomenatlas-1.1")
    assert version.notes
    return gate.most
