"""What the strategy gained over the control arm."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import permutation_test

from services.scheduler.acquisition.gain import (
    Measure,
    Outcome,
    in_mm3_per_case,
    in_mm3_per_minute,
    in_revised_share,
)


def revised(mm3: float | None, minutes: float = 15.0) -> Outcome:
    return Outcome(True, minutes, mm3)


ACCEPTED = Outcome(False, 5.0, 0.0)


def test_the_share_that_was_revised_with_newcombes_interval() -> None:
    """His own example: 56 of 70 against 48 of 80 gives 0.2, from 0.0524 to 0.3339."""
    gain = in_revised_share([revised(1)] * 56 + [ACCEPTED] * 14, [revised(1)] * 48 + [ACCEPTED] * 32, 0.95)
    assert gain is not None
    assert (gain.strategy, gain.control) == (0.8, 0.6)
    assert (gain.difference, gain.lower, gain.upper) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_one_case_in_the_control_arm_proves_little() -> None:
    gain = in_revised_share([revised(1)] * 9, [ACCEPTED], 0.95)
    assert gain is not None
    assert gain.difference == 1
    assert 0 < gain.lower < 0.25
    assert gain.upper == pytest.approx(1)


def test_tissue_a_case_and_a_minute() -> None:
    strategy = [revised(9000, 30), revised(3000, 10)] * 4
    control = [revised(1000, 20), ACCEPTED]
    case, minute = in_mm3_per_case(strategy, control, 0.95), in_mm3_per_minute(strategy, control, 0.95)
    assert case is not None
    assert minute is not None
    assert (case.strategy, case.control, case.difference) == (6000, 500, 5500)
    assert (minute.strategy, minute.control) == (48000 / 160, 1000 / 25)
    # Of 45 splits one is left out at either end; the widest, 3000 - 1000 and 9000 - 0 mm^3, come four times each.
    assert (case.lower, case.upper) == pytest.approx((2000, 9000))


def campaign(generator: np.random.Generator, cases: int) -> list[Outcome]:
    """Reviews of one law: 60 % revised, by amounts of which few are very large."""
    tissue = generator.lognormal(8, 1, cases) * (generator.random(cases) < 0.6)
    times = generator.lognormal(2.5, 0.5, cases)
    return [Outcome(mm3 > 0, minutes, mm3) for mm3, minutes in zip(tissue.tolist(), times.tolist(), strict=True)]


@pytest.mark.parametrize("measure", [in_mm3_per_case, in_mm3_per_minute])
@pytest.mark.parametrize(("strategy", "control"), [(18, 2), (27, 3), (45, 5)])
def test_where_there_is_no_gain_none_is_told_more_often_than_is_said(
    measure: Measure, strategy: int, control: int
) -> None:
    """Of 200 campaigns 10 may leave 0 out; more than 20 would come by chance once in a thousand."""
    generator = np.random.default_rng(2)
    gains = [measure(campaign(generator, strategy), campaign(generator, control), 0.95) for _ in range(200)]
    assert sum(gain is not None and not gain.lower <= 0 <= gain.upper for gain in gains) <= 20


@pytest.mark.parametrize("measure", [in_mm3_per_case, in_mm3_per_minute])
def test_the_interval_holds_the_gains_that_a_permutation_test_does_not_reject(measure: Measure) -> None:
    """SciPy's, on the strategy's mm^3 less the gain: its p is above 2.5 % just inside of either end, not outside."""
    generator = np.random.default_rng(4)
    strategy, control = campaign(generator, 7), campaign(generator, 4)
    gain = measure(strategy, control, 0.95)
    assert gain is not None
    mm3 = np.array([outcome.revised_mm3 for outcome in strategy + control])
    costs = np.array([outcome.minutes if measure is in_mm3_per_minute else 1.0 for outcome in strategy + control])
    is_strategy = np.arange(11) < 7

    def p(assumed: float, alternative: str) -> float:
        left = mm3 - assumed * costs * is_strategy

        def difference(first: NDArray[np.intp], second: NDArray[np.intp]) -> float:
            return float(left[first].sum() / costs[first].sum() - left[second].sum() / costs[second].sum())

        cases = (np.arange(7), np.arange(7, 11))
        return float(permutation_test(cases, difference, vectorized=False, alternative=alternative).pvalue)

    step = 1e-6 * (gain.upper - gain.lower)
    assert p(gain.lower - step, "greater") <= 0.025 < p(gain.lower + step, "greater")
    assert p(gain.upper + step, "less") <= 0.025 < p(gain.upper - step, "less")


def test_where_no_split_of_the_cases_is_rare_enough_nothing_is_told() -> None:
    """7 cases against 2 can be split in 36 ways, 8 against 2 in 45: 2.5 % of the one is no split, of the other one."""
    accepted, lot = [ACCEPTED] * 2, [revised(float(mm3)) for mm3 in range(1, 9)]
    assert in_mm3_per_case(lot[1:], accepted, 0.95) is None
    assert in_mm3_per_case(lot, accepted, 0.95) is not None


@pytest.mark.parametrize("measure", [in_revised_share, in_mm3_per_case, in_mm3_per_minute])
def test_an_empty_arm_tells_nothing(measure: Measure) -> None:
    assert measure([], [ACCEPTED] * 9, 0.95) is None
    assert measure([revised(1)] * 9, [], 0.95) is None


@pytest.mark.parametrize("measure", [in_mm3_per_case, in_mm3_per_minute])
def test_what_was_not_measured_is_left_out(measure: Measure) -> None:
    measured = [revised(5), revised(6), revised(7), revised(8)]
    assert measure([*measured, revised(None)], measured, 0.95) == measure(measured, measured, 0.95)
    assert measure([revised(None)] * 9, measured, 0.95) is None
    assert measure([revised(5)], measured, 0.95) is None, "one case has no spread"


def test_the_interval_is_the_same_every_time_and_in_any_order() -> None:
    generator = np.random.default_rng(1)
    strategy = [revised(float(mm3)) for mm3 in generator.exponential(9000, 40)]
    control = [revised(float(mm3)) for mm3 in generator.exponential(3000, 12)]
    assert in_mm3_per_case(strategy, control, 0.95) == in_mm3_per_case(strategy[::-1], control[::-1], 0.95)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """60 campaigns of 40 and 20 cases: 95 % of 57; 48 or fewer would come by chance less than once in a thousand."""
    generator = np.random.default_rng(7)
    covered = 0
    for _ in range(60):
        strategy = [revised(float(mm3)) for mm3 in generator.gamma(2.0, 3000, 40)]
        control = [revised(float(mm3)) for mm3 in generator.gamma(2.0, 1000, 20)]
        gain = in_mm3_per_case(strategy, control, 0.95)
        assert gain is not None
        covered += gain.lower <= 4000 <= gain.upper
    assert covered > 48
