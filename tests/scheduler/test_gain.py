"""What the strategy gained over the control arm."""

import numpy as np
import pytest

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
    strategy = [revised(9000, 30), revised(3000, 10)]
    control = [revised(1000, 20), ACCEPTED]
    case, minute = in_mm3_per_case(strategy, control, 0.95), in_mm3_per_minute(strategy, control, 0.95)
    assert case is not None
    assert minute is not None
    assert (case.strategy, case.control, case.difference) == (6000, 500, 5500)
    assert (minute.strategy, minute.control) == (12000 / 40, 1000 / 25)
    # The means of two drawn again are 3000, 6000 or 9000, and 0, 500 or 1000.
    assert (case.lower, case.upper) == (2000, 9000)


@pytest.mark.parametrize("measure", [in_revised_share, in_mm3_per_case, in_mm3_per_minute])
def test_an_empty_arm_tells_nothing(measure: Measure) -> None:
    assert measure([], [ACCEPTED] * 9, 0.95) is None
    assert measure([revised(1)] * 9, [], 0.95) is None


@pytest.mark.parametrize("measure", [in_mm3_per_case, in_mm3_per_minute])
def test_what_was_not_measured_is_left_out(measure: Measure) -> None:
    measured = [revised(5), revised(6), revised(7)]
    assert measure([*measured, revised(None)], measured, 0.95) == measure(measured, measured, 0.95)
    assert measure([revised(None)] * 9, measured, 0.95) is None
    assert measure([revised(5)], measured, 0.95) is None, "one case has no spread"


def test_the_interval_is_the_same_every_time_and_in_any_order() -> None:
    generator = np.random.default_rng(1)
    strategy = [revised(float(mm3)) for mm3 in generator.exponential(9000, 40)]
    control = [revised(float(mm3)) for mm3 in generator.exponential(3000, 12)]
    assert in_mm3_per_case(strategy, control, 0.95) == in_mm3_per_case(strategy[::-1], control[::-1], 0.95)


def test_the_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
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
