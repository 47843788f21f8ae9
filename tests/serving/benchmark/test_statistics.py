"""The benchmark's arithmetic, on figures that can be checked by hand."""

import math

import pytest

from services.serving.benchmark import statistics
from services.serving.benchmark.rows import Measured


def row(case: str, organ: str, dsc: float, side: str = "a", network: str = "unet") -> Measured:
    return Measured(organ, dsc, dsc / 2, 1.0, 10.0, network=network, trained_on=side, tested_on="t", case=case)


def test_a_cases_mean_is_over_the_organs_that_its_truth_has() -> None:
    rows = [row("x", "liver", 0.8), row("x", "spleen", 0.6), row("y", "liver", 0.9)]
    assert statistics.by_case(rows, "dsc") == pytest.approx({"x": 0.7, "y": 0.9})
    assert statistics.by_case(rows, "nsd", "spleen") == {"x": 0.3}
    found = statistics.spread(rows, "dsc")
    assert found.count == 2
    assert found.mean == pytest.approx(0.8)
    assert found.sd == pytest.approx(math.sqrt(0.02))


def test_intervals_of_two_cases_are_wide_and_possible() -> None:
    """Two differences are no proof, even where both are gains; no DSC is above 1, and no difference above that."""
    rows = [row("x", "liver", 0.1), row("y", "liver", 0.6), row("x", "liver", 0.9, "b"), row("y", "liver", 0.8, "b")]
    spread = statistics.spread(rows[:2], "dsc")
    assert (spread.low, spread.high) == (0, 1)
    (difference, *_) = (pair.difference for pair in statistics.compared(rows, "a", "b"))
    assert difference.low < 0 < difference.mean < difference.high == 1


def test_holm_steps_down() -> None:
    """Of 0.01, 0.04, 0.03, 0.005: 4 x 0.005, then 3 x 0.01, 2 x 0.03, and 0.04 is raised to what came before it."""
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    assert statistics.holm([]) == []


def test_the_signed_rank_test_is_exact() -> None:
    """Six differences of one sign: 2 / 2^6."""
    assert statistics.wilcoxon([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == pytest.approx(2 / 64)
    assert statistics.wilcoxon([0.0, 0.0]) == 1.0


def test_trainings_are_compared_case_by_case() -> None:
    """b is better by 0.1 in every case, however the cases differ; a case that only one side has is left out."""
    cases = {"u": 0.1, "v": 0.3, "w": 0.5, "x": 0.7, "y": 0.9, "z": 0.2}
    rows = [row(case, "liver", dsc) for case, dsc in cases.items()]
    rows += [row(case, "liver", dsc + 0.1 - 0.001 * i, side="b") for i, (case, dsc) in enumerate(cases.items())]
    rows += [row("only a", "liver", 0.0)]
    pairs = statistics.compared(rows, "a", "b")
    of_means = [pair for pair in pairs if pair.organ == statistics.MEAN]
    assert [(pair.measure, pair.difference.count) for pair in of_means] == [("dsc", 6), ("nsd", 6)]
    assert of_means[0].difference.mean == pytest.approx(0.1, abs=0.003)
    assert of_means[0].p == pytest.approx(2 / 64)
    assert of_means[0].p_holm == pytest.approx(4 / 64), "two measures are one family"


def test_the_same_dataset_on_both_sides_differs_in_nothing() -> None:
    rows = [row(case, "liver", 0.5, side) for case in "xy" for side in "ab"]
    assert {pair.p_holm for pair in statistics.compared(rows, "a", "b")} == {1.0}
