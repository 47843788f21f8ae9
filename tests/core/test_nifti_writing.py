"""Files that are written: nibabel reads what was meant, and they lie where their CT does."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.core import nifti
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from tests.core.nifti_images import AFFINE, HU, Array, image, nib, raw

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
