"""NIfTI files of the real world, those that break naive readers among them."""

from pathlib import Path

import nibabel
import numpy as np
import pytest

from services.core import nifti
from services.core.errors import AtlasError, Reason


@pytest.mark.parametrize(
    ("file", "orientation"),
    [
        ("ts_example_3mm/example_ct.nii.gz", "RAS"),
        ("ts_example_3mm/example_ct_sm.nii.gz", "RAS"),
        ("ircad3d_17/ct.nii.gz", "LPS"),
        ("robustness/oblique_head_uint8_CT_pitch.nii.gz", None),
        ("robustness/sclslope_uint8_head_CT_AVM.nii.gz", None),
    ],
)
def test_a_ct_is_read_as_nibabel_reads_it(real_data: Path, file: str, orientation: str | None) -> None:
    ct = nifti.read_ct(real_data / file)
    oracle = nibabel.loadsave.load(real_data / file)
    assert isinstance(oracle, nibabel.nifti1.Nifti1Image)
    np.testing.assert_array_equal(ct.voxels, np.rint(oracle.get_fdata()).T)
    np.testing.assert_allclose(ct.geometry.matrix, np.asarray(oracle.affine), atol=1e-6)
    assert orientation in (None, ct.geometry.orientation)


def test_values_that_are_not_hu_are_noted(real_data: Path) -> None:
    ct = nifti.read_ct(real_data / "robustness/oblique_head_uint8_CT_pitch.nii.gz")
    assert any("may not be HU" in note for note in ct.notes)
    assert not nifti.read_ct(real_data / "ircad3d_17/ct.nii.gz").notes


@pytest.mark.parametrize(
    ("file", "voxels"),
    [
        ("robustness/mask_int8_slope1over255_spleen.nii.gz", 74275),
        ("ircad3d_17/segmentations/liver.nii.gz", 2106497),
        ("abdomenatlas_masks9/pancreas.nii.gz", 63802),
        ("abdomenatlas_masks9/kidney_right.nii.gz", 65365),
    ],
)
def test_a_mask_holds_the_voxels_that_were_drawn(real_data: Path, file: str, voxels: int) -> None:
    for mask in (nifti.read_mask(real_data / file).voxels, nifti.read_labels(real_data / file).voxels):
        assert mask.dtype == np.uint8
        assert int(mask.sum()) == voxels
        assert int(mask.max()) == 1


def test_a_label_map_stored_as_float64_holds_ids(real_data: Path) -> None:
    labels = nifti.read_labels(real_data / "ts_example_3mm/seg_full_v1ids_float64.nii.gz").voxels
    assert labels.dtype == np.uint8
    assert np.bincount(labels.ravel())[1:11].tolist() == [9677, 6993, 5144, 1300, 41602, 4977, 1786, 2131, 1037, 818]


@pytest.mark.parametrize(("file", "word"), [("gitlfs_pointer.nii.gz", "Git-LFS"), ("appledouble_._ct.nii.gz", "macOS")])
def test_files_that_are_something_else_are_named(real_data: Path, file: str, word: str) -> None:
    with pytest.raises(AtlasError, match=word) as caught:
        nifti.read_header(real_data / "robustness" / file)
    assert caught.value.reason == Reason.FILE_NOT_NIFTI


def test_a_written_mask_lies_on_the_cts_own_grid(real_data: Path, tmp_path: Path) -> None:
    for folder, name in (("ts_example_3mm", "example_ct.nii.gz"), ("ircad3d_17", "ct.nii.gz")):
        header = nifti.read_header(real_data / folder / name)
        path = tmp_path / f"{folder}.nii.gz"
        nifti.write_mask(path, np.ones(header.geometry.array_shape, np.uint8), header.geometry, header)
        first, second = nibabel.loadsave.load(path), nibabel.loadsave.load(real_data / folder / name)
        assert isinstance(first, nibabel.nifti1.Nifti1Image)
        assert isinstance(second, nibabel.nifti1.Nifti1Image)
        np.testing.assert_array_equal(np.asarray(first.affine), np.asarray(second.affine))
        for field in ("sform_code", "qform_code"):
            assert first.header[field] == second.header[field]
