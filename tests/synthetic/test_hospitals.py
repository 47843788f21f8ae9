"""Synthetic hospitals differ as they say, and the same seed shows the same patient in the same hospital."""

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from services.synthetic import HOSPITALS, SyntheticCase, make_case

SEEDS = (31, 32, 33)


@cache
def case(hospital: str, seed: int) -> SyntheticCase:
    return make_case(seed, profile=hospital)


def spleen_noise_hu(of: SyntheticCase) -> float:
    """Standard deviation inside the spleen."""
    inside = ndimage.binary_erosion(of.masks["spleen"], iterations=2)
    return float(of.ct[inside].std())


def median_hu(hospital: str, organ: str) -> float:
    cases = (case(hospital, seed) for seed in SEEDS)
    return float(np.mean([np.median(one.ct[one.masks[organ]]) for one in cases]))


@pytest.mark.parametrize(("hospital", "phases"), [("native", {"native"}), ("arterial", {"arterial"})])
def test_a_hospital_has_its_phase(hospital: str, phases: set[str]) -> None:
    assert {case(hospital, seed).phase for seed in SEEDS} == phases


def test_contrast_is_seen_in_the_aorta() -> None:
    assert median_hu("native", "aorta") + 60 < median_hu("portal", "aorta") < median_hu("arterial", "aorta") - 60


def test_a_low_dose_is_noisier() -> None:
    for seed in SEEDS:
        assert spleen_noise_hu(case("native", seed)) > 1.5 * spleen_noise_hu(case("portal", seed))


def test_the_stout_lie_in_wider_fields_with_thicker_slices() -> None:
    for seed in SEEDS:
        wide, lean = case("stout", seed).geometry, case("arterial", seed).geometry
        assert wide.shape[0] * wide.spacing_mm[0] > lean.shape[0] * lean.spacing_mm[0] + 30
        assert max(wide.spacing_mm) > 2 * max(lean.spacing_mm)


def test_calibration_is_the_scanners() -> None:
    """Fat reads lower where the scanner reads low; air stays within the range of a CT."""
    fat = {name: float(np.percentile(case(name, 31).ct, 40)) for name in ("portal", "stout")}
    assert fat["stout"] < fat["portal"]
    assert case("stout", 31).ct.min() >= -1024


def test_every_hospital_has_the_nine_organs() -> None:
    for hospital in HOSPITALS:
        masks = case(hospital, 31).masks
        assert len(masks) == 9
        assert all(mask.any() for organ, mask in masks.items() if organ != "gall_bladder"), hospital


def test_the_same_seed_gives_the_same_bytes() -> None:
    again = make_case(32, profile="surgery")
    assert np.array_equal(again.ct, case("surgery", 32).ct)
