"""Every file that is no CT: refused, named, and in bounded memory."""

import gzip
import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.core import nifti
from services.core.errors import Reason
from services.core.nifti.stream import TRAILING_BYTES
from tests.core.nifti_images import HU, Array, image, nib, raw, refusal


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
    assert "-1024" in error.remedy


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
