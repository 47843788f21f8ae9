"""Public datasets in small: synthetic patients laid out as each dataset lays out its cases."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from services.core import nifti
from services.synthetic.cases import SyntheticCase, make_case

LabelMap = npt.NDArray[np.uint8] | npt.NDArray[np.float32]
AMOS = {
    "spleen": 1,
    "kidney_right": 2,
    "kidney_left": 3,
    "gall_bladder": 4,
    "liver": 6,
    "stomach": 7,
    "aorta": 8,
    "postcava": 9,
    "pancreas": 10,
}
BTCV = {**AMOS, "pancreas": 11}
KIDNEY_UNSPLIT = {"liver": 1, "kidney_left": 2, "kidney_right": 2, "spleen": 3, "pancreas": 4}


@cache
def patient(seed: int) -> SyntheticCase:
    """A patient with both kidneys, scanned at 3 mm."""
    return make_case(seed, profile="training")


def label_map(case: SyntheticCase, ids: Mapping[str, int]) -> npt.NDArray[np.uint8]:
    """A label map of some organs."""
    labels = np.zeros(case.ct.shape, np.uint8)
    for organ, label in ids.items():
        labels[case.masks[organ]] = label
    return labels


def tumour_in(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """A small part of an organ."""
    tumour = np.zeros_like(mask)
    tumour[tuple(np.argwhere(mask)[:40].T)] = True
    return tumour


def put(case: SyntheticCase, image: Path, label: Path | None = None, labels: LabelMap | None = None) -> None:
    """Write a CT and its label map."""
    image.parent.mkdir(parents=True, exist_ok=True)
    nifti.write_ct(image, case.ct, case.geometry)
    if label is not None and labels is not None:
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_bytes(nifti.encode(labels, case.geometry))


def decathlon_liver(root: Path) -> dict[str, SyntheticCase]:
    """Task03: float labels, tumours inside the liver, AppleDouble files, test images without labels."""
    cases = {"liver_0": patient(1), "liver_132": patient(2)}
    labels = label_map(cases["liver_0"], {"liver": 1}).astype(np.float32)
    labels[tumour_in(cases["liver_0"].masks["liver"])] = 2
    put(cases["liver_0"], root / "imagesTr/liver_0.nii.gz", root / "labelsTr/liver_0.nii.gz", labels)
    put(cases["liver_132"], root / "imagesTs/liver_132.nii.gz")
    (root / "imagesTr/._liver_0.nii.gz").write_bytes(b"\x00\x05\x16\x07")
    meanings = {"0": "background", "1": "liver", "2": "cancer"}
    (root / "dataset.json").write_text(json.dumps({"labels": meanings, "numTraining": 1}))
    return cases


def amos(root: Path) -> dict[str, SyntheticCase]:
    """Two CTs, of which one is for validation, and an MRI, which is none."""
    cases = {"amos_0001": patient(3), "amos_0411": patient(4)}
    for name, part in (("amos_0001", "Tr"), ("amos_0411", "Va")):
        labels = label_map(cases[name], AMOS)
        put(cases[name], root / f"images{part}/{name}.nii.gz", root / f"labels{part}/{name}.nii.gz", labels)
    put(patient(5), root / "imagesTr/amos_0507.nii.gz", root / "labelsTr/amos_0507.nii.gz", label_map(patient(5), AMOS))
    meanings = {"0": "background", "1": "spleen", "8": "arota", "15": "prostate/uterus"}
    (root / "dataset.json").write_text(json.dumps({"labels": meanings}))
    return cases


def btcv(root: Path) -> dict[str, SyntheticCase]:
    """Folders img and label, whose files do not share a name."""
    case = patient(6)
    put(case, root / "img/img0007.nii.gz", root / "label/label0007.nii.gz", label_map(case, BTCV))
    return {"0007": case}


def nnunet(root: Path) -> dict[str, SyntheticCase]:
    """AbdomenCT-1K, whose kidneys are one class, in nnU-Net's raw folders."""
    case = patient(7)
    labels = label_map(case, KIDNEY_UNSPLIT)
    put(case, root / "imagesTr/Case_00001_0000.nii.gz", root / "labelsTr/Case_00001.nii.gz", labels)
    meanings = {"background": 0, "liver": 1, "kidney": 2, "spleen": 3, "pancreas": 4}
    (root / "dataset.json").write_text(json.dumps({"labels": meanings, "channel_names": {"0": "CT"}}))
    return {"Case_00001": case}


def totalsegmentator(root: Path) -> dict[str, SyntheticCase]:
    """A file a structure; one kidney with a cyst; a table that tells the hospital."""
    case = patient(8)
    cyst = tumour_in(case.masks["kidney_left"])
    masks = {
        "liver": case.masks["liver"],
        "gallbladder": case.masks["gall_bladder"],
        "inferior_vena_cava": case.masks["postcava"],
        "kidney_left": case.masks["kidney_left"] & ~cyst,
        "kidney_cyst_left": cyst,
        "kidney_right": case.masks["kidney_right"],  # its cyst's file is missing, so it stays unknown
        "rib_left_1": case.masks["spleen"],
    }
    put(case, root / "s0011/ct.nii.gz")
    for name, mask in masks.items():
        path = root / f"s0011/segmentations/{name}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nifti.write_mask(path, mask.view(np.uint8), case.geometry)
    (root / "meta.csv").write_text("\ufeffimage_id;age;institute\ns0011;70;C\n", encoding="utf-8")
    return {"s0011": case}
