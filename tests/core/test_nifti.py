"""CTs and label files in any form that NIfTI allows, against nibabel as the oracle, and every file that is refused."""

import gzip
import io
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.core import nifti
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.nifti.stream import TRAILING_BYTES

nib: Any = nibabel  # its types are partial
Array = np.ndarray[Any, Any]
AFFINE = np.array([[0.7, 0.02, 0, -120.5], [-0.02, -0.7, 0.1, 80.25], [0, 0.1, 2.5, -300.125], [0, 0, 0, 1]])
HU = np.random.default_rng(7).integers(-1024, 1500, (7, 6, 5)).astype(np.int16)  # (z, y, x)


def image(data: Array, affine: Any = AFFINE, cls: type = nib.Nifti1Image, **fields: Any) -> Any:
    """A nibabel image of a (z, y, x) array with the header fields of `fields` set."""
    made = cls(data.T, affine)
    for name, value in fields.items():
        made.header[name] = value
    return made


def raw(made: Any) -> bytes:
    return bytes(made.to_bytes())


def refusal(source: Any, read: Callable[[Any], Any] = nifti.read_ct) -> AtlasError:
    with pytest.raises(AtlasError) as caught:
        read(source)
    return caught.value


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


def test_an_intercept_that_is_no_number_is_refused() -> None:
    data = bytearray(raw(image(HU)))
    data[112:120] = struct.pack("<2f", 2.0, float("nan"))
    assert refusal(bytes(data)).reason == Reason.VOXELS_NOT_FINITE


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_voxels_that_are_not_finite_are_counted_and_located(bad: float) -> None:
    data = HU.astype(np.float32)
    data[3, 2, 1] = data[5, 0, 4] = bad
    error = refusal(raw(image(data)))
    assert error.reason == Reason.VOXELS_NOT_FINITE
    assert "2 voxels" in error.message
    assert "(1, 2, 3)" in error.message


def test_sform_counts_before_qform_and_a_difference_is_noted() -> None:
    made = image(HU)
    made.set_qform(np.diag([2.0, 2, 2, 1]), code=1)
    ct = nifti.read_ct(raw(made))
    np.testing.assert_allclose(ct.geometry.matrix, AFFINE, atol=1e-5)
    assert any("sform was taken" in note for note in ct.notes)


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


@pytest.mark.parametrize("shape", [(5, 6), (5,), (5, 6, 7, 2), (5, 6, 1, 3)])
def test_images_that_are_not_three_dimensional_are_refused(shape: tuple[int, ...]) -> None:
    error = refusal(raw(nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4))))
    assert error.reason == Reason.IMAGE_NOT_3D


@pytest.mark.parametrize("dim", [(3, 5, 0, 7), (3, 5, -6, 7), (0, 5, 6, 7), (8, 5, 6, 7), (-1, 5, 6, 7)])
def test_dimensions_that_make_no_sense_are_refused(dim: tuple[int, ...]) -> None:
    data = bytearray(raw(image(HU)))
    data[40:48] = struct.pack("<4h", *dim)
    assert refusal(bytes(data)).reason == Reason.IMAGE_NOT_3D


@pytest.mark.parametrize("code", [0, 1, 32, 128, 1536, 1792, 2048, 2304, 9999])
def test_complex_rgb_long_double_and_unknown_types_are_refused(code: int) -> None:
    data = bytearray(raw(image(HU)))
    data[70:72] = struct.pack("<h", code)
    assert refusal(bytes(data)).reason == Reason.DTYPE_UNSUPPORTED


@pytest.mark.parametrize(
    "affine",
    [np.zeros((4, 4)), np.full((4, 4), np.nan), np.diag([1, 1, 0, 1]), np.diag([1, np.inf, 1, 1]), np.ones((4, 4))],
)
def test_affines_that_place_nothing_are_refused(affine: Array) -> None:
    data = bytearray(raw(image(HU)))
    data[280:328] = affine[:3].astype("<f4").tobytes()
    error = refusal(bytes(data))
    assert error.reason == Reason.AFFINE_INVALID
    assert error.remedy


def test_a_header_without_sform_and_qform_is_refused() -> None:
    data = bytearray(raw(image(HU)))
    data[252:256] = bytes(4)
    assert refusal(bytes(data)).reason == Reason.AFFINE_INVALID


def test_a_quaternion_that_is_no_rotation_is_refused() -> None:
    made = image(HU, None)
    made.set_qform(np.eye(4), code=1)
    data = bytearray(raw(made))
    data[252:256] = struct.pack("<2h", 1, 0)
    for value in (3.0, np.nan):
        data[256:260] = struct.pack("<f", value)
        assert refusal(bytes(data)).reason == Reason.AFFINE_INVALID


@pytest.mark.parametrize("keep", [1, 100, 347, 350, 400, 500, -1])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_files_cut_off_anywhere_are_refused(keep: int, pack: Callable[[bytes], bytes]) -> None:
    error = refusal(pack(raw(image(HU))[:keep]))
    assert error.reason in (Reason.FILE_TRUNCATED, Reason.FILE_NOT_NIFTI if keep == 1 else Reason.FILE_TRUNCATED)


def test_gzip_cut_off_anywhere_is_refused() -> None:
    data = gzip.compress(raw(image(HU)))
    for keep in (0, 1, 2, 9, 30, len(data) // 2, len(data) - 9, len(data) - 4, len(data) - 1):
        assert refusal(data[:keep]).reason in (Reason.FILE_TRUNCATED, Reason.FILE_NOT_NIFTI), keep


def test_damaged_gzip_is_refused() -> None:
    data = bytearray(gzip.compress(raw(image(HU))))
    data[-6] ^= 1
    assert refusal(bytes(data)).reason == Reason.DIGEST_MISMATCH


def test_a_header_that_promises_more_than_the_file_can_hold_takes_no_memory() -> None:
    data = bytearray(raw(image(HU)))
    data[40:48] = struct.pack("<4h", 3, 4096, 4096, 4096)
    for source in (bytes(data), gzip.compress(data)):
        assert refusal(source).reason == Reason.FILE_TRUNCATED


def test_axes_beyond_the_limit_are_refused() -> None:
    data = bytearray(raw(image(HU)))
    data[40:48] = struct.pack("<4h", 3, 30000, 512, 30000)
    assert refusal(bytes(data)).reason == Reason.VOLUME_TOO_LARGE


def test_gzip_bomb_is_refused_without_being_unpacked() -> None:
    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            self.taken += len(data)
            return data

        def readinto(self, buffer: Any) -> int:
            count = super().readinto(buffer)
            self.taken += count
            return count

    small = raw(image(HU))
    bomb = Counting(gzip.compress(small) + gzip.compress(bytes(2**20)) * 100_000)
    assert refusal(bomb).reason == Reason.FILE_TOO_LARGE
    assert bomb.taken < len(bomb.getvalue()) / 4


def test_padding_after_the_voxels_is_tolerated_up_to_a_bound() -> None:
    data = raw(image(HU))
    np.testing.assert_array_equal(nifti.read_ct(gzip.compress(data + bytes(TRAILING_BYTES - 1024))).voxels, HU)
    for source in (data + bytes(TRAILING_BYTES + 1024), gzip.compress(data + bytes(TRAILING_BYTES + 1024))):
        assert refusal(source).reason == Reason.FILE_TOO_LARGE


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 30034121\n", "Git-LFS"),
        (bytes.fromhex("00051607") + bytes(174), "AppleDouble"),
        (bytes(128) + b"DICM" + bytes(600), "DICOM"),
        (b"<!DOCTYPE html><html></html>", "web page"),
        (b"PK\x03\x04" + bytes(600), "zip"),
        (b"just some text", "NIfTI"),
        (bytes(1000), "NIfTI"),
        (struct.pack("<i", 348) + bytes(1000), "Analyze"),
        (struct.pack("<i", 348) + bytes(340) + b"ni1\0" + bytes(1000), ".hdr"),
    ],
)
def test_files_that_are_something_else_are_named(content: bytes, word: str) -> None:
    for source in (content, gzip.compress(content)):
        error = refusal(source, nifti.read_header)
        assert error.reason == Reason.FILE_NOT_NIFTI
        assert error.remedy
        if source is content:
            assert word in error.message


@pytest.mark.parametrize("offset", [3.0, 353.5, -8.0, 1e12, float("nan")])
def test_voxel_offsets_that_cannot_be_right_are_refused(offset: float) -> None:
    data = bytearray(raw(image(HU)))
    data[108:112] = struct.pack("<f", offset)
    assert refusal(bytes(data)).reason == Reason.FILE_NOT_NIFTI


@given(st.binary(max_size=700), st.sampled_from([348, 540]), st.sampled_from(["<", ">"]))
@settings(max_examples=300, deadline=None)
def test_garbage_is_refused_and_never_crashes(noise: bytes, size: int, order: str) -> None:
    garbage = struct.pack(f"{order}i", size) + noise
    magic = (344, b"n+1\0") if size == 348 else (4, b"n+2\0\r\n\x1a\n")
    garbage = garbage[: magic[0]].ljust(magic[0], b"\1") + magic[1] + garbage[magic[0] + len(magic[1]) :]
    refusal(garbage)


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


class TestLabels:
    @pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "f4", "f8", ">f8", ">i2"])
    def test_label_maps_in_any_type(self, dtype: str) -> None:
        labels = (np.arange(7 * 6 * 5).reshape(7, 6, 5) % 26).astype(dtype)
        read = nifti.read_labels(raw(image(labels.astype(dtype))))
        np.testing.assert_array_equal(read.voxels, labels)
        assert read.voxels.dtype == np.uint8

    def test_ids_over_255_are_kept(self) -> None:
        labels = np.zeros((7, 6, 5), np.int32)
        labels[6, 5, 4], labels[0, 0, 0] = 4000, 7
        read = nifti.read_labels(raw(image(labels)))
        assert read.voxels.dtype == np.uint16
        assert (read.voxels[6, 5, 4], read.voxels[0, 0, 0]) == (4000, 7)

    @pytest.mark.parametrize(("value", "dtype"), [(-1, "i2"), (70000, "i4"), (0.5, "f4"), (1e30, "f8")])
    def test_values_that_are_no_ids_are_refused(self, value: float, dtype: str) -> None:
        labels = np.zeros((7, 6, 5), dtype)
        labels[4, 3, 2] = value
        assert refusal(raw(image(labels)), nifti.read_labels).reason == Reason.LABEL_UNKNOWN

    def test_nan_is_refused(self) -> None:
        labels = np.zeros((7, 6, 5), np.float32)
        labels[4, 3, 2] = np.nan
        for read in (nifti.read_labels, nifti.read_mask):
            assert refusal(raw(image(labels)), read).reason == Reason.VOXELS_NOT_FINITE


class TestMask:
    @pytest.mark.parametrize(
        ("foreground", "dtype"),
        [(1, "u1"), (255, "u1"), (1, "i2"), (7, "i2"), (1, "f4"), (0.5, "f4"), (1, ">f8"), (255, ">f8")],
    )
    def test_two_values_are_a_mask(self, foreground: float, dtype: str) -> None:
        truth = (HU > 0).astype(np.uint8)
        mask = nifti.read_mask(raw(image((truth * foreground).astype(dtype))))
        np.testing.assert_array_equal(mask.voxels, truth)
        assert bool(mask.notes) == (foreground != 1)

    @pytest.mark.parametrize("first", [0, 1])
    def test_background_is_zero_whatever_comes_first(self, first: int) -> None:
        truth = np.full((7, 6, 5), first, np.uint8)
        truth[3:] = 1 - first
        np.testing.assert_array_equal(nifti.read_mask(raw(image(truth))).voxels, truth)

    @pytest.mark.parametrize("value", [0, 1])
    def test_one_value_is_empty_or_full(self, value: int) -> None:
        mask = nifti.read_mask(raw(image(np.full((7, 6, 5), value, np.uint8))))
        assert (mask.voxels == value).all()

    def test_slope_of_one_over_255(self) -> None:
        truth = HU > 0
        made = raw(image(np.where(truth, 127, -128).astype(np.int8)))
        data = made[:112] + struct.pack("<2f", 1 / 255, 0.50196) + made[120:]
        np.testing.assert_array_equal(nifti.read_mask(data).voxels, truth)
        np.testing.assert_array_equal(nifti.read_labels(data).voxels, truth)

    @pytest.mark.parametrize("values", [(0, 1, 2), (1, 2), (-1, 1), (0, 1, 255)])
    def test_anything_else_is_refused(self, values: tuple[int, ...]) -> None:
        data = np.resize(np.array(values, np.int16), (7, 6, 5))
        error = refusal(raw(image(data)), nifti.read_mask)
        assert error.reason == Reason.MASK_NOT_BINARY
        assert str(values[0]) in error.message

    def test_a_third_value_in_a_later_slab_is_seen(self) -> None:
        data = np.zeros((40, 512, 512), np.uint8)
        data[0, 0, 0], data[39, 0, 0] = 1, 2
        assert refusal(raw(image(data)), nifti.read_mask).reason == Reason.MASK_NOT_BINARY


ORIENTED = st.tuples(st.permutations(range(3)), st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3))


class TestWrite:
    @given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, max_side=9)), ORIENTED, st.data())
    @settings(max_examples=100, deadline=None)
    def test_round_trip(self, voxels: Array, oriented: Any, data: st.DataObject) -> None:
        spacing = data.draw(st.tuples(*[st.floats(0.25, 6, width=32)] * 3))
        matrix: Array = np.zeros((3, 4))
        for column, (row, sign) in enumerate(zip(*oriented, strict=True)):
            matrix[row, column] = sign * spacing[column]
        matrix[:, 3] = data.draw(st.tuples(*[st.floats(-500, 500, width=32)] * 3))
        geometry = Geometry.from_matrix((voxels.shape[2], voxels.shape[1], voxels.shape[0]), matrix)
        written = nifti.encode(voxels, geometry)
        read = nifti.read_labels(written)
        np.testing.assert_array_equal(read.voxels, voxels)
        assert read.geometry == geometry
        assert nifti.encode(voxels, geometry) == written
        oracle = nib.Nifti1Image.from_bytes(gzip.decompress(written))
        np.testing.assert_array_equal(np.asarray(oracle.dataobj), voxels.T)
        np.testing.assert_array_equal(oracle.affine[:3], matrix)

    @pytest.mark.parametrize("cls", [nib.Nifti1Image, nib.Nifti2Image])
    @pytest.mark.parametrize("codes", [(1, 0), (0, 1), (1, 1), (2, 4)])
    def test_placement_is_the_cts_own(self, cls: type, codes: tuple[int, int], tmp_path: Path) -> None:
        affine = AFFINE.copy()
        affine[:3, :3] = np.linalg.qr(AFFINE[:3, :3])[0] * (0.7, 0.7, 2.5)
        made = cls(HU.T, affine)
        made.set_qform(affine, code=codes[0])
        made.set_sform(affine, code=codes[1])
        header = nifti.read_header(raw(made))
        path = tmp_path / "liver.nii.gz"
        nifti.write_mask(path, (HU > 0).astype(np.uint8), header.geometry, header)
        again = nifti.read_mask(path)
        assert again.geometry == header.geometry
        assert again.header.placement == header.placement
        oracle: Any = nib.load(path)
        assert oracle.__class__.__name__ == cls.__name__
        np.testing.assert_array_equal(oracle.affine, made.affine)
        assert (int(oracle.header["qform_code"]), int(oracle.header["sform_code"])) == codes
        assert oracle.get_data_dtype() == np.uint8
        assert list(tmp_path.iterdir()) == [path]

    def test_bytes_hold_no_time_and_no_name(self, tmp_path: Path) -> None:
        header = nifti.read_header(raw(image(HU)))
        nifti.write_ct(tmp_path / "a.nii.gz", HU, header.geometry, header)
        nifti.write_ct(tmp_path / "b.nii.gz", HU, header.geometry, header)
        assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
        assert (tmp_path / "a.nii.gz").read_bytes()[3:8] == bytes(5)
        np.testing.assert_array_equal(nifti.read_ct(tmp_path / "a.nii.gz").voxels, HU)

    def test_voxels_of_another_grid_are_refused(self) -> None:
        header = nifti.read_header(raw(image(HU)))
        other = Geometry.from_matrix((5, 6, 7), np.eye(4))
        for voxels, geometry in ((HU[1:], header.geometry), (HU, other)):
            with pytest.raises(AtlasError) as caught:
                nifti.encode(voxels, geometry, header)
            assert caught.value.reason == Reason.GEOMETRY_MISMATCH
