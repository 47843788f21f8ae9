"""CTs in any form that NIfTI allows, against nibabel as the oracle."""

import gzip
import io
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.core import nifti
from services.core.errors import AtlasError, Reason
from tests.core.nifti_images import AFFINE, HU, Array, image, nib, raw


@pytest.mark.parametrize("cls", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_reads_every_scalar_type_in_both_byte_orders_as_nibabel_does(cls: type, order: str, dtype: str) -> None:
    data = np.abs(HU) % 100 if dtype in ("u1", "i1", "u2", "u4") else HU
    header = (nib.Nifti1Header if cls is nib.Nifti1Image else nib.Nifti2Header)(endianness=order)
    made = cls(data.astype(dtype).T, AFFINE, header=header, dtype=dtype)
    assert made.header.endianness == order
    ct = nifti.read_ct(gzip.compress(raw(made)))
    assert ct.voxels.dtype == np.int16
    np.testing.assert_array_equal(ct.voxels, data)
    np.testing.assert_allclose(ct.geometry.matrix, AFFINE, atol=1e-5)
    assert (ct.min_hu, ct.max_hu) == (data.min(), data.max())


def test_path_bytes_and_open_file_give_the_same(tmp_path: Path) -> None:
    data = gzip.compress(raw(image(HU)))
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(data)
    with path.open("rb") as file, path.open("rb", buffering=0) as unbuffered:
        digests = {nifti.read_ct(s).digest() for s in (path, str(path), data, raw(image(HU)), file, unbuffered)}
        digests.add(nifti.read_ct(io.BytesIO(data)).digest())
        assert not file.closed
        assert not unbuffered.closed
    assert len(digests) == 1


def test_digest_is_of_voxels_and_geometry_not_of_storage() -> None:
    first = nifti.read_ct(raw(image(HU)))
    assert nifti.read_ct(raw(image(HU.astype(np.float32), descrip=b"other"))).digest() == first.digest()
    assert nifti.read_ct(raw(image(HU + 1))).digest() != first.digest()
    moved = AFFINE.copy()
    moved[0, 3] += 1
    assert nifti.read_ct(raw(image(HU, moved))).digest() != first.digest()


def test_multi_member_gzip_is_read_whole() -> None:
    data = raw(image(HU))
    members = b"".join(gzip.compress(data[i : i + 97]) for i in range(0, len(data), 97))
    np.testing.assert_array_equal(nifti.read_ct(members).voxels, HU)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.float32])
def test_scaling_is_rounded_and_clipped(dtype: type) -> None:
    stored: Array = (np.arange(7 * 6 * 5).reshape(7, 6, 5) % 250).astype(dtype)
    made = image(stored)
    made.header.set_slope_inter(2.2086, -1024.3)
    data = bytearray(raw(made))
    data[112:120] = struct.pack("<2f", 2.2086, -1024.3)
    data[352:] = stored.tobytes()
    ct = nifti.read_ct(bytes(data))
    expected = nib.Nifti1Image.from_bytes(bytes(data)).get_fdata().T
    np.testing.assert_array_equal(ct.voxels, np.rint(expected))
    assert ct.min_hu == pytest.approx(expected.min())
    assert any("scaled by 2.2086" in note for note in ct.notes)


def test_values_beyond_int16_are_clipped_and_counted() -> None:
    data = HU.astype(np.int32)
    data[0, 0, :2] = 100_000, -100_000
    ct = nifti.read_ct(raw(image(data)))
    assert ct.voxels[0, 0, :2].tolist() == [32767, -32768]
    assert (ct.min_hu, ct.max_hu) == (-100_000, 100_000)
    assert any(note.startswith("2 voxels") for note in ct.notes)


@pytest.mark.parametrize("slope", [0.0, float("nan"), float("inf")])
def test_a_slope_that_is_no_number_means_no_scaling(slope: float) -> None:
    data = bytearray(raw(image(HU)))
    data[112:120] = struct.pack("<2f", slope, float("nan"))
    ct = nifti.read_ct(bytes(data))
    np.testing.assert_array_equal(ct.voxels, HU)
    assert bool(ct.notes) == (slope != 0.0)


def test_sform_counts_before_qform_and_both_readings_are_noted() -> None:
    made = image(HU)
    made.set_qform(np.diag([2.0, 2, 2, 1]), code=1)
    ct = nifti.read_ct(raw(made))
    np.testing.assert_allclose(ct.geometry.matrix, AFFINE, atol=1e-5)
    assert ct.header.other_geometry is not None
    np.testing.assert_allclose(ct.header.other_geometry.matrix, np.diag([2.0, 2, 2, 1]), atol=1e-5)
    (note,) = [note for note in ct.notes if "sform" in note]
    assert str(ct.geometry) in note
    assert str(ct.header.other_geometry) in note


def with_qform(change: Any) -> nifti.Header:
    made = image(HU)
    made.set_qform(AFFINE @ change, code=1)
    return nifti.read_header(raw(made))


def test_a_header_that_contradicts_itself_shows_both_readings() -> None:
    """Turned axes and other voxel sizes are no matter of rounding; a shift or a tilted gantry is left to the sform."""
    shifted = np.eye(4)
    shifted[:3, 3] = 40
    for change in (np.eye(4), shifted, np.diag([1.04, 1, 1, 1])):
        with_qform(change).require_one_grid()
    for change in (np.diag([-1, -1, 1, 1]), np.diag([1, 1, 1.1, 1])):
        header = with_qform(change)
        with pytest.raises(AtlasError) as caught:
            header.require_one_grid()
        assert caught.value.reason == Reason.AFFINE_INVALID
        assert str(header.geometry) in caught.value.message
        assert str(header.other_geometry) in caught.value.message
        assert caught.value.remedy


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_qform_alone_is_read_as_nibabel_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = rotation * rng.uniform(0.5, 4, 3)
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    made = image(HU, None)
    made.set_qform(affine, code=1)
    made.set_sform(None, code=0)
    # nibabel takes what is nearly half a turn for half a turn.
    assume(1 - sum(float(made.header[f"quatern_{part}"]) ** 2 for part in "bcd") > 1e-6)
    np.testing.assert_allclose(nifti.read_header(raw(made)).geometry.matrix, made.get_qform(), atol=1e-4)


def test_lengths_in_metres_are_taken_to_mm() -> None:
    made = image(HU, np.diag([1e-3, 1e-3, 2e-3, 1]), xyzt_units=1)
    header = nifti.read_header(raw(made))
    assert header.geometry.spacing_mm == pytest.approx((1, 1, 2))
    assert any("metres" in note for note in header.notes)


def test_extensions_before_the_voxels_are_skipped() -> None:
    made = image(HU)
    made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 5000))
    np.testing.assert_array_equal(nifti.read_ct(gzip.compress(raw(made))).voxels, HU)


def test_trailing_axes_of_one_entry_are_dropped() -> None:
    ct = nifti.read_ct(raw(nib.Nifti1Image(HU.T[..., None, None], AFFINE)))
    np.testing.assert_array_equal(ct.voxels, HU)
    assert any("dropped" in note for note in ct.notes)


@pytest.mark.parametrize("dtype", ["u1", "i2", ">i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("shape", [(40, 300, 300), (2, 1500, 1500)])
def test_memory_is_known_beforehand(tmp_path: Path, dtype: str, shape: tuple[int, int, int]) -> None:
    voxels = np.random.default_rng(3).integers(0, 2, shape).astype(dtype)
    path = tmp_path / "file.nii.gz"
    path.write_bytes(gzip.compress(raw(image(voxels)), 1))
    header = nifti.read_header(path)
    for read, known in ((nifti.read_ct, nifti.ct_bytes), (nifti.read_labels, nifti.labels_bytes)):
        tracemalloc.start()
        read(path)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak <= known(header)
        assert known(header) <= 3 * voxels.size + 128 * 2**20


@pytest.mark.parametrize(
    ("values", "shown"),
    [([0, 1], "0, 1."), ([0, 255], "0, 255."), ([0], "0."), (range(118), "0, 1, 2, 3, 4 and 113 more.")],
    ids=["mask", "mask of 255", "empty mask", "label map"],
)
def test_labels_are_told_from_a_ct(values: Any, shown: str) -> None:
    voxels = np.resize(np.array(values, np.uint8), (6, 7, 8))
    with pytest.raises(AtlasError) as caught:
        nifti.read_ct(raw(image(voxels))).require_no_labels()
    assert caught.value.reason == Reason.FIELD_INVALID
    assert caught.value.message.endswith(f"nothing but {shown}")
    assert caught.value.remedy


@pytest.mark.parametrize(
    "values",
    [[-1000], [-1, 0, 40], range(0, 256), range(40, 61)],
    ids=["air alone", "cut to an air of -1", "a picture of 8 bits", "soft tissue alone"],
)
def test_a_ct_of_few_values_is_told_from_labels(values: Any) -> None:
    nifti.read_ct(raw(image(np.resize(np.array(values, np.int16), (6, 7, 8))))).require_no_labels()
