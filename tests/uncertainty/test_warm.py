"""After `warm`, no request pays for a compilation."""

from numba.core.registry import CPUDispatcher

from services.core import boxes, components
from services.uncertainty import (
    bitplanes,
    doubt,
    faces,
    heat,
    lanes,
    morphology,
    region_sums,
    regions,
    runs,
    samples,
    signs,
    tissue,
)
from services.uncertainty.profiles import PROFILES
from services.uncertainty.warm import warm
from tests.uncertainty.ensembles import blobs, ensemble

MODULES = (
    bitplanes,
    boxes,
    components,
    doubt,
    faces,
    heat,
    lanes,
    morphology,
    region_sums,
    regions,
    runs,
    samples,
    signs,
    tissue,
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
    for profile in PROFILES.values():
        assert sum(found.score.voxels for found in profile.attend(together, sorted(together.organs), None))
    assert compiled() == before
