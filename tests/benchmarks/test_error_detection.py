"""The benchmark of error detection counts as it says, and plants what it says."""

import numpy as np
import pytest

from benchmarks.error_detection import curves, judging, planting
from benchmarks.error_detection.cases import LabelCase, Mask
from benchmarks.error_detection.ensembles import STYLES, predict
from benchmarks.error_detection.fit import fitted
from services.core.geometry import Geometry
from services.scheduler.acquisition import Candidate

GRID = Geometry.from_matrix((60, 60, 60), np.diag([1.5, 1.5, 1.5, 1.0]))
SPACING = (1.5, 1.5, 1.5)


def block(*bounds: tuple[int, int]) -> Mask:
    mask = np.zeros(GRID.array_shape, bool)
    k, j, i = (slice(*bound) for bound in bounds)
    mask[k, j, i] = True
    return mask


ORGAN = block((10, 40), (10, 40), (10, 40))
LABEL = block((10, 40), (10, 40), (10, 30))


def test_a_missing_part_is_one_region_and_a_border_off_by_a_voxel_is_none() -> None:
    assert judging.errors_of(LABEL, ORGAN, GRID).count == 1
    thin = judging.errors_of(block((10, 40), (10, 40), (10, 39)), ORGAN, GRID)
    assert (thin.count, np.count_nonzero(thin.voxels)) == (0, 900)


def test_touch_is_not_agreement() -> None:
    """A speck on the error touches it, half of the error meets it, a speck elsewhere is a false alarm."""
    errors = judging.errors_of(LABEL, ORGAN, GRID)
    speck = judging.judge(errors, block((20, 22), (20, 22), (34, 36)) | block((50, 52), (50, 52), (50, 52)), GRID)
    assert (speck.sensitivity, speck.precision, speck.iou10_sensitivity) == (1.0, 0.5, 0.0)
    half = judging.judge(errors, block((10, 25), (10, 40), (30, 40)), GRID)
    assert (half.iou10_sensitivity, half.iou10_precision, half.voxel_precision) == (1.0, 1.0, 1.0)
    assert half.ml_per_true_ml == pytest.approx(0.5)


def test_nothing_marked_has_no_precision() -> None:
    counts = judging.judge(judging.errors_of(LABEL, ORGAN, GRID), np.zeros(GRID.array_shape, bool), GRID)
    assert counts.sensitivity == 0
    assert np.isnan(counts.precision)


def test_a_tally_tells_wrong_cases_from_right_ones() -> None:
    tally = judging.Tally()
    nothing = np.zeros(GRID.array_shape, bool)
    tally.add({"liver": judging.judge(judging.errors_of(LABEL, ORGAN, GRID), ORGAN, GRID)})
    tally.add({"liver": judging.judge(judging.errors_of(ORGAN, ORGAN, GRID), nothing, GRID)})
    total = tally.total
    assert (total.cases, total.wrong_cases, total.found_cases, total.clean_cases_silent) == (2, 1, 1, 1)


def test_errors_are_seeded_and_change_what_they_say() -> None:
    truth = {"liver": ORGAN, "spleen": block((10, 40), (10, 40), (42, 55))}
    for seed in range(6):
        planted = planting.plant(np.random.default_rng(seed), truth, SPACING, models=3, errors=2)
        again = planting.plant(np.random.default_rng(seed), truth, SPACING, models=3, errors=2)
        assert [(p.kind, p.models) for p in planted] == [(p.kind, p.models) for p in again]
        for error in planted:
            assert error.models in [(0, 1, 2), (0, 1), (0, 2), (1, 2), (0,), (1,), (2,)]
            assert any(not np.array_equal(mask, truth[organ]) for organ, mask in error.wrong.items())


@pytest.mark.parametrize("style", list(STYLES))
def test_models_predict_their_own_masks(style: str) -> None:
    """Who makes an error shows it, who does not shows the truth, within the wandering of the border."""
    case = LabelCase("block", GRID, {"liver": ORGAN})
    error = planting.Planted("lobe", (1,), {"liver": LABEL})
    models = predict(np.random.default_rng(0), case, [error], STYLES[style], 3)
    part = block((14, 36), (14, 36), (34, 37))
    shares = [float((model["liver"][part] >= 128).mean()) for model in models]
    assert shares[1] < 0.2
    assert min(shares[0], shares[2]) > 0.8


def test_reviewing_the_worst_case_first_gains_most() -> None:
    candidates = [Candidate(volume=name, priority=priority) for name, priority in (("a", 1), ("b", 9))]
    cases = [curves.Scored({"p": c}, dsc) for c, dsc in zip(candidates, ([1.0], [0.5]), strict=True)]
    assert curves.area(cases, ["b", "a"], "p") == pytest.approx((0.875 + 1) / 2)
    assert curves.area(cases, ["a", "b"], "p") == pytest.approx((0.75 + 0.875) / 2)
    assert curves.area(cases, ["b"], "p") == curves.area(cases, ["b", "a"], "p")


def test_the_fit_finds_the_weights_that_drew_the_samples() -> None:
    rng = np.random.default_rng(0)
    features = np.column_stack([np.ones(20_000), rng.normal(2, 3, 20_000), rng.normal(0, 0.2, 20_000)])
    weights = np.array([-2.0, 0.5, 4.0])
    wrong = (rng.random(20_000) < 1 / (1 + np.exp(-features @ weights))).astype(float)
    np.testing.assert_allclose(fitted(features, wrong, np.ones(20_000)), weights, atol=0.2)
