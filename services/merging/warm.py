"""Compiles the kernels of a merge before the first request."""

import numpy as np

from services.core import arrayfile, classmaps, metrics
from services.core.boxes import crop
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.core.organs import Step
from services.merging.fusion import mean
from services.merging.layers import Layer, Packed
from services.merging.making import make
from services.merging.policy import Overwrite, Policy
from services.merging.precedence import Choice, Origin


def warm() -> None:
    """Merge a tiny volume, straight and oblique, so that everything is compiled or loaded from the cache."""
    grid = Geometry.from_matrix((6, 4, 4), np.diag([1.5, 1.5, 1.5, 1.0]))
    turn = np.array([[0.8, -0.6, 0.0, 0.0], [0.6, 0.8, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
    ensemble = Ensemble((arrayfile.decode(arrayfile.encode(["organ"], np.full((1, 4, 4, 6), 255, np.uint8), grid)),))
    mean(ensemble, "organ", Geometry.from_matrix((6, 4, 4), turn), [1])
    mask = Packed.of(mean(ensemble, "organ", grid, [1]))
    # An organ of two pieces, one of them hollow; the source frees nearly all that AI said of the other organ.
    voxels = np.zeros(grid.array_shape, np.uint8)
    voxels[:3, :3, :3] = voxels[3, 3, 5] = 1
    voxels[1, 1, 1] = 0
    pieces = Packed.of(crop(voxels))
    layers = {"liver": Layer(Origin.SOURCE, pieces, mask), "spleen": Layer(Origin.AI, pieces)}
    choices = [Choice(organ, layer.origin) for organ, layer in layers.items()]
    policy = Policy(Overwrite.REASSIGN, steps={"": tuple(Step)})
    make(layers, choices, policy, classmaps.load(), grid)
    metrics.warm()
