"""After `warm`, no request pays for a compilation."""

import numpy as np
from numba.core.registry import CPUDispatcher

from services.core import blocks, boxes, components, lanes
from services.core.geometry import Geometry
from services.core.resample import sampling, to_grid
from services.uncertainty import (
    bitplanes,
    doubt,
    expected,
    faces,
    heat,
    morphology,
    region_sums,
    regions,
    runs,
    samples,
    signs,
    tissue,
    trimmed,
)
from services.uncertainty.profiles import PROFILES
from services.uncertainty.tissue import Hounsfield
from services.uncertainty.warm import warm
from tests.uncertainty.ensembles import blobs, ensemble

MODULES = (
    bitplanes,
    blocks,
    boxes,
    components,
    doubt,
    expected,
    faces,
    heat,
    lanes,
    morphology,
    region_sums,
    regions,
    runs,
    sampling,
    samples,
    signs,
    tissue,
    trimmed,
)


def compiled() -> dict[str, int]:
    """How many types of arguments every kernel is compiled for."""
    return {
        f"{module.__name__}.{name}": len(kernel.signatures)
        for module in MODULES
        for name, kernel in vars(module).items()
        if isinstance(kernel, CPUDispatcher)
    }


def test_everything_is_compiled_beforehand() -> None:
    warm()
    before = compiled()
    together = ensemble(blobs(0, ("aorta", "kidney_left", "liver", "spleen"), models=3, shape=(70, 60, 70)))
    for ct in (None, hounsfield(together.geometry, tilt=0.0), hounsfield(together.geometry, tilt=0.2)):
        for profile in PROFILES.values():
            assert sum(found.score.voxels for found in profile.attend(together, sorted(together.organs), None, ct))
    # As a check reads masks.
    together.members[0].channel("liver")
    assert compiled() == before


def hounsfield(grid: Geometry, tilt: float) -> Hounsfield:
    """A noisy CT, brought to a grid as a score does; with a tilt its own grid is not parallel to that."""
    matrix = grid.matrix
    matrix[0, 2] += tilt
    voxels = np.random.default_rng(0).normal(40, 60, grid.array_shape).astype(np.int16)
    return to_grid(voxels, Geometry.from_matrix(grid.shape, matrix), grid)
