"""The worst input for a merge: nine organs whose ensemble is pure noise, on the very grid of the CT."""

import numpy as np

from services.core import arrayfile, classmaps
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.merging.combined import paint
from services.merging.fusion import fuse
from services.merging.memory import needed_bytes
from services.merging.warm import warm

GRID = Geometry((160, 160, 160), (1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0))
ORGANS = classmaps.load().organs


def prepare() -> Ensemble:
    """One model that answers noise, with all kernels compiled."""
    warm()
    rng, writer = np.random.default_rng(0), arrayfile.Writer(ORGANS, "uint8", GRID)
    for organ in ORGANS:
        writer.write(organ, rng.integers(0, 256, GRID.array_shape, np.uint8))
    return Ensemble((arrayfile.decode(writer.finish()),))


def work(ensemble: Ensemble) -> int:
    """Merge as the service does."""
    combined, ranks = np.zeros(GRID.array_shape, np.uint8), np.arange(256, dtype=np.int16)[::-1].copy()
    masks = arrayfile.Writer(ORGANS, "uint8", GRID)
    for label, organ in enumerate(ORGANS, start=1):
        mask = fuse(ensemble, organ, GRID)
        masks.write(organ, mask.voxels, mask.corner)
        paint(combined, mask, label, ranks)
    masks.finish()
    return needed_bytes(GRID, GRID, organs=len(ORGANS), compressed_bytes=0)
