"""Mean, spread and the interval of the mean over cases."""

import math

import numpy as np
import pytest
from scipy import stats

from services.core.metrics.summary import summarise


def test_what_is_no_number_is_left_out_and_counted() -> None:
    found = summarise([0.5, math.nan, 1.0, math.inf, 0.0])
    assert (found.count, found.left_out) == (3, 2)
    assert (found.mean, found.median) == (0.5, 0.5)
    assert found.sd == pytest.approx(0.5)


def test_few_values_say_what_they_can() -> None:
    nothing, one = summarise([math.nan]), summarise([0.7])
    assert (nothing.count, nothing.left_out) == (0, 1)
    assert all(math.isnan(v) for v in (nothing.mean, nothing.sd, nothing.median, nothing.low, nothing.high))
    assert (one.mean, one.median) == (0.7, 0.7)
    assert all(math.isnan(v) for v in (one.sd, one.low, one.high))


def test_the_interval_is_the_percentile_bootstraps() -> None:
    values = np.random.default_rng(3).beta(8, 2, 60)
    found = summarise(values.tolist())
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=9999, random_state=0)
    assert found.low == pytest.approx(theirs.confidence_interval.low, abs=0.005)
    assert found.high == pytest.approx(theirs.confidence_interval.high, abs=0.005)
    assert found.sd == pytest.approx(values.std(ddof=1))


def test_the_interval_of_few_values_is_students() -> None:
    """Of 1, 2 and 3: standard error 1 / sqrt(3), t of 2 degrees of freedom 4.303."""
    found = summarise([3.0, 1.0, 2.0])
    assert [found.low, found.high] == pytest.approx([2 - 2.48414, 2 + 2.48414], abs=1e-4)
    same = summarise([0.7] * 5)
    assert [same.low, same.high] == pytest.approx([0.7, 0.7])


@pytest.mark.parametrize("count", [2, 4, 6, 12, 20, 29, 30])
def test_the_interval_misses_the_truth_about_as_often_as_it_says(count: int) -> None:
    """5 % of normal samples; a percentile bootstrap of two values would miss it in half of them."""
    rng = np.random.default_rng(count)
    found = [summarise(rng.normal(0.8, 0.1, count).tolist(), seed=trial) for trial in range(1000)]
    assert sum(not one.low <= 0.8 <= one.high for one in found) < 85


def test_no_bound_lies_where_no_value_can() -> None:
    found = summarise([0.99, 0.9], within=(0.0, 1.0))
    assert found.high == 1
    assert 0 < found.low < 0.9
    assert summarise([0.99, 0.9]).high > 1


def test_the_same_values_give_the_same_interval_in_any_order() -> None:
    values = np.random.default_rng(4).random(300).tolist()
    assert summarise(values) == summarise(values[::-1])
    assert summarise(values) != summarise(values, seed=1)


def test_thousands_of_cases_are_resampled_in_bounded_blocks() -> None:
    values = np.random.default_rng(5).normal(0, 1, 30_000)
    found = summarise(values.tolist(), seed=2)
    standard_error = values.std() / math.sqrt(len(values))
    assert found.high - found.low == pytest.approx(2 * 1.96 * standard_error, rel=0.1)
