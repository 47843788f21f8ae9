"""Label maps and masks out of whatever number a file stores them as."""

import struct

import numpy as np
import pytest

from services.core import nifti
from services.core.errors import Reason
from tests.core.nifti_images import HU, image, raw, refusal


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
            error = refusal(raw(image(labels)), read)
            assert error.reason == Reason.VOXELS_NOT_FINITE
            assert error.remedy == "Write 0 there: nothing is labelled."


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

    @pytest.mark.parametrize("values", [(-1024, 1), (-1024, 0), (-1024,), (-2, 0), (1, 2000), (0.01, 255)])
    def test_what_may_be_background_is_never_taken_for_the_organ(self, values: tuple[float, ...]) -> None:
        """A background of air, as whoever fills the gaps of a CT writes it, would turn a mask inside out."""
        error = refusal(raw(image(np.resize(np.array(values, np.float32), (7, 6, 5)))), nifti.read_mask)
        assert error.reason == Reason.MASK_NOT_BINARY
        assert f"this file holds {min(values):.6g}" in error.message
        assert "0 elsewhere" in error.remedy

    def test_255_in_a_signed_byte_is_foreground(self) -> None:
        truth = (HU > 0).astype(np.uint8)
        np.testing.assert_array_equal(nifti.read_mask(raw(image((truth * 255).view(np.int8)))).voxels, truth)

    def test_a_third_value_in_a_later_slab_is_seen(self) -> None:
        data = np.zeros((40, 512, 512), np.uint8)
        data[0, 0, 0], data[39, 0, 0] = 1, 2
        assert refusal(raw(image(data)), nifti.read_mask).reason == Reason.MASK_NOT_BINARY
