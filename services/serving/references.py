"""What models are measured against: unseen synthetic patients, and two real CTs where they are at hand."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.core import nifti
from services.core.geometry import Geometry
from services.synthetic import make_case

SYNTHETIC = "truth of unseen synthetic patients, clinical profile"
_TOTALSEGMENTATOR_V1 = {
    1: "spleen", 2: "kidney_right", 3: "kidney_left", 4: "gall_bladder", 5: "liver", 6: "stomach",
    7: "aorta", 8: "postcava", 10: "pancreas",
}  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """A CT (int16 HU, z, y, x) with masks of the organs that someone or something labelled in it."""

    name: str
    ct: NDArray[np.int16]
    geometry: Geometry
    masks: dict[str, NDArray[np.bool_]]


def synthetic_references(seeds: range) -> Iterator[Reference]:
    """Synthetic patients, one at a time."""
    for seed in seeds:
        case = make_case(seed, profile="clinical")
        yield Reference(SYNTHETIC, case.ct, case.geometry, case.masks)


def real_references(folder: Path) -> Iterator[Reference]:
    """The two public CTs that the cards report: one labelled by another model, one with an expert's liver."""
    ct = nifti.read_ct(folder / "ts_example_3mm" / "example_ct.nii.gz")
    labels = nifti.read_labels(folder / "ts_example_3mm" / "seg_full_v1ids_float64.nii.gz").voxels
    masks = {organ: labels == label for label, organ in _TOTALSEGMENTATOR_V1.items()}
    yield Reference(
        "another model's labels of ts_example_3mm, a real CT without contrast", ct.voxels, ct.geometry, masks
    )
    ct = nifti.read_ct(folder / "ircad3d_17" / "ct.nii.gz")
    liver = nifti.read_mask(folder / "ircad3d_17" / "segmentations" / "liver.nii.gz").voxels
    masks = {"liver": liver.view(np.bool_)}
    yield Reference("an expert's liver of ircad3d_17, a real CT in portal phase", ct.voxels, ct.geometry, masks)
