"""Real labels: silent but for what is wrong with them."""

from pathlib import Path

import numpy as np
import pytest

from services.core import nifti
from services.core.boxes import Boxed, crop
from services.core.geometry import Geometry
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.check import check
from services.uncertainty.priors.findings import Finding

# TotalSegmentator's first ids, as far as they are organs of AbdomenAtlas; a lung is several lobes.
TS_IDS = {
    "spleen": (1,),
    "kidney_right": (2,),
    "kidney_left": (3,),
    "gall_bladder": (4,),
    "liver": (5,),
    "stomach": (6,),
    "aorta": (7,),
    "postcava": (8,),
    "pancreas": (10,),
    "adrenal_gland_right": (11,),
    "adrenal_gland_left": (12,),
    "lung_left": (13, 14),
    "lung_right": (15, 16, 17),
    "esophagus": (42,),
    "intestine": (55,),
    "duodenum": (56,),
    "colon": (57,),
    "femur_left": (88,),
    "femur_right": (89,),
    "bladder": (104,),
}


def findings(masks: dict[str, Boxed], geometry: Geometry) -> list[Finding]:
    return list(check(Anatomy.of(masks, geometry)))


def test_nine_released_masks(real_data: Path) -> None:
    """The aorta ends at 142 mm, the postcava goes on to the top at 175 mm: 12 slices of 2.5 mm up to the dome of the
    liver and beyond show no aorta, which goes on into the chest in every patient. Nothing else is told: the overlaps
    are of organs that do touch."""
    paths = sorted((real_data / "abdomenatlas_masks9").glob("*.nii.gz"))
    read = [nifti.read_mask(path) for path in paths]
    masks = {path.name.removesuffix(".nii.gz"): crop(mask.voxels) for path, mask in zip(paths, read, strict=True)}
    (found,) = findings(masks, read[0].geometry)
    assert (found.rule, found.organs) == ("vessel_truncated", ("aorta",))
    assert found.evidence["missing_mm"] == pytest.approx(30)
    assert found.centre_mm is not None
    assert found.centre_mm[2] > 142


def test_the_organs_of_a_network(real_data: Path) -> None:
    """The pancreas is in two pieces 16 mm apart, as a network saw it in 3 mm voxels without contrast. The top of the
    field of view cuts liver, spleen, stomach and lungs, its bottom the femurs; the esophagus lies above it.
    """
    labels = nifti.read_labels(real_data / "ts_example_3mm" / "seg_full_v1ids_float64.nii.gz")
    masks = {organ: crop(np.isin(labels.voxels, ids).astype(np.uint8)) for organ, ids in TS_IDS.items()}
    assert [organ for organ, mask in masks.items() if mask.count == 0] == ["esophagus"]
    (found,) = findings(masks, labels.geometry)
    assert (found.rule, found.organs, found.evidence["pieces"]) == ("in_pieces", ("pancreas",), 2)


def test_an_experts_liver(real_data: Path) -> None:
    """The bottom of the field of view cuts it; 118 slices of 512 x 512 voxels, LPS."""
    mask = nifti.read_mask(real_data / "ircad3d_17" / "segmentations" / "liver.nii.gz")
    assert findings({"liver": crop(mask.voxels)}, mask.geometry) == []
