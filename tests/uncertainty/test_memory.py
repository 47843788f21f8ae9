"""What a score or a check declares holds even for pure noise."""

from services.core.geometry import Geometry
from services.uncertainty.memory import needed_bytes
from tests.components.peak import measure


def test_noise_stays_within_the_bound() -> None:
    measured = measure("tests.uncertainty.noise")
    assert 0.3 * measured.bound < measured.growth < measured.bound


def test_a_check_of_the_worst_masks_stays_within_the_bound() -> None:
    measured = measure("tests.uncertainty.priors.noise")
    assert 0.2 * measured.bound < measured.growth < measured.bound


def test_a_whole_trunk_stays_far_below_floats_of_all_classes() -> None:
    """250x250x300 voxels, nine organs, three models: float64 alone would take 4 GB."""
    grid = Geometry((250, 250, 300), (1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0))
    assert needed_bytes(grid, models=3, organs=9, compressed_bytes=10**7) < 1e9
