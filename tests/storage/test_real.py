"""Real CTs and labels, and files that break naive readers, into a real storage process."""

from pathlib import Path

import numpy as np
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import nifti
from services.core.errors import AtlasError, Reason
from tests.storage.conftest import Process


def create(process: Process, path: Path, volume_id: str) -> pb.Volume:
    name = process.storage.put_file(path).name
    return process.storage.rpc.CreateVolume(pb.CreateVolumeRequest(volume_id=volume_id, object=name)).volume


def create_air(process: Process, mask: Path) -> pb.Volume:
    """A volume of air on the grid of a mask, for masks without their CT."""
    grid = nifti.read_header(mask).geometry
    name = process.storage.put(nifti.encode(np.full(grid.array_shape, -1000, np.int16), grid)).name
    return process.storage.rpc.CreateVolume(pb.CreateVolumeRequest(volume_id="its-own-grid", object=name)).volume


def import_labels(
    process: Process, volume: pb.Volume, files: dict[str, Path], class_map: str = "abdomenatlas-1.0"
) -> pb.LabelVersion:
    request = pb.ImportLabelVersionRequest(
        parent=volume.name,
        files=[
            pb.LabelFile(object=process.storage.put_file(path).name, organ=organ, display_name=path.name)
            for organ, path in files.items()
        ],
        class_map=class_map,
        origin=pb.ORIGIN_SOURCE,
        author="source",
    )
    return process.storage.rpc.ImportLabelVersion(request, timeout=300).label_version


def test_ircad_goes_in_and_its_liver_comes_out_bit_for_bit(process: Process, real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "ircad3d_17"
    volume = create(process, folder / "ct.nii.gz", "ircad3d_17")
    ct = nifti.read_ct(folder / "ct.nii.gz")
    assert volume.voxel_digest == ct.digest()
    assert (volume.dtype, volume.min_hu, volume.max_hu, list(volume.notes)) == ("int16", -1024, 1023, [])
    version = import_labels(process, volume, {"liver": folder / "segmentations/liver.nii.gz"})
    assert [(organ.organ, organ.voxels) for organ in version.organs] == [("liver", 2106497)]
    assert not version.notes
    liver = process.storage.array(version.masks).channel("liver")
    np.testing.assert_array_equal(liver, nifti.read_mask(folder / "segmentations/liver.nii.gz").voxels)
    process.storage.get_file(volume.ct, tmp_path / "ct.nii.gz")
    assert (tmp_path / "ct.nii.gz").read_bytes() == (folder / "ct.nii.gz").read_bytes()


def test_a_real_label_map_with_ids_of_another_class_map_is_refused(process: Process, real_data: Path) -> None:
    folder = real_data / "ts_example_3mm"
    volume = create(process, folder / "example_ct.nii.gz", "ts")
    assert (volume.dtype, volume.min_hu, volume.max_hu) == ("int32", -1207, 3382)
    with pytest.raises(AtlasError) as caught:
        import_labels(process, volume, {"": folder / "seg_full_v1ids_float64.nii.gz"})
    assert caught.value.reason == Reason.LABEL_UNKNOWN
    assert caught.value.field == "seg_full_v1ids_float64.nii.gz"


def test_labels_of_a_cropped_ct_do_not_fit_the_whole_one(process: Process, real_data: Path) -> None:
    folder = real_data / "ts_example_3mm"
    volume = create(process, folder / "example_ct.nii.gz", "ts")
    with pytest.raises(AtlasError) as caught:
        import_labels(process, volume, {"": folder / "example_ct_sm_seg_v2ids.nii.gz"})
    assert caught.value.reason == Reason.GEOMETRY_MISMATCH


@pytest.mark.parametrize(
    ("file", "reason"),
    [("gitlfs_pointer.nii.gz", Reason.FILE_NOT_NIFTI), ("appledouble_._ct.nii.gz", Reason.FILE_NOT_NIFTI)],
)
def test_files_that_are_no_ct_are_refused(process: Process, real_data: Path, file: str, reason: Reason) -> None:
    with pytest.raises(AtlasError) as caught:
        create(process, real_data / "robustness" / file, "bad")
    assert caught.value.reason == reason
    assert caught.value.remedy
    assert not process.storage.rpc.ListVolumes(pb.ListVolumesRequest()).volumes


@pytest.mark.parametrize(
    ("file", "dtype", "note"),
    [
        ("oblique_head_uint8_CT_pitch.nii.gz", "uint8", "may not be HU"),
        ("sclslope_uint8_head_CT_AVM.nii.gz", "uint8", "scaled by 2.2086"),
    ],
)
def test_odd_cts_are_taken_and_what_is_odd_is_noted(
    process: Process, real_data: Path, file: str, dtype: str, note: str
) -> None:
    volume = create(process, real_data / "robustness" / file, "odd")
    assert volume.dtype == dtype
    assert any(note in text for text in volume.notes)


def test_a_real_mask_is_no_ct(process: Process, real_data: Path) -> None:
    for mask in ("robustness/mask_int8_slope1over255_spleen.nii.gz", "abdomenatlas_masks9/liver.nii.gz"):
        with pytest.raises(AtlasError) as caught:
            create(process, real_data / mask, "mask")
        assert "This is a mask, a label map or no CT" in caught.value.message


def test_a_mask_with_a_slope_of_one_over_255_is_the_mask_it_is(process: Process, real_data: Path) -> None:
    path = real_data / "robustness/mask_int8_slope1over255_spleen.nii.gz"
    volume = create_air(process, path)
    version = import_labels(process, volume, {"spleen": path})
    assert [(organ.organ, organ.voxels) for organ in version.organs] == [("spleen", 74275)]


def test_nine_real_masks_that_overlap_stay_as_they_are(process: Process, real_data: Path) -> None:
    folder = real_data / "abdomenatlas_masks9"
    masks = {path.name.removesuffix(".nii.gz"): path for path in sorted(folder.glob("*.nii.gz"))}
    volume = create_air(process, masks["liver"])
    version = import_labels(process, volume, masks)
    array = process.storage.array(version.masks)
    assert list(array.channels) == sorted(masks)
    stacked = np.stack([np.asarray(array.channel(organ)) for organ in array.channels])
    for organ, stored in zip(array.channels, stacked, strict=True):
        np.testing.assert_array_equal(stored, nifti.read_mask(masks[organ]).voxels)
    assert int((stacked.sum(axis=0) > 1).sum()) == 1831
