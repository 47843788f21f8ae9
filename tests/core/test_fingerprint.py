"""Copies of a scan are found whatever was done to them; different patients are not."""

import io
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from services.core import nifti
from services.core.fingerprint import NEAR, Match, Profile, Sought, canonical_digest, profile, sums, tissue_mm3
from services.core.geometry import Geometry
from services.synthetic.cases import make_case

Scan = tuple[npt.NDArray[np.int16], Geometry]


@pytest.fixture(scope="module")
def patients() -> list[Scan]:
    cases = [make_case(seed, profile="demo") for seed in range(1, 6)]
    return [(case.ct, case.geometry) for case in cases]


def agreement(first: Profile, second: Profile) -> Match | None:
    return Sought.of(second).within(first, sums(first))


def found(first: Scan, second: Scan) -> Match | None:
    return agreement(profile(*first), profile(*second))


def _geometry(voxels: npt.NDArray[np.int16], matrix: npt.NDArray[np.float64]) -> Geometry:
    depth, rows, columns = voxels.shape
    return Geometry.from_matrix((columns, rows, depth), matrix)


def cut(scan: Scan, k: slice, j: slice = slice(None), i: slice = slice(None), *, moves: bool = True) -> Scan:
    """A crop; its header moves along, or keeps the origin of the whole, as careless tools leave it."""
    voxels, geometry = scan
    matrix = geometry.matrix
    if moves:
        matrix[:3, 3] = (matrix @ [i.start or 0, j.start or 0, k.start or 0, 1])[:3]
    part = np.ascontiguousarray(voxels[k, j, i])
    return part, _geometry(part, matrix)


def turned(scan: Scan, axes: tuple[int, int, int], flips: tuple[int, ...]) -> Scan:
    """The same scan with its array axes in another order and flipped, and a header that says so."""
    voxels, geometry = scan
    matrix = geometry.matrix
    index = np.zeros((4, 4))
    index[3, 3] = 1
    shape = voxels.shape
    for new, old in enumerate(axes):
        sign = -1 if new in flips else 1
        index[2 - old, 2 - new] = sign
        if sign < 0:
            index[2 - old, 3] = shape[old] - 1
    moved = voxels.transpose(axes)[tuple(slice(None, None, -1 if new in flips else 1) for new in range(3))]
    return np.ascontiguousarray(moved), _geometry(moved, matrix @ index)


def jpeg(scan: Scan, quality: int = 60) -> Scan:
    """Windowed to -175..250 HU, 8 bits, lossy."""
    planes = []
    for plane in scan[0].astype(np.float64):
        grey = ((np.clip(plane, -175, 250) + 175) * 255 / 425).round().astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(grey).save(file, "JPEG", quality=quality)
        planes.append((np.asarray(Image.open(file)).astype(np.float64) * 425 / 255 - 175).round().astype(np.int16))
    return np.stack(planes), scan[1]


def noisy(scan: Scan) -> Scan:
    noise = np.random.default_rng(0).normal(0, 15, scan[0].shape)
    return (scan[0] + noise).astype(np.int16), scan[1]


def coarse(scan: Scan) -> Scan:
    """Every second voxel of the plane."""
    matrix = scan[1].matrix
    matrix[:3, :2] *= 2
    voxels = np.ascontiguousarray(scan[0][:, ::2, ::2])
    return voxels, _geometry(voxels, matrix)


CHANGES: dict[str, Any] = {
    "crop": lambda scan: cut(scan, slice(9, -7), slice(3, -4), slice(5, -2)),
    "crop with the origin of the whole": lambda scan: cut(scan, slice(13, None), moves=False),
    "upper half": lambda scan: cut(scan, slice(len(scan[0]) // 2, None)),
    "turned": lambda scan: turned(scan, (2, 0, 1), (1,)),
    "JPEG": jpeg,
    "crop of a JPEG": lambda scan: cut(jpeg(scan), slice(9, -7), slice(3, -4), slice(5, -2)),
    "noise": noisy,
    "half the resolution": coarse,
    "2 HU added": lambda scan: (scan[0] + np.int16(2), scan[1]),
    "window": lambda scan: (np.clip(scan[0], -160, 240), scan[1]),
}


@pytest.mark.parametrize("change", sorted(CHANGES))
def test_a_changed_copy_is_found(patients: list[Scan], change: str) -> None:
    for patient in patients[:2]:
        assert found(patient, CHANGES[change](patient)) is not None


def test_different_patients_are_not(patients: list[Scan]) -> None:
    profiles = [profile(*patient) for patient in patients]
    assert [
        pair for pair in combinations(range(len(profiles)), 2) if agreement(profiles[pair[0]], profiles[pair[1]])
    ] == []


def test_changed_copies_of_different_patients_are_not_either(patients: list[Scan]) -> None:
    halves = [profile(*cut(patient, slice(len(patient[0]) // 2, None))) for patient in patients]
    whole = [profile(*patient) for patient in patients]
    assert [
        (a, b) for a in range(len(halves)) for b in range(len(whole)) if a != b and agreement(halves[a], whole[b])
    ] == []


def test_a_match_says_where_the_copy_lies(patients: list[Scan]) -> None:
    voxels, geometry = patients[0]
    lps = geometry.matrix[2, 2] > 0
    start = 15
    part = cut(patients[0], slice(start, None)) if lps else cut(patients[0], slice(None, -start))
    agreed = found(patients[0], part)
    assert agreed is not None
    assert agreed.difference < NEAR / 2
    assert agreed.offset_mm == pytest.approx(start * geometry.spacing_mm[2], abs=1.5)
    assert agreed.overlap_mm == pytest.approx((len(voxels) - start) * geometry.spacing_mm[2], abs=4)
    assert not agreed.is_reversed


def test_a_header_that_turns_the_patient_upside_down_is_seen_through(patients: list[Scan]) -> None:
    voxels, geometry = patients[0]
    matrix = geometry.matrix
    matrix[:, 2] *= -1
    agreed = found(patients[0], (voxels, Geometry.from_matrix(geometry.shape, matrix)))
    assert agreed is not None
    assert agreed.is_reversed


def test_tissue_is_told_apart_by_its_hu() -> None:
    """Slabs of 20 x 40 x 40 mm: 32 000 mm^3 each; 75 HU lies half way between soft tissue with and without contrast."""
    voxels = np.full((60, 40, 40), -1000, np.int16)
    voxels[0:20], voxels[20:40], voxels[40:60] = 50, 75, 900
    geometry = Geometry.from_matrix((40, 40, 60), np.diag([1.0, 1.0, 1.0, 1.0]))
    found = tissue_mm3(profile(voxels, geometry))
    assert found == pytest.approx([48_000, 16_000, 0, 32_000], rel=1e-5)


def test_what_shows_no_body_is_like_nothing() -> None:
    air = np.full((60, 40, 40), -1000, np.int16), Geometry.from_matrix((40, 40, 60), np.diag([2.0, 2.0, 2.0, 1.0]))
    assert found(air, air) is None


def test_the_digest_does_not_see_order_origin_or_padding(patients: list[Scan]) -> None:
    voxels, geometry = patients[0]
    expected = canonical_digest(voxels, geometry)
    assert canonical_digest(*turned((voxels, geometry), (2, 0, 1), (0, 2))) == expected
    assert canonical_digest(*turned((voxels, geometry), (0, 1, 2), (1, 2))) == expected
    matrix = geometry.matrix
    matrix[2, 3] += 246
    assert canonical_digest(voxels, Geometry.from_matrix(geometry.shape, matrix)) == expected
    padded, deeper = voxels.copy(), voxels.copy()
    padded[:, 0, 0], deeper[:, 0, 0] = -1024, -3024
    assert canonical_digest(padded, geometry) == canonical_digest(deeper, geometry)


def test_the_digest_sees_one_voxel_and_the_spacing(patients: list[Scan]) -> None:
    voxels, geometry = patients[0]
    other = voxels.copy()
    other[3, 4, 5] += 1
    assert canonical_digest(other, geometry) != canonical_digest(voxels, geometry)
    wider = Geometry.from_matrix(geometry.shape, geometry.matrix @ np.diag([1, 1, 1.01, 1]))
    assert canonical_digest(voxels, wider) != canonical_digest(voxels, geometry)


def test_real_scans(real_data: Path) -> None:
    """The crop of a real CT, 246 mm from where it was, is the same scan; another patient is not."""
    names = ("ts_example_3mm/example_ct", "ts_example_3mm/example_ct_sm", "ircad3d_17/ct")
    whole, part, other = (nifti.read_ct(real_data / f"{name}.nii.gz") for name in names)
    agreed = found((whole.voxels, whole.geometry), (part.voxels, part.geometry))
    assert agreed is not None
    assert agreed.difference < 1e-3
    assert (agreed.overlap_mm, agreed.offset_mm) == (90, 246)
    assert found((whole.voxels, whole.geometry), (other.voxels, other.geometry)) is None
    assert found((other.voxels, other.geometry), cut(jpeg((other.voxels, other.geometry)), slice(20, 90))) is not None
