"""Compiles the kernels of a merge before the first request."""

import numpy as np

from services.core import arrayfile, metrics
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.merging.combined import paint
from services.merging.fusion import fuse


def warm() -> None:
    """Merge a tiny volume, straight and oblique, so that everything is compiled or loaded from the cache."""
    grid = Geometry.from_matrix((4, 4, 4), np.diag([1.5, 1.5, 1.5, 1.0]))
    turn = np.array([[0.8, -0.6, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    ensemble = Ensemble((arrayfile.decode(arrayfile.encode(["organ"], np.full((1, 4, 4, 4), 255, np.uint8), grid)),))
    fuse(ensemble, "organ", Geometry.from_matrix((4, 4, 4), turn))
    mask = fuse(ensemble, "organ", grid)
    paint(np.zeros(grid.array_shape, np.uint8), mask, 1, np.zeros(256, np.int16))
    metrics.warm()
