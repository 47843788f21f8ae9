"""Compiles the kernels of a prediction before the first request."""

import numpy as np

from services.core import arrayfile
from services.core.geometry import Geometry
from services.core.resample import warm as warm_resampling


def warm() -> None:
    """Bring a tiny CT to a grid, and read an answer, so that everything is compiled or loaded from the cache."""
    warm_resampling()
    grid = Geometry.from_matrix((4, 4, 4), np.eye(4))
    answer = arrayfile.encode(["organ"], np.ones((1, 4, 4, 4), np.uint8), grid)
    list(arrayfile.decode(answer).slabs("organ"))
