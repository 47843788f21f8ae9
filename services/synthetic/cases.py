"""Whole cases: a CT, its geometry and the true mask of every organ."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.core import nifti
from services.core.geometry import Geometry
from services.synthetic.patients import Patient
from services.synthetic.profiles import PROFILES
from services.synthetic.render import hounsfield, paint
from services.synthetic.scans import scan_geometry
from services.synthetic.tissues import ORGAN_TISSUES, Phase, organ_mask


@dataclass(frozen=True)
class SyntheticCase:
    """`ct` int16 HU (z, y, x) on `geometry`, boolean disjoint `masks` by organ, all zero if the patient lacks it."""

    seed: int
    phase: Phase
    geometry: Geometry
    ct: NDArray[np.int16]
    masks: dict[str, NDArray[np.bool_]]


def make_case(seed: int, *, profile: str = "clinical", geometry: Geometry | None = None) -> SyntheticCase:
    """Draw the patient `seed` and scan it by a profile of `PROFILES`, or on a given grid.

    The patient depends on the seed and the profile's population: another geometry shows the same anatomy.
    """
    scan = PROFILES[profile]
    patient = Patient.draw(np.random.default_rng([seed, 0]), scan.population)
    rng = np.random.default_rng([seed, 1])
    drawn = scan_geometry(patient, scan, rng)
    grid = drawn if geometry is None else geometry
    tissues = paint(patient, grid)
    plane, through = rng.uniform(*scan.blur), rng.uniform(*scan.blur)
    slice_axis = int(np.argmax(np.abs(grid.matrix[2, :3])))
    blur = [plane, plane, plane]
    blur[2 - slice_axis] = through
    noise_hu = rng.uniform(*scan.noise_hu)
    hu = hounsfield(patient, tissues, rng, noise_hu=noise_hu, blur=(blur[0], blur[1], blur[2]), grain=scan.grain)
    calibration = np.random.default_rng([seed, 2])
    scale, offset = calibration.uniform(*scan.hu_scale), calibration.uniform(*scan.hu_offset)
    ct = np.asarray(np.clip(np.rint(hu * np.float32(scale) + np.float32(offset)), -1024, 3071), np.int16)
    masks = {organ: organ_mask(tissues, organ) for organ in ORGAN_TISSUES}
    return SyntheticCase(seed, patient.phase, grid, ct, masks)


def write_case(case: SyntheticCase, folder: Path, organs: Iterable[str] | None = None) -> None:
    """Write `ct.nii.gz` and `segmentations/<organ>.nii.gz` of the given organs (all if None), as partial sources do."""
    (folder / "segmentations").mkdir(parents=True, exist_ok=True)
    nifti.write_ct(folder / "ct.nii.gz", case.ct, case.geometry)
    for organ in case.masks if organs is None else organs:
        path = folder / "segmentations" / f"{organ}.nii.gz"
        nifti.write_mask(path, case.masks[organ].view(np.uint8), case.geometry)
