"""A version is promoted only if no organ regresses beyond its interval."""

import json

import numpy as np
import pytest

from services.serving.training.gate import judge

ORGANS = ("liver", "spleen", "pancreas")


def test_noise_passes_and_a_regress_does_not() -> None:
    """Ups and downs around nothing are the same; twenty small losses in a row are not."""
    rng = np.random.default_rng(0)
    before = rng.uniform(0.8, 0.9, (20, 3))
    after = before + np.stack([rng.normal(0, 0.02, 20), np.full(20, 0.03) + rng.normal(0, 0.01, 20), np.zeros(20)], 1)
    verdict = judge(ORGANS, before, after)
    assert verdict.promoted
    assert [row.change for row in verdict.organs] == ["same", "better", "same"]
    after[:, 2] -= rng.uniform(0.005, 0.02, 20)
    verdict = judge(ORGANS, before, after)
    assert not verdict.promoted
    assert [row.change for row in verdict.organs] == ["same", "better", "worse"]
    assert verdict.reasons[0].startswith("pancreas regresses by 0.0")
    assert judge(ORGANS, before, after, margin=0.02).promoted


def test_the_interval_covers_the_truth() -> None:
    """The true mean lies in the 90 % interval of 30 cases in about nine of ten trials."""
    rng = np.random.default_rng(1)
    hits = 0
    for trial in range(100):
        after = rng.normal(0.01, 0.05, (30, 1))
        (row,) = judge(["liver"], np.zeros((30, 1)), after, confidence=0.9, resamples=500, seed=trial).organs
        assert row.low is not None
        assert row.high is not None
        hits += row.low <= 0.01 <= row.high
    assert 80 <= hits <= 98


def test_cases_without_an_organ_are_left_out() -> None:
    before = np.array([[0.5, np.nan, np.nan], [0.6, 0.7, np.nan]])
    verdict = judge(ORGANS, before, before + 0.1, tuned=["pancreas"])
    assert [(row.cases, row.change) for row in verdict.organs] == [(2, "better"), (1, "better"), (0, "unmeasured")]
    assert verdict.reasons == ("No held-out case has pancreas, which was tuned.",)
    assert judge(ORGANS, before, before + 0.1, tuned=["liver"]).promoted, (
        "an organ that nobody touched may be unmeasured"
    )


def test_one_case_decides_by_its_difference() -> None:
    before = np.array([[0.5, 0.5, 0.5]])
    assert judge(ORGANS, before, before).promoted
    assert not judge(ORGANS, before, before - [0, 0.01, 0]).promoted


def test_few_cases_are_judged_by_students_interval() -> None:
    """Differences of 1, 2 and 3 %: mean 2, standard error 1 / sqrt(3), t of 2 degrees of freedom 4.303. Small losses
    whose spread would allow none are no loss; in more cases the bootstrap is as it was."""
    losses = -np.array([[0.01], [0.02], [0.03]])
    (row,) = judge(["liver"], np.full((3, 1), 0.5), 0.5 + losses).organs
    assert [row.low, row.high] == pytest.approx([-0.02 - 0.024843, -0.02 + 0.024843], abs=1e-5)
    assert row.change == "same"
    (row,) = judge(["liver"], np.full((2, 1), 0.5), 0.5 - np.array([[1e-6], [3e-6]])).organs
    assert row.change == "same"
    (row,) = judge(["liver"], np.full((6, 1), 0.5), 0.5 + np.concatenate([losses, losses])).organs
    assert row.change == "worse"
    assert row.low is not None
    assert row.low >= -0.03, "a bootstrap never leaves the data"


@pytest.mark.parametrize(
    "losses", [(0.9, 0.45), (0.2, 0.5, 0.6), (0.05, 0.3, 0.6, 0.1), (0.9, 0.45, 0.0, 0.0, 0.0, 0.0)]
)
def test_a_large_loss_is_refused_however_wide_its_interval(losses: tuple[float, ...]) -> None:
    """Two ruined cases prove nothing to an interval, and yet nobody wants that version; nor is any DSC below -1."""
    before = np.full((len(losses), 1), 0.9)
    verdict = judge(["liver"], before, before - np.array(losses)[:, None])
    (row,) = verdict.organs
    assert row.low is not None
    assert row.high is not None
    assert -1 <= row.low <= row.high <= 1
    assert row.high >= 0, "the interval alone would let it pass"
    assert row.change == "worse"
    (reason,) = verdict.reasons
    assert reason.startswith(f"liver loses {np.mean(losses):.4f} DSC")
    assert f"held-out cases: {len(losses)}, too few to tell whether by chance" in reason
    assert "more than 0.0500 DSC in the mean" in verdict.markdown()


def test_a_larger_margin_allows_a_larger_loss() -> None:
    before, losses = np.full((2, 1), 0.9), np.array([[0.05], [0.2]])
    assert not judge(["liver"], before, before - losses, margin=0.1).promoted
    verdict = judge(["liver"], before, before - losses, margin=0.13)
    assert verdict.promoted
    assert "more than 0.1300 DSC in the mean" in verdict.markdown()


def test_the_table_says_what_was_found() -> None:
    before = np.array([[0.5, np.nan, 0.5]] * 3)
    verdict = judge(ORGANS, before, before - [0.1, 0, 0])
    text = verdict.markdown()
    assert "| liver | 3 | 0.5000 | 0.4000 | -0.1000 | -0.1000 to -0.1000 | worse |" in text
    assert "below minus 0.0000 DSC. Intervals are Student's t of fewer than 6 cases" in text
    assert "| spleen | 0 | | | | | unmeasured |" in text
    assert text.endswith("Refused. liver regresses by 0.1000 DSC (held-out cases: 3).\n")
    assert json.loads(json.dumps(verdict.as_dict()))["promoted"] is False


def test_tables_of_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="are not"):
        judge(ORGANS, np.zeros((2, 3)), np.zeros((3, 3)))
