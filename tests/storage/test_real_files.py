"""Every file of the folder of real CTs: what becomes of it at the gate."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import nifti
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from tests.storage.world import World

TAKEN = "taken"
NO_NIFTI = Reason.FILE_NOT_NIFTI
# As a CT: taken, with this in its notes, or refused for this reason.
CTS: dict[str, str | Reason] = {
    "ts_example_3mm/example_ct.nii.gz": TAKEN,
    "ts_example_3mm/example_ct_sm.nii.gz": TAKEN,
    "ircad3d_17/ct.nii.gz": TAKEN,
    "robustness/oblique_head_uint8_CT_pitch.nii.gz": "may not be HU",
    "robustness/sclslope_uint8_head_CT_AVM.nii.gz": "scaled by 2.2086",
    "robustness/gitlfs_pointer.nii.gz": NO_NIFTI,
    "robustness/appledouble_._ct.nii.gz": NO_NIFTI,
    "robustness/ge_head_gantry_tilt_18.5deg_dicom.tar.gz": NO_NIFTI,
    "ts_dicom_j2k/CT.*": NO_NIFTI,
    "dcmqi_ct3slice/*.dcm": NO_NIFTI,
}
NINE = {
    "aorta": 17600,
    "gall_bladder": 10088,
    "kidney_left": 64746,
    "kidney_right": 65365,
    "liver": 944325,
    "pancreas": 63802,
    "postcava": 27585,
    "spleen": 109422,
    "stomach": 236819,
}
LABELS = (
    "ts_example_3mm/seg_*",
    "ts_example_3mm/example_ct_sm_seg_v2ids.nii.gz",
    "ts_dicom_j2k/example_seg_dicom.nii.gz",
    "ircad3d_17/segmentations/*",
    "abdomenatlas_masks9/*",
    "robustness/mask_int8_slope1over255_spleen.nii.gz",
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, memory_bytes=2**32)


def test_every_file_is_told_of_here(real_data: Path) -> None:
    told = {path for pattern in (*CTS, *LABELS, "MANIFEST.md") for path in real_data.glob(pattern)}
    assert {path for path in real_data.rglob("*") if path.is_file()} == told


@pytest.mark.parametrize("pattern", CTS)
def test_as_a_ct(world: World, real_data: Path, pattern: str) -> None:
    expected = CTS[pattern]
    for path in sorted(real_data.glob(pattern)):
        if isinstance(expected, Reason):
            with pytest.raises(AtlasError) as caught:
                world.volume(path.read_bytes())
            assert caught.value.reason == expected
            assert caught.value.remedy
            assert world.catalog.find_volume("case") is None
        else:
            notes = world.volume(path.read_bytes()).notes
            assert expected == TAKEN or any(expected in note for note in notes)


def voxels(version: pb.LabelVersion) -> dict[str, int]:
    return {organ.organ: organ.voxels for organ in version.organs}


@pytest.mark.parametrize("name", ["seg_full_v1ids_float64", "seg_full_v1ids_fast_uint8"])
def test_a_label_map_in_the_ids_of_totalsegmentator(world: World, real_data: Path, name: str) -> None:
    folder = real_data / "ts_example_3mm"
    world.volume((folder / "example_ct.nii.gz").read_bytes())
    data = (folder / f"{name}.nii.gz").read_bytes()
    version = world.import_files(("", data, name), dataset_map="totalsegmentator-v1")
    found = voxels(version)
    assert len(found) == 9
    assert found["liver"] > 30000
    if name.endswith("float64"):
        assert found == {
            "aorta": 1786,
            "gall_bladder": 1300,
            "kidney_left": 5144,
            "kidney_right": 6993,
            "liver": 41602,
            "pancreas": 818,
            "postcava": 2131,
            "spleen": 9677,
            "stomach": 4977,
        }
        assert any("float64" in note for note in version.notes)
    with pytest.raises(AtlasError) as caught:
        world.import_files(("", data, name), dataset_map="amos22")
    assert caught.value.reason == Reason.LABEL_UNKNOWN


def test_a_crop_that_kept_the_origin_of_the_whole(world: World, real_data: Path) -> None:
    """Its labels fit it, and not the whole; what gives it away is that it shows the same scan 246 mm off."""
    folder = real_data / "ts_example_3mm"
    world.volume((folder / "example_ct.nii.gz").read_bytes(), "whole")
    world.volume((folder / "example_ct_sm.nii.gz").read_bytes(), "part")
    (pair,) = world.duplicates.of("volumes/part")
    assert (pair.first, pair.second, pair.kind) == ("volumes/whole", "volumes/part", pb.Duplicate.KIND_NEAR)
    assert pair.header_offset_mm == pytest.approx(-246, abs=1)
    data = (folder / "example_ct_sm_seg_v2ids.nii.gz").read_bytes()
    part = world.import_files(("", data, "l"), dataset_map="totalsegmentator-v2", parent="volumes/part")
    assert voxels(part)["liver"] > 0
    with pytest.raises(AtlasError) as caught:
        world.import_files(("", data, "l"), dataset_map="totalsegmentator-v2", parent="volumes/whole")
    assert caught.value.reason == Reason.GEOMETRY_MISMATCH


def test_labels_of_a_series_that_is_not_there(world: World, real_data: Path) -> None:
    world.volume((real_data / "ts_example_3mm/example_ct.nii.gz").read_bytes())
    data = (real_data / "ts_dicom_j2k/example_seg_dicom.nii.gz").read_bytes()
    with pytest.raises(AtlasError) as caught:
        world.import_files(("", data, "l"), dataset_map="totalsegmentator-v2")
    assert caught.value.reason == Reason.GEOMETRY_MISMATCH


def test_the_structures_of_ircad_that_are_no_organs_of_ours(world: World, real_data: Path) -> None:
    folder = real_data / "ircad3d_17"
    world.volume((folder / "ct.nii.gz").read_bytes())
    for path in sorted((folder / "segmentations").iterdir()):
        organ = path.name.removesuffix(".nii.gz")
        if organ == "liver":
            assert voxels(world.import_masks((organ, path.read_bytes()))) == {"liver": 2106497}
            continue
        with pytest.raises(AtlasError) as caught:
            world.import_masks((organ, path.read_bytes()))
        assert caught.value.reason == Reason.ORGAN_UNKNOWN


def painted(masks: dict[str, nifti.Mask]) -> tuple[bytes, Geometry]:
    """A CT under real masks that came without one: a body of 0 HU, and a HU of its own for every organ."""
    geometry = next(iter(masks.values())).geometry
    hu = np.full(geometry.array_shape, -1000, np.int16)
    hu[:, 20:-20, 20:-20] = 0
    for number, mask in enumerate(masks.values()):
        hu[mask.voxels > 0] = 40 + 20 * number
    return nifti.encode(hu, geometry), geometry


def test_the_masks_of_a_release(world: World, real_data: Path) -> None:
    paths = {organ: real_data / f"abdomenatlas_masks9/{organ}.nii.gz" for organ in NINE}
    world.volume(painted({organ: nifti.read_mask(path) for organ, path in paths.items()})[0])
    assert voxels(world.import_masks(*((organ, path.read_bytes()) for organ, path in paths.items()))) == NINE


def test_the_defects_of_a_released_case(world: World, real_data: Path) -> None:
    """LPS headers on two masks whose arrays are those of the others, NaN slopes, and three types of number."""
    paths = {organ: real_data / f"abdomenatlas_masks9/{organ}.nii.gz" for organ in NINE}
    masks = {organ: nifti.read_mask(path) for organ, path in paths.items()}
    ct, geometry = painted(masks)
    world.volume(ct)
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = np.array(geometry.shape[:2]) - 1
    lps = Geometry.from_matrix(geometry.shape, geometry.matrix @ flip)
    files = {organ: path.read_bytes() for organ, path in paths.items()}
    files["aorta"] = nifti.encode(masks["aorta"].voxels, lps)
    files["liver"] = nifti.encode(masks["liver"].voxels.astype(np.uint16), lps)
    image = nibabel.load(paths["spleen"])
    spoiled = bytearray(nibabel.Nifti1Image(np.asarray(image.dataobj), image.affine).to_bytes())  # type: ignore
    spoiled[112:120] = np.array([np.nan, np.nan], "<f4").tobytes()
    files["spleen"] = bytes(spoiled)
    version = world.import_masks(*files.items())
    assert voxels(version) == NINE
    found = world.masks(version)
    for organ, mask in masks.items():
        np.testing.assert_array_equal(found[organ], mask.voxels)
    notes = "\n".join(version.notes)
    for said in ("int8, uint16, uint8", "aorta.nii.gz: its header", "liver.nii.gz: its header", "was not followed"):
        assert said in notes
    assert "spleen.nii.gz: scl_slope is not a number" in notes


def test_a_mask_with_a_slope_of_one_over_255(world: World, real_data: Path) -> None:
    path = real_data / "robustness/mask_int8_slope1over255_spleen.nii.gz"
    geometry = nifti.read_header(path).geometry
    world.volume(nifti.encode(np.full(geometry.array_shape, -1000, np.int16), geometry))
    version = world.import_masks(("spleen", path.read_bytes()))
    assert voxels(version) == {"spleen": 74275}
    assert version.notes
