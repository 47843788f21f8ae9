"""Compiles the kernels of a score before the first request."""

import numpy as np

from services.core import arrayfile
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.uncertainty.profiles import PROFILES


def warm() -> None:
    """Score a tiny volume with every profile, so that everything is compiled or loaded from the cache."""
    grid = Geometry.from_matrix((6, 6, 6), np.diag([1.5, 1.5, 1.5, 1.0]))
    array = np.full(grid.array_shape, 150, np.uint8)
    ensemble = Ensemble((arrayfile.decode(arrayfile.encode(["liver", "spleen"], [array, array], grid)),) * 2)
    for profile in PROFILES.values():
        list(profile.attend(ensemble, ("liver", "spleen")))
