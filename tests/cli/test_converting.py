"""Folders of cases as nnU-Net reads them."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

import services.cli.__main__  # noqa: F401 - registers the commands
from services.cli.app import app
from services.cli.conversion import nnunet
from services.cli.conversion.cases import LaidOut, read_cases
from services.cli.conversion.nnunet import shared_organs, write_nnunet
from services.cli.release.contents import read_contents
from services.cli.release.split import Lot
from services.cli.release.writer import write_release
from services.core.errors import AtlasError, Reason
from tests.cli.archive import CAMPAIGN, Archive
from tests.cli.conftest import block

nib: Any = nibabel
NAME = "Dataset701_Trial"
FIRST, SECOND = "BDMAP_00000001", "BDMAP_00000002"


@pytest.fixture
def release(archive: Archive, tmp_path: Path) -> Path:
    """The first case without a liver, the second with one; one of the two for testing."""
    folder = tmp_path / "release"
    write_release(archive.connection.storage, read_contents(archive.connection, CAMPAIGN, Lot(0.5)), folder)
    return folder


def laid_out(folder: Path) -> list[LaidOut]:
    return [case for case in read_cases(folder)[1] if isinstance(case, LaidOut)]


def voxels(path: Path) -> Any:
    return np.asarray(nib.load(path).dataobj)


def test_the_layout_is_the_one_of_nnunet(release: Path, tmp_path: Path) -> None:
    cases = laid_out(release)
    to = tmp_path / NAME
    written = write_nnunet(cases, ("aorta", "spleen"), to)
    test, train = sorted(cases, key=lambda case: not case.is_test)
    assert {path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()} == {
        "dataset.json",
        f"imagesTr/{train.name}_0000.nii.gz",
        f"labelsTr/{train.name}.nii.gz",
        f"imagesTs/{test.name}_0000.nii.gz",
        f"labelsTs/{test.name}.nii.gz",
    }
    assert (written.training, written.testing, written.left_out, written.refused) == (1, 1, {}, [])
    told = json.loads((to / "dataset.json").read_text())
    assert told["labels"] == {"background": 0, "aorta": 1, "spleen": 2}
    assert (told["channel_names"], told["numTraining"], told["file_ending"]) == ({"0": "CT"}, 1, ".nii.gz")
    for side, case in (("Tr", train), ("Ts", test)):
        image = to / f"images{side}/{case.name}_0000.nii.gz"
        label = nib.load(to / f"labels{side}/{case.name}.nii.gz")
        assert image.samefile(case.ct), "a CT takes no room twice"
        assert np.array_equal(label.affine, nib.load(image).affine)
        spleen = voxels(case.masks["spleen"]) > 0
        assert np.array_equal(np.asarray(label.dataobj) == 2, spleen & (voxels(case.masks["aorta"]) == 0))


def test_where_masks_overlap_the_higher_origin_shows(archive: Archive, tmp_path: Path) -> None:
    """A revised spleen lies over the aorta of the models, although the aorta's number is lower; that over the rest."""
    item = next(item for item in archive.items if item.volume == "volumes/case-a")
    archive.add_review(item, {"spleen": block((2, 8), (10, 20), (16, 24))})
    write_release(archive.connection.storage, read_contents(archive.connection, CAMPAIGN), tmp_path / "release")
    (case,) = (case for case in laid_out(tmp_path / "release") if case.name == FIRST)
    spleen, aorta = (voxels(case.masks[organ]) > 0 for organ in ("spleen", "aorta"))
    assert (spleen & aorta).any()
    write_nnunet([case], ("aorta", "spleen"), tmp_path / NAME)
    shown = voxels(tmp_path / NAME / f"labelsTr/{FIRST}.nii.gz")
    np.testing.assert_array_equal(shown, np.where(spleen, 2, aorta))


def test_a_case_with_an_unknown_organ_is_left_out(release: Path, tmp_path: Path) -> None:
    """nnU-Net would take the liver, of which nobody said anything, for background."""
    written = write_nnunet(laid_out(release), ("liver", "spleen"), tmp_path / NAME)
    assert written.left_out == {FIRST: ("liver",)}
    assert written.training + written.testing == 1
    with pytest.raises(AtlasError, match="In no case"):
        write_nnunet(laid_out(release), ("pancreas",), tmp_path / "Dataset702_None")


def test_by_default_it_is_the_organs_that_all_cases_have(release: Path) -> None:
    class_map, _ = read_cases(release)
    assert shared_organs(laid_out(release), class_map.organs) == ("aorta", "gall_bladder", "spleen")


def test_folders_of_others_have_no_split_and_no_provenance(release: Path, tmp_path: Path) -> None:
    for path in (*release.glob("*.*"), *release.rglob("provenance.json")):
        path.unlink()
    class_map, _ = read_cases(release)
    assert class_map.name == "abdomenatlas-1.0"
    written = write_nnunet(laid_out(release), ("spleen",), tmp_path / NAME)
    assert (written.training, written.testing) == (2, 0)
    assert not (tmp_path / NAME / "imagesTs").exists()


def test_a_mask_on_another_grid_is_refused_and_the_rest_is_written(release: Path, tmp_path: Path) -> None:
    path = release / FIRST / "segmentations/spleen.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), image.affine @ np.diag([-1, -1, 1, 1])), path)
    shown = CliRunner().invoke(app, ["convert", str(release), "--to", str(tmp_path / NAME), "--json"])
    assert shown.exit_code == 1
    assert json.loads(shown.stdout)["refused"] == [str(release / FIRST)]
    names = {path.name for path in (tmp_path / NAME).rglob("*.nii.gz")}
    assert names == {f"{SECOND}_0000.nii.gz", f"{SECOND}.nii.gz"}


def _breaks_off(number: int, case: str) -> Callable[[Path, Path], None]:
    """Copies of this case's CT end half way, with an error of the system."""
    whole = nnunet._link

    def link(source: Path, target: Path) -> None:
        if source.parent.name != case:
            return whole(source, target)
        target.write_bytes(source.read_bytes()[:1000])
        raise OSError(number, os.strerror(number))

    return link


def test_of_a_case_whose_ct_breaks_off_nothing_is_left(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nnunet, "_link", _breaks_off(errno.EIO, FIRST))
    written = write_nnunet(laid_out(release), ("spleen",), tmp_path / NAME)
    assert [refusal.path.name for refusal in written.refused] == [FIRST]
    assert {path.name for path in (tmp_path / NAME).rglob("*.nii.gz")} == {f"{SECOND}_0000.nii.gz", f"{SECOND}.nii.gz"}


def test_a_full_disk_ends_the_conversion_and_leaves_nothing(
    release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nnunet, "_link", _breaks_off(errno.ENOSPC, SECOND))
    with pytest.raises(AtlasError) as caught:
        write_nnunet(laid_out(release), ("spleen",), tmp_path / NAME)
    assert caught.value.reason == Reason.DISK_FULL
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


def test_a_folder_without_a_single_case_is_not_put_in_place(release: Path, tmp_path: Path) -> None:
    cases = laid_out(release)
    for case in cases:
        case.masks["spleen"].write_bytes(b"no volume")
    with pytest.raises(AtlasError, match="None of 2 cases"):
        write_nnunet(cases, ("spleen",), tmp_path / NAME)
    assert [path.name for path in tmp_path.iterdir()] == ["release"]


@pytest.mark.parametrize(("name", "reason"), [("Atlas", Reason.NAME_INVALID), (NAME, Reason.RESOURCE_CONFLICT)])
def test_a_folder_that_nnunet_would_not_find_or_that_is_taken(
    release: Path, tmp_path: Path, name: str, reason: Reason
) -> None:
    (tmp_path / NAME).mkdir()
    with pytest.raises(AtlasError) as caught:
        write_nnunet(laid_out(release), ("spleen",), tmp_path / name)
    assert caught.value.reason == reason
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, "release"]


@pytest.mark.parametrize("organs", [[], ["--organs", "liver"]])
def test_why_no_case_can_be_read_is_told(tmp_path: Path, organs: list[str]) -> None:
    to = ["--to", str(tmp_path / NAME), *organs]
    shown = CliRunner().invoke(app, ["convert", str(tmp_path / "nothere"), *to])
    assert shown.exit_code == 1
    assert "There is no such file or folder." in shown.stderr
    assert "--organs" not in shown.stderr


def test_a_file_is_no_folder_of_cases(release: Path, tmp_path: Path) -> None:
    file = release / FIRST / "ct.nii.gz"
    shown = CliRunner().invoke(app, ["convert", str(file), "--to", str(tmp_path / NAME)])
    assert isinstance(shown.exception, AtlasError)
    assert (shown.exception.field, shown.exception.reason) == (str(file), Reason.FIELD_INVALID)
    assert "Name a folder" in shown.exception.remedy
