"""The arithmetic of scaling, without a cluster."""

import pytest

from services.scheduler.cluster.scaling import Bounds, Look, justified, recent, wanted

BOUNDS = Bounds(least=0, most=4, volumes_per_pod=20, cooldown_seconds=600)


@pytest.mark.parametrize(
    ("backlog", "least", "pods"),
    [(0, 0, 0), (1, 0, 1), (20, 0, 1), (21, 0, 2), (80, 0, 4), (81, 0, 4), (100_000, 0, 4), (0, 1, 1), (21, 3, 3)],
)
def test_every_begun_lot_of_volumes_justifies_a_pod_within_the_bounds(backlog: int, least: int, pods: int) -> None:
    assert justified(backlog, Bounds(least, 4, 20, 600)) == pods


@pytest.mark.parametrize(
    ("current", "looks", "pods"),
    [
        # More is wanted at once, whenever the watch began.
        (0, [(1000, 1)], 1),
        (1, [(0, 1), (990, 1), (1000, 4)], 4),
        # Fewer only when no look within 600 s wanted as many; the one that reaches back to its beginning counts.
        (4, [(390, 4), (399, 0), (1000, 0)], 0),
        (4, [(390, 4), (401, 0), (1000, 0)], 4),
        (4, [(300, 0), (700, 2), (1000, 1)], 2),
        # Nobody knows what was needed before the first look.
        (3, [(401, 0), (1000, 0)], 3),
        (3, [(400, 0), (1000, 0)], 0),
        (0, [(1000, 0)], 0),
        # Somebody else set more than are allowed.
        (9, [(1000, 1)], 4),
    ],
)
def test_pods_go_only_after_the_cool_down(current: int, looks: list[tuple[float, int]], pods: int) -> None:
    counted = recent([Look(*look) for look in looks], 1000, BOUNDS)
    assert wanted(current, counted, 1000, BOUNDS) == pods


def test_fewer_than_the_least_are_never_wanted() -> None:
    assert wanted(0, [Look(0, 2)], 1000, Bounds(2, 4, 20, 600)) == 2


def test_looks_that_count_no_more_are_forgotten() -> None:
    """A year of looks takes no more room than a cool-down of them."""
    looks: list[Look] = []
    for time in range(0, 100_000, 15):
        looks = recent([*looks, Look(time, 1)], time, BOUNDS)
    assert len(looks) == 600 / 15 + 1
