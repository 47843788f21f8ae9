"""The generator's patients look like patients, wherever the scanner puts its axes."""

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray

from services.core import classmaps
from services.core.geometry import Geometry
from services.synthetic import SyntheticCase, make_case
from services.synthetic.patients import Patient
from services.synthetic.profiles import PROFILES
from services.synthetic.scans import scan_geometry

SEEDS = (1, 2, 3, 4, 5)
# A little wider than what is seen over hundreds of patients (ml).
PLAUSIBLE_ML = {
    "aorta": (30, 200), "gall_bladder": (3, 120), "kidney_left": (50, 350), "kidney_right": (50, 350),
    "liver": (600, 2600), "pancreas": (20, 170), "postcava": (20, 260), "spleen": (40, 420), "stomach": (100, 800),
}  # fmt: skip


def grid(code: str = "RAS", spacing: float = 4.0, half_mm: tuple[int, int, int] = (180, 140, 140)) -> Geometry:
    """A grid around the origin whose index axes run along `code`."""
    matrix, shape = np.eye(4), []
    matrix[:3, :3] = 0
    for column, letter in enumerate(code):
        axis = next(a for a in range(3) if letter in ("RL", "AP", "SI")[a])
        sign = 1 if letter in "RAS" else -1
        shape.append(int(2 * half_mm[axis] / spacing))
        matrix[axis, column] = sign * spacing
        matrix[axis, 3] = -sign * (half_mm[axis] - spacing / 2)
    return Geometry.from_matrix((shape[0], shape[1], shape[2]), matrix)


@cache
def patient(seed: int) -> SyntheticCase:
    return make_case(seed, geometry=grid())


def centre_mm(mask: NDArray[np.bool_], geometry: Geometry) -> NDArray[np.float64]:
    k, j, i = (axis.mean() for axis in np.nonzero(mask))
    return np.asarray((geometry.matrix @ [i, j, k, 1])[:3])


def test_a_case_has_the_organs_of_the_class_map() -> None:
    case = patient(1)
    assert tuple(case.masks) == classmaps.load("abdomenatlas-1.0").organs
    assert case.ct.dtype == np.int16
    assert case.ct.shape == case.geometry.array_shape
    assert all(mask.shape == case.ct.shape and mask.dtype == np.bool_ for mask in case.masks.values())


def test_organs_are_disjoint() -> None:
    assert np.sum(list(patient(1).masks.values()), axis=0).max() == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_left_is_left(seed: int) -> None:
    """In RAS, x grows to the patient's right: liver, right kidney and postcava lie there."""
    case = patient(seed)
    x, y, z = {}, {}, {}
    for organ, mask in case.masks.items():
        if mask.any():
            x[organ], y[organ], z[organ] = centre_mm(mask, case.geometry)
    assert x["liver"] > 20
    assert x["spleen"] < -50
    assert x["kidney_left"] < -30
    assert x["kidney_right"] > 30
    assert x["postcava"] > x["aorta"] + 15
    assert x["stomach"] < 0
    assert x.get("gall_bladder", 50) > 15
    assert y["stomach"] > y["kidney_left"] + 30
    assert z["liver"] > z["kidney_right"]


@pytest.mark.parametrize("seed", SEEDS)
def test_volumes_are_plausible(seed: int) -> None:
    case = patient(seed)
    for organ, mask in case.masks.items():
        low, high = PLAUSIBLE_ML[organ]
        volume = np.count_nonzero(mask) * case.geometry.voxel_volume_mm3 / 1000
        assert low < volume < high or (organ == "gall_bladder" and volume == 0), f"{organ}: {volume:.0f} ml"


@pytest.mark.parametrize("seed", SEEDS)
def test_hounsfield_units_are_plausible(seed: int) -> None:
    case = patient(seed)
    assert -40 < np.median(case.ct[case.masks["liver"]]) < 160
    assert 20 < np.median(case.ct[case.masks["spleen"]]) < 170
    aorta, liver = (float(np.median(case.ct[case.masks[organ]])) for organ in ("aorta", "liver"))
    assert aorta > liver + 80 or case.phase != "arterial"
    assert np.median(case.ct[:, 0, 0]) < -900, "air around the patient"
    assert (case.ct > 350).any(), "bone"


def test_the_same_seed_gives_the_same_bytes() -> None:
    again = make_case(1, geometry=grid())
    assert np.array_equal(again.ct, patient(1).ct)
    assert not np.array_equal(again.ct, patient(2).ct)


@pytest.mark.parametrize("code", ["LPS", "RPI", "PSR"])
def test_orientation_does_not_change_the_patient(code: str) -> None:
    """The masks on a grid with other axes are the same masks, turned."""
    reference, other = patient(3), make_case(3, geometry=grid(code))
    order = [["RL", "AP", "SI"].index(next(pair for pair in ("RL", "AP", "SI") if letter in pair)) for letter in code]
    for organ, mask in other.masks.items():
        turned = mask.transpose(2, 1, 0)
        for axis, letter in enumerate(code):
            if letter in "LPI":
                turned = np.flip(turned, axis)
        back = np.moveaxis(turned, [0, 1, 2], order).transpose(2, 1, 0)
        differing = np.count_nonzero(back != reference.masks[organ])
        assert differing <= 0.002 * np.count_nonzero(back) + 1, organ


def test_an_oblique_grid_shows_the_same_patient() -> None:
    turn = np.deg2rad(15)
    matrix = grid().matrix
    rotation = np.eye(4)
    rotation[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    oblique = Geometry.from_matrix(grid().shape, rotation @ matrix)
    case = make_case(2, geometry=oblique)
    for organ in ("kidney_left", "pancreas", "spleen"):
        shift = centre_mm(case.masks[organ], oblique) - centre_mm(patient(2).masks[organ], grid())
        assert np.abs(shift).max() < 2, organ


def test_a_short_field_of_view_cuts_the_patient_and_moves_nothing() -> None:
    whole = grid()
    matrix = whole.matrix
    matrix[2, 3] += 20 * 4.0
    part = make_case(4, geometry=Geometry.from_matrix((whole.shape[0], whole.shape[1], 25), matrix))
    assert np.array_equal(part.masks["liver"], patient(4).masks["liver"][20:45])


@pytest.mark.parametrize("name", sorted(PROFILES))
@pytest.mark.parametrize("seed", range(6))
def test_profiles_keep_their_promises(name: str, seed: int) -> None:
    profile, rng = PROFILES[name], np.random.default_rng(seed)
    geometry = scan_geometry(Patient.draw(rng, profile.population), profile, rng)
    through = int(np.argmax(np.abs(geometry.matrix[2, :3])))
    assert geometry.orientation in profile.orientations
    assert profile.slice_mm[0] - 1e-3 <= geometry.spacing_mm[through] <= profile.slice_mm[1] + 1e-3
    for axis in {0, 1, 2} - {through}:
        assert profile.plane_mm[0] - 1e-3 <= geometry.spacing_mm[axis] <= profile.plane_mm[1] + 1e-3
        assert geometry.shape[axis] * geometry.spacing_mm[axis] > 150


def test_an_unknown_profile_is_a_clear_error() -> None:
    with pytest.raises(KeyError, match="hospital"):
        make_case(1, profile="hospital")
