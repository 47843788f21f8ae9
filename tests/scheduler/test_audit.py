"""The exact bound on the share of wrong cases, held to SciPy's beta distribution."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta, binom, hypergeom

from services.scheduler.acquisition.audit import cases_needed, level, upper_bound


@pytest.mark.parametrize(
    ("errors", "cases", "confidence", "bound"),
    [
        (0, 59, 0.95, 0.0495),
        (0, 58, 0.95, 0.0503),
        (0, 299, 0.95, 0.00997),
        (0, 1, 0.95, 0.95),
        (1, 10, 0.95, 0.3942),
        (55, 8448, 0.95, 0.00815),
        (3, 3, 0.95, 1.0),
        (0, 0, 0.95, 1.0),
    ],
)
def test_known_bounds(errors: int, cases: int, confidence: float, bound: float) -> None:
    assert upper_bound(errors, cases, confidence) == pytest.approx(bound, rel=2e-3)


@given(st.integers(1, 5000), st.data(), st.sampled_from([0.5, 0.8, 0.95, 0.975, 0.999]))
def test_the_bound_is_that_of_clopper_and_pearson(cases: int, data: st.DataObject, confidence: float) -> None:
    errors = data.draw(st.integers(0, min(cases - 1, 200)))
    expected = float(beta.ppf(confidence, errors + 1, cases - errors))
    assert upper_bound(errors, cases, confidence) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("cases", [20, 100])
def test_the_bound_holds_as_often_as_it_says(share: float, cases: int) -> None:
    """Summed over everything that a sample can show."""
    covered = sum(
        float(binom.pmf(errors, cases, share))
        for errors in range(cases + 1)
        if upper_bound(errors, cases, 0.95) >= share
    )
    assert covered >= 0.95


@pytest.mark.parametrize(("volumes", "cases"), [(90, 72), (90, 85), (400, 72), (400, 142)])
def test_of_a_finite_archive_it_holds_for_all_volumes_that_the_sample_was_drawn_from(volumes: int, cases: int) -> None:
    """Summed over everything that a sample can show, for every number of wrong ones.

    Of those that were not in the sample it does not: where one of 90 is wrong, a sample of 72 misses it in a fifth.
    """
    bounds = [upper_bound(errors, cases, 0.975) for errors in range(cases + 1)]
    for wrong in range(volumes + 1):
        missed = sum(
            float(hypergeom.pmf(errors, volumes, wrong, cases))
            for errors, bound in enumerate(bounds)
            if bound < wrong / volumes
        )
        assert missed <= 0.025, wrong
    assert hypergeom.pmf(0, 90, 1, 72) == pytest.approx(0.2)
    assert upper_bound(0, 72, 0.975) < 1 / (90 - 72)


@pytest.mark.parametrize(
    ("target", "confidence", "errors", "cases"),
    [(0.05, 0.95, 0, 59), (0.01, 0.95, 0, 299), (0.05, 0.975, 0, 72), (0.05, 0.95, 1, 93), (0.5, 0.5, 0, 1)],
)
def test_how_many_cases_an_audit_needs(target: float, confidence: float, errors: int, cases: int) -> None:
    assert cases_needed(target, confidence, errors) == cases


@given(st.floats(0.002, 0.9), st.floats(0.5, 0.999), st.integers(0, 5))
def test_one_case_fewer_would_not_do(target: float, confidence: float, errors: int) -> None:
    cases = cases_needed(target, confidence, errors)
    assert upper_bound(errors, cases, confidence) <= target
    assert upper_bound(errors, cases - 1, confidence) > target


def test_all_audits_together_risk_no_more_than_was_said() -> None:
    assert [level(0.95, number) for number in (1, 2, 3)] == pytest.approx([0.975, 0.9875, 0.99375])
    assert sum(1 - level(0.95, number) for number in range(1, 40)) <= 0.05


def test_the_guide_tells_the_sizes_that_audits_have() -> None:
    """docs/campaigns.md, "When to stop": a row a target, a column a confidence, the first and the second audit."""
    guide = (Path(__file__).parents[2] / "docs" / "campaigns.md").read_text()
    rows = re.findall(r"^\| (\d+) % \| (\d+), (\d+) \| (\d+), (\d+) \| (\d+), (\d+) \|$", guide, re.MULTILINE)
    assert len(rows) == 4
    for target, *sizes in rows:
        expected = [
            cases_needed(int(target) / 100, level(confidence, number))
            for confidence in (0.9, 0.95, 0.99)
            for number in (1, 2)
        ]
        assert [int(size) for size in sizes] == expected
    assert "2 of 142 still prove 5 % at 95 %" in guide
    assert cases_needed(0.05, level(0.95, 1), errors=2) == 142
