"""Cases of another generator go into the benchmark as they are, or are refused by name."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.error_detection import folders
from benchmarks.error_detection.cases import LabelCase, cropped
from benchmarks.error_detection.planting import box_of
from services.core import nifti
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry

Mask = npt.NDArray[np.uint8]

RAS = Geometry.from_matrix((40, 36, 30), np.array([[1.5, 0, 0, -30], [0, 1.5, 0, -27], [0, 0, 3.0, 0]]))
LPS = Geometry.from_matrix(RAS.shape, np.array([[-1.5, 0, 0, 28.5], [0, -1.5, 0, 25.5], [0, 0, 3.0, 0]]))


def block(k: slice, j: slice, i: slice) -> Mask:
    mask = np.zeros(RAS.array_shape, np.uint8)
    mask[k, j, i] = 1
    return mask


LIVER = block(slice(8, 22), slice(8, 28), slice(24, 36))
SPLEEN = block(slice(10, 20), slice(6, 18), slice(4, 14))


def write(folder: Path, masks: dict[str, Mask], geometry: Geometry = RAS) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for organ, mask in masks.items():
        nifti.write_mask(folder / f"{organ}.nii.gz", mask, geometry)


def write_ct(folder: Path, geometry: Geometry = RAS) -> None:
    """Tissue of 100 HU in the liver, 150 in the spleen and -80 elsewhere."""
    hu = np.where(LIVER == 1, 100, np.where(SPLEEN == 1, 150, -80)).astype(np.int16)
    nifti.write_ct(folder / "ct.nii.gz", hu, geometry)


def only(folder: Path) -> LabelCase:
    (files,) = folders.find(folder)
    return folders.read(files)


def ml(case: LabelCase, organ: str) -> float:
    return float(np.count_nonzero(case.truth[organ])) * case.geometry.voxel_volume_mm3 / 1000


def middle_mm(case: LabelCase, organ: str) -> npt.NDArray[np.float64]:
    """Mean RAS position of an organ's voxels."""
    index = np.argwhere(case.truth[organ])[:, ::-1].mean(axis=0)
    return np.asarray(case.geometry.matrix[:3, :3] @ index + case.geometry.matrix[:3, 3])


def test_one_flat_folder_of_masks_is_one_case(tmp_path: Path) -> None:
    """Organs that nobody drew are unknown, other files left aside by name, and there need be no CT."""
    write(tmp_path, {"liver": LIVER, "spleen": SPLEEN, "pelvis": SPLEEN})
    (tmp_path / "._aorta.nii.gz").write_bytes(b"macOS")
    (files,) = folders.find(tmp_path)
    assert files.ignored == ("pelvis",)
    case = folders.read(files)
    assert list(case.truth) == ["liver", "spleen"]
    assert case.ct is None
    assert ml(case, "liver") == pytest.approx(LIVER.sum() * RAS.voxel_volume_mm3 / 1000, rel=0.1)


def test_a_folder_of_cases_of_every_kind(tmp_path: Path) -> None:
    write(tmp_path / "a" / "segmentations", {"liver": LIVER})
    write_ct(tmp_path / "a")
    write(tmp_path / "b", {"spleen": SPLEEN})
    (tmp_path / "c").mkdir()
    nifti.write_mask(tmp_path / "c" / "combined_labels.nii.gz", LIVER, RAS)
    (tmp_path / "d").mkdir()
    found = folders.find(tmp_path)
    assert [files.name for files in found] == ["a", "b", "c"]
    a, b, c = map(folders.read, found)
    assert a.ct is not None
    assert set(np.unique(a.ct[a.truth["liver"]])) & {100}
    assert (list(a.truth), list(b.truth), list(c.truth)) == (["liver"], ["spleen"], ["aorta"])


def test_combined_labels_have_the_ids_of_the_class_map(tmp_path: Path) -> None:
    """5 is the liver and 8 the spleen; 18 is known and none of the nine; an id of nobody's is refused."""
    labels = LIVER * 5 + SPLEEN * 8
    labels[0, 0, 0] = 18
    path = tmp_path / "combined_labels.nii.gz"
    path.write_bytes(nifti.encode(labels.astype(np.uint8), RAS))
    case = only(tmp_path)
    assert list(case.truth) == ["liver", "spleen"]
    assert middle_mm(case, "liver")[0] > middle_mm(case, "spleen")[0]
    labels[0, 0, 0] = 90
    path.write_bytes(nifti.encode(labels.astype(np.uint8), RAS))
    with pytest.raises(AtlasError, match="label 90") as caught:
        only(tmp_path)
    assert caught.value.reason is Reason.LABEL_UNKNOWN


def test_masks_count_before_combined_labels(tmp_path: Path) -> None:
    write(tmp_path / "segmentations", {"liver": LIVER})
    nifti.write_mask(tmp_path / "combined_labels.nii.gz", SPLEEN, RAS)
    assert list(only(tmp_path).truth) == ["liver"]


def test_an_empty_mask_is_an_organ_that_is_not_there(tmp_path: Path) -> None:
    write(tmp_path, {"liver": LIVER, "gall_bladder": np.zeros_like(LIVER)})
    assert not only(tmp_path).truth["gall_bladder"].any()


def test_a_case_without_any_voxel_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path / "hollow", {"liver": np.zeros_like(LIVER)})
    (files,) = folders.find(tmp_path)
    with pytest.raises(AtlasError, match="No organ has a voxel") as caught:
        folders.read(files)
    assert caught.value.field == "hollow"
    empty = LabelCase("hollow", RAS, {"liver": np.zeros(RAS.array_shape, bool)})
    with pytest.raises(AtlasError, match="hollow: No organ has a voxel"):
        cropped(empty)
    with pytest.raises(ValueError, match="empty mask"):
        box_of(empty.truth["liver"], (1.5, 1.5, 1.5), 3.0)


def test_masks_of_another_grid_are_refused_naming_both(tmp_path: Path) -> None:
    write(tmp_path, {"liver": LIVER})
    other = Geometry.from_matrix((20, 18, 30), np.array([[3.0, 0, 0, -30], [0, 3.0, 0, -27], [0, 0, 3.0, 0]]))
    write(tmp_path, {"spleen": np.ascontiguousarray(SPLEEN[:, ::2, ::2])}, other)
    with pytest.raises(AtlasError) as caught:
        only(tmp_path)
    assert caught.value.reason is Reason.GEOMETRY_MISMATCH
    assert "liver.nii.gz" in str(caught.value)
    assert "spleen.nii.gz" in str(caught.value)


def test_a_lost_header_is_refused_without_a_ct_and_laid_right_with_one(tmp_path: Path) -> None:
    """The spleen's array runs as the liver's does, under a header that says it runs the other way."""
    write(tmp_path, {"liver": LIVER})
    write(tmp_path, {"spleen": SPLEEN}, LPS)
    with pytest.raises(AtlasError) as caught:
        only(tmp_path)
    assert caught.value.reason is Reason.GEOMETRY_MISMATCH
    write_ct(tmp_path)
    case = only(tmp_path)
    assert middle_mm(case, "liver")[0] > middle_mm(case, "spleen")[0]


def test_a_mask_that_runs_the_other_way_and_says_so_lies_where_it_says(tmp_path: Path) -> None:
    write(tmp_path, {"liver": LIVER})
    write(tmp_path, {"spleen": np.ascontiguousarray(SPLEEN[:, ::-1, ::-1])}, LPS)
    write_ct(tmp_path)
    case = only(tmp_path)
    assert middle_mm(case, "liver")[0] > middle_mm(case, "spleen")[0]


def test_every_orientation_gives_the_same_case(tmp_path: Path) -> None:
    write(tmp_path / "ras", {"liver": LIVER, "spleen": SPLEEN})
    write(tmp_path / "lps", {"liver": LIVER[:, ::-1, ::-1].copy(), "spleen": SPLEEN[:, ::-1, ::-1].copy()}, LPS)
    first, second = (only(tmp_path / name) for name in ("ras", "lps"))
    assert first.geometry.is_close(second.geometry)
    for organ in ("liver", "spleen"):
        np.testing.assert_array_equal(first.truth[organ], second.truth[organ])


def test_an_organ_twice_and_a_folder_without_cases_are_refused(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="holds no case"):
        folders.find(tmp_path)
    write(tmp_path, {"liver": LIVER})
    write(tmp_path / "segmentations", {"liver": LIVER})
    with pytest.raises(AtlasError, match="liver is there twice"):
        folders.find(tmp_path)


def test_a_real_flat_folder_is_one_case(real_data: Path) -> None:
    """Nine masks of a released case, without a CT."""
    case = only(real_data / "abdomenatlas_masks9")
    assert len(case.truth) == 9
    # 944325 voxels of 0.816 x 0.816 x 2.5 mm.
    assert ml(case, "liver") == pytest.approx(1572, rel=0.02)
    assert middle_mm(case, "kidney_right")[0] > middle_mm(case, "kidney_left")[0]


def test_a_real_case_with_partial_labels_and_a_ct(real_data: Path) -> None:
    """Of six files the liver alone is ours: vessels, bone and tumour are other structures."""
    (files,) = folders.find(real_data / "ircad3d_17")
    assert list(files.masks) == ["liver"]
    assert set(files.ignored) == {"artery_tree", "bone", "liver_tumor", "portal_vein_tree", "venous_system"}
    case = folders.read(files)
    assert case.ct is not None
    assert 50 < float(np.median(case.ct[case.truth["liver"]])) < 150
