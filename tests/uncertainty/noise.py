"""The worst input for a score: nine organs of pure noise from three models."""

import numpy as np

from services.core import arrayfile, classmaps
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.uncertainty.memory import needed_bytes
from services.uncertainty.parity import PARITY
from services.uncertainty.warm import warm

GRID = Geometry((150, 150, 150), (1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0))
ORGANS = classmaps.load().organs


def prepare() -> Ensemble:
    """The ensemble, with all kernels compiled."""
    warm()
    return Ensemble(tuple(_member(seed) for seed in range(3)))


def _member(seed: int) -> arrayfile.ArrayFile:
    rng, writer = np.random.default_rng(seed), arrayfile.Writer(ORGANS, "uint8", GRID)
    for organ in ORGANS:
        writer.write(organ, rng.integers(0, 256, GRID.array_shape, np.uint8))
    return arrayfile.decode(writer.finish())


def work(ensemble: Ensemble) -> int:
    """Score as the service does."""
    heat = arrayfile.Writer(ORGANS, "uint8", GRID)
    for organ in PARITY.attend(ensemble, ORGANS, None):
        heat.write(organ.score.organ, organ.heat.voxels, organ.heat.corner)
    heat.finish()
    return needed_bytes(GRID, models=3, organs=len(ORGANS), compressed_bytes=0)
