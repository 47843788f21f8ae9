"""The worst input for a score: nine organs from three models that are unsure of every voxel, their majority noise."""

import numpy as np

from services.core import arrayfile, classmaps
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.uncertainty.memory import needed_bytes
from services.uncertainty.profiles import PROFILES
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
        writer.write(organ, rng.integers(100, 160, GRID.array_shape, np.uint8))
    return arrayfile.decode(writer.finish())


def work(ensemble: Ensemble) -> int:
    """Score as the service does, by every profile."""
    for profile in PROFILES.values():
        heat = arrayfile.Writer(ORGANS, "uint8", GRID)
        for organ in profile.attend(ensemble, ORGANS, None):
            heat.write(organ.score.organ, organ.heat.voxels, organ.heat.corner)
        heat.finish()
    return needed_bytes(GRID, models=3, organs=len(ORGANS), compressed_bytes=0)
