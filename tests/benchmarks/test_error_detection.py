"""The benchmark of error detection counts as it says, and plants what it says."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib import pyplot as plt

from benchmarks.error_detection import curves, cuts, folders, judging, networks, planting, plots, samples, trial, works
from benchmarks.error_detection.__main__ import report
from benchmarks.error_detection.cases import LabelCase, Mask
from benchmarks.error_detection.curves import Scored
from benchmarks.error_detection.ensembles import STYLES, predict
from benchmarks.error_detection.fit import Evidence, findings_of, fitted, write
from benchmarks.error_detection.folders import CaseFiles
from benchmarks.error_detection.looked import Looked
from benchmarks.error_detection.samples import Spoken
from services.core import arrayfile
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.scheduler.acquisition import ORDERS, Setting
from services.uncertainty import calibration
from services.uncertainty.calibration import Calibration, Family
from services.uncertainty.profiles import find

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


def test_a_case_is_right_or_wrong_organ_by_organ_too() -> None:
    """The label of one organ is wrong and touched, that of the other right and left alone."""
    tally = judging.Tally()
    wrong = judging.judge(judging.errors_of(LABEL, ORGAN, GRID), ORGAN, GRID)
    right = judging.judge(judging.errors_of(ORGAN, ORGAN, GRID), np.zeros(GRID.array_shape, bool), GRID)
    tally.add({"liver": wrong, "spleen": right})
    liver, spleen = tally.by_organ["liver"], tally.by_organ["spleen"]
    assert (liver.cases, liver.wrong_cases, liver.found_cases, liver.clean_cases_silent) == (1, 1, 1, 0)
    assert (spleen.cases, spleen.wrong_cases, spleen.found_cases, spleen.clean_cases_silent) == (1, 0, 0, 1)
    assert (tally.total.wrong_cases, tally.total.clean_cases_silent) == (1, 0)


def scored(name: str, dsc: list[float], priority: int, **facts: float) -> Scored:
    return Scored(name, {"p": Looked(priority, {"organs_mm3": {"liver": 1.0}, **facts})}, dsc)


def test_reviewing_the_worst_case_first_gains_most() -> None:
    cases = [scored("a", [1.0], 1), scored("b", [0.5], 9)]
    np.testing.assert_allclose(curves.curve(cases, ["b", "a"]), [0.75, 1, 1])
    np.testing.assert_allclose(curves.curve(cases, ["a", "b"]), [0.75, 0.75, 1])
    np.testing.assert_array_equal(curves.curve(cases, ["b"]), curves.curve(cases, ["b", "a"]))
    with pytest.raises(ValueError, match="one name"):
        curves.curve([*cases, cases[0]], ["a"])
    found = curves.curves(cases, "p")
    assert curves.area(found["priority"]) == pytest.approx((0.875 + 1) / 2)
    # By lot the one or the other comes first.
    assert 0.75 < found["random"][1] < 1
    gained = curves.gains(cases, "p", found)
    assert gained["priority"].mean == pytest.approx(curves.area(found["priority"]) - curves.area(found["random"]))
    # Of two cases drawn with replacement there may be one case twice, whose order changes nothing.
    assert gained["priority"].low == pytest.approx(0)
    assert gained["priority"].high > gained["priority"].mean


def test_a_minute_is_dear_where_there_is_much_to_look_at() -> None:
    """Equal expected errors: the case with one region comes before that with thirty."""
    cases = [scored("many", [0.9], 5, organs=9, regions=30, expected_error_mm3=900.0)]
    cases += [scored("few", [0.9], 5, organs=1, regions=1, expected_error_mm3=900.0)]
    many, few = curves.candidates(cases, "p")
    assert many.minutes > few.minutes
    assert [c.volume for c in ORDERS["error_per_minute"]([many, few], Setting())] == ["few", "many"]


def predictions_of(*labels: Mask) -> list[bytes]:
    return [arrayfile.encode(["liver"], [label.astype(np.uint8) * 255], GRID) for label in labels]


def test_acquisition_sees_what_the_product_would_tell_a_campaign() -> None:
    """Priority, expected error and work are those of the profile's own scores, not sums over the drawn heat."""
    case = LabelCase("block", GRID, {"liver": ORGAN})
    files = predictions_of(ORGAN, ORGAN, LABEL)
    outcome = trial.judged(case, files, 0)
    ensemble = Ensemble(tuple(map(arrayfile.decode, files)))
    (found,) = find("calibrated").attend(ensemble, ["liver"])
    expected = sum(region.expected_mm3 for region in found.regions)
    (candidate,) = curves.candidates([outcome.scored], "calibrated")
    assert expected > 0
    assert candidate.expected_error_mm3 == pytest.approx(expected)
    assert candidate.priority == round(expected)
    assert outcome.scored.looked["calibrated"].facts["regions"] == len(found.regions)
    assert outcome.scored.looked["parity"].facts["regions"] == 0
    (parity,) = curves.candidates([outcome.scored], "parity")
    assert parity.attention_mm3 == parity.expected_error_mm3 == pytest.approx(parity.priority * GRID.voxel_volume_mm3)
    assert candidate.organs_mm3 == {"liver": pytest.approx(np.count_nonzero(ORGAN) * GRID.voxel_volume_mm3)}


def test_a_threshold_shows_what_is_as_probable(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that is there above 0.99 is nothing, and from the shipped threshold on what ships."""
    least = calibration.load().least_probability
    monkeypatch.setattr(cuts, "SHOWN_FROM", (0.99, least))
    outcome = trial.judged(LabelCase("block", GRID, {"liver": ORGAN}), predictions_of(ORGAN, LABEL, LABEL), 0)
    assert set(outcome.cuts) == {(False, 0.99), (False, least)}
    assert outcome.cuts[False, 0.99]["liver"].attention_ml == 0
    shown = outcome.cuts[False, least]["liver"].attention_ml
    assert shown == outcome.counts["calibrated"]["liver"].attention_ml > 0


def test_every_candidate_knows_whether_it_is_wrong() -> None:
    """One of three models lacks a part: the label is right, and no candidate is an error; two lack it, and one is."""
    case = LabelCase("block", GRID, {"liver": ORGAN})
    right = trial.judged(case, predictions_of(ORGAN, ORGAN, LABEL), 0).samples
    wrong = trial.judged(case, predictions_of(ORGAN, LABEL, LABEL), 0).samples
    assert right
    assert not any(sample.wrong for sample in right)
    assert any(sample.wrong for sample in wrong)


def test_reliability_is_stated_against_found() -> None:
    low, high = samples.reliability(np.array([0.02, 0.04, 0.9, 0.9]), np.array([0.0, 1.0, 1.0, 1.0]))
    assert low.stated == pytest.approx(0.03)
    assert high.stated == pytest.approx(0.9)
    assert [(one.found, one.regions) for one in (low, high)] == [(0.5, 2), (1.0, 2)]


def test_the_tables_and_the_last_line_hold_every_figure(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One case with a planted error, none of the networks: what cannot be known is null, and the curves end at 1."""
    planted = trial.Trial()
    planted.add(trial.judged(LabelCase("block", GRID, {"liver": ORGAN}), predictions_of(ORGAN, LABEL, LABEL), 0))
    report(planted, trial.Trial(), None)
    *lines, last = capsys.readouterr().out.strip().splitlines()
    found = json.loads(last)
    assert set(found) == {"parity", "calibrated"}
    figures = {"sensitivity", "precision", "iou10_sensitivity", "iou10_precision", "ml_per_true_ml"}
    for profile in found.values():
        assert set(profile) == figures | {f"real_{figure}" for figure in figures} | {
            "auc_gain_over_random",
            "auc_gain_interval",
        }
        assert profile["sensitivity"] == 1.0
        assert profile["real_sensitivity"] is None
    rows = {line.split("|")[1].strip(): line for line in lines if line.startswith("|")}
    assert {"**parity**", "calibrated: liver (1)", "without a CT, 0.07", "calibrated, error per minute"} <= set(rows)
    assert rows["parity, diversity"].split("|")[-4].strip() == "1.0000"


def test_pictures_are_drawn(tmp_path: Path) -> None:
    """A slice shows the error, and each profile's attention beside it."""
    ct = np.where(ORGAN, 100, -80).astype(np.int16)
    case = LabelCase("block", GRID, {"liver": ORGAN}, ct)
    plots.attention(tmp_path / "attention.png", case, predictions_of(ORGAN, LABEL, LABEL))
    plots.reliability(tmp_path / "reliability.png", {"with the CT": {"planted": [samples.Bin(0.5, 0.4, 10)]}})
    plots.curves(tmp_path / "curves.png", {"p": {"random": np.array([0.5, 1.0])}})
    pixels = plt.imread(tmp_path / "attention.png")[..., :3]
    # Red for the error on the left, yellow for attention to the right of it.
    third = pixels.shape[1] // 3
    red = (pixels[..., 0] - pixels[..., 1] > 0.2) & (pixels[..., 1] - pixels[..., 2] < 0.1)
    yellow = pixels[..., 1] - pixels[..., 2] > 0.2
    assert red[:, :third].any()
    assert not red[:, third:].any()
    assert yellow[:, third : 2 * third].any()
    # Attention is drawn grown, so that it is more than the error.
    assert np.count_nonzero(yellow[:, 2 * third :]) > np.count_nonzero(red)
    assert all((tmp_path / f"{name}.png").stat().st_size > 5000 for name in ("reliability", "curves"))


def test_a_case_that_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    """Also by the process that reads it, which hands the refusal back."""
    path = tmp_path / "liver.nii.gz"
    path.write_text("no mask")
    case = partial(folders.read, CaseFiles("broken", {"liver": path}))
    found = trial.run(works.plantings(iter([case]), 1, 3), lambda _: None)
    assert found.scored == []
    (why,) = found.left_out
    assert str(path) in why


def test_the_same_case_is_predicted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a network said of a CT is kept, and not taken for what it says of another."""
    monkeypatch.setattr(networks, "KEPT", tmp_path)
    grid = Geometry.from_matrix((48, 48, 48), np.diag([1.5, 1.5, 1.5, 1.0]))
    ct = np.full(grid.array_shape, 40, np.int16)
    (first,) = networks.predicted(Path("models"), ct, grid, ["unet"])
    (kept,) = tmp_path.iterdir()
    kept.write_bytes(b"kept")
    assert networks.predicted(Path("models"), ct, grid, ["unet"]) == [b"kept"]
    assert networks.predicted(Path("models"), ct + np.int16(1), grid, ["unet"]) != [b"kept"]
    assert arrayfile.decode(first).geometry == grid


def test_the_fit_finds_the_weights_that_drew_the_samples() -> None:
    rng = np.random.default_rng(0)
    features = np.column_stack([np.ones(20_000), rng.normal(2, 3, 20_000), rng.normal(0, 0.2, 20_000)])
    weights = np.array([-2.0, 0.5, 4.0])
    wrong = (rng.random(20_000) < 1 / (1 + np.exp(-features @ weights))).astype(float)
    np.testing.assert_allclose(fitted(features, wrong, np.ones(20_000)), weights, atol=0.2)


def test_rules_that_have_spoken_are_counted_and_the_others_keep_what_was_chosen() -> None:
    said = [Spoken("leak", True), Spoken("leak", True), Spoken("leak", False), Spoken("ragged", True)]
    evidence = [Evidence("crisp", [], said)]
    chosen = {"leak": 0.9, "hollow": 0.4, "ragged": 0.0}
    assert findings_of(evidence, chosen) == {"leak": 3 / 5, "hollow": 0.4, "ragged": 0.0}


def test_a_fit_is_written_into_the_file_that_ships_and_leaves_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "calibration.yaml"
    shipped = Path("services/uncertainty/calibration.yaml").read_text()
    path.write_text(shipped)
    before = calibration.load()
    write(path, before.weights, before.findings)
    assert Calibration.model_validate(yaml.safe_load(path.read_text())) == before
    weights = {Family.LIKE: dict.fromkeys(("intercept", *Family.LIKE.features), 1.5)}
    write(path, weights, {**before.findings, "leak": 0.123})
    after = Calibration.model_validate(yaml.safe_load(path.read_text()))
    assert after.weights[Family.LIKE] == weights[Family.LIKE]
    assert after.weights[Family.DOUBT] == before.weights[Family.DOUBT]
    assert (after.findings["leak"], after.findings["hollow"]) == (0.12, before.findings["hollow"])
    assert after.open_mm == before.open_mm
    assert path.read_text().splitlines()[:4] == shipped.splitlines()[:4]
