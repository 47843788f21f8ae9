"""Synthetic cases on disk: what a partially labelled source looks like."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from services.core import nifti
from services.synthetic import SyntheticCase, make_case, write_case


@pytest.fixture(scope="module")
def case() -> SyntheticCase:
    return make_case(5, profile="training")


def test_a_written_case_reads_back(case: SyntheticCase, tmp_path: Path) -> None:
    write_case(case, tmp_path)
    ct = nifti.read_ct(tmp_path / "ct.nii.gz")
    assert np.array_equal(ct.voxels, case.ct)
    assert ct.geometry.is_close(case.geometry)
    for organ, mask in case.masks.items():
        assert np.array_equal(nifti.read_mask(tmp_path / "segmentations" / f"{organ}.nii.gz").voxels, mask)


def test_a_partial_source_writes_its_organs_only(case: SyntheticCase, tmp_path: Path) -> None:
    write_case(case, tmp_path, ["liver", "spleen"])
    assert sorted(path.name for path in (tmp_path / "segmentations").iterdir()) == ["liver.nii.gz", "spleen.nii.gz"]


def test_an_unlabelled_case_has_an_empty_folder(case: SyntheticCase, tmp_path: Path) -> None:
    write_case(case, tmp_path, [])
    assert list((tmp_path / "segmentations").iterdir()) == []


def test_the_command_writes_cases_and_their_truth(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "services.synthetic", str(tmp_path / "in"), "--cases", "2", "--seed", "40"]
    result = subprocess.run(
        [*command, "--profile", "training", "--truth", str(tmp_path / "truth")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(path.name for path in (tmp_path / "in").iterdir()) == ["synthetic_00040", "synthetic_00041"]
    assert [p.name for p in (tmp_path / "in" / "synthetic_00041" / "segmentations").iterdir()] == ["spleen.nii.gz"]
    assert len(list((tmp_path / "truth" / "synthetic_00041" / "segmentations").iterdir())) == 9
    assert "labelled: liver" in result.stdout
