"""What a merge declares holds even for pure noise."""

from tests.components.peak import measure


def test_noise_stays_within_the_bound() -> None:
    measured = measure("tests.merging.noise")
    assert 0.4 * measured.bound < measured.growth < measured.bound
