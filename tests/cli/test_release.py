"""A release holds the CT as it came, masks bit for bit on its grid, and where each of them is from."""

import csv
import gzip
import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

import services.cli.__main__  # noqa: F401 - registers the commands
from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.app import app
from services.cli.comparison.cases import read_metadata
from services.cli.reimport.provenance import read_provenance
from services.cli.release.contents import read_contents
from services.cli.release.present import damaged_files, foreign_files, make_way, release_id
from services.cli.release.provenance import identity
from services.cli.release.split import Lot
from services.cli.release.tarball import write_tar
from services.cli.release.writer import write_release
from services.core.errors import AtlasError, Reason
from tests.cli.archive import CAMPAIGN, Archive

nib: Any = nibabel


def write(archive: Archive, folder: Path) -> bool:
    connection = archive.connection
    return write_release(connection.storage, read_contents(connection, CAMPAIGN), folder)


def files(folder: Path) -> dict[str, str]:
    found = (p for p in sorted(folder.rglob("*")) if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def test_the_layout(archive: Archive, tmp_path: Path) -> None:
    """Cases in the order of volume names; absent organs have an empty file, unknown ones none."""
    assert write(archive, tmp_path / "release")
    names = set(files(tmp_path / "release"))
    organs = {"aorta", "gall_bladder", "spleen"}
    expected = {"release.json", "class_map.yaml", "metadata.csv", "datalist.json", "SHA256SUMS"}
    expected |= {"README.md", "LICENSE.md"}
    for case, known in (("BDMAP_00000001", organs), ("BDMAP_00000002", organs | {"liver"})):
        expected |= {f"{case}/{n}" for n in ("ct.nii.gz", "combined_labels.nii.gz", "provenance.json")}
        expected |= {f"{case}/segmentations/{organ}.nii.gz" for organ in known}
    assert names == expected
    absent = nib.load(tmp_path / "release/BDMAP_00000002/segmentations/gall_bladder.nii.gz")
    assert not np.asarray(absent.dataobj).any()
    assert yaml.safe_load((tmp_path / "release/class_map.yaml").read_text())["organs"][5] == "liver"


def test_masks_are_bit_for_bit_on_the_grid_of_the_ct(archive: Archive, tmp_path: Path) -> None:
    write(archive, tmp_path / "release")
    case = tmp_path / "release" / "BDMAP_00000002"
    item = next(i for i in archive.items if i.volume == "volumes/case-b")
    volume, labels = archive.records[item.volume], archive.records[item.label_version]
    assert (case / "ct.nii.gz").read_bytes() == archive.objects[volume.ct.name]
    ct = nib.load(case / "ct.nii.gz")
    masks = archive.array(labels.masks)
    for organ in masks.channels:
        image = nib.load(case / "segmentations" / f"{organ}.nii.gz")
        assert image.get_data_dtype() == np.uint8
        assert np.array_equal(np.asarray(image.dataobj).T, masks.channel(organ))
        assert np.array_equal(image.affine, ct.affine)
        assert np.array_equal(image.get_qform(), ct.get_qform())
        assert (image.header["sform_code"], image.header["qform_code"]) == (2, 1)
        assert b"Jane" not in image.header.binaryblock, "texts of the CT's header may name a person"
    combined = nib.load(case / "combined_labels.nii.gz")
    assert set(np.unique(np.asarray(combined.dataobj))) == {0, 1, 5, 8}


def test_where_readers_disagree_is_in_the_release(archive: Archive, tmp_path: Path) -> None:
    """As numbers of readers, on the CT's grid; a case whose readers were not brought together has no such folder."""
    item = next(i for i in archive.items if i.volume == "volumes/case-b")
    against = (np.arange(40 * 36 * 20).reshape(20, 36, 40) % 4).astype(np.uint8)
    archive.disagree(item.label_version, "spleen", against)
    write(archive, tmp_path / "release")
    case = tmp_path / "release/BDMAP_00000002"
    image = nib.load(case / "disagreement/spleen.nii.gz")
    assert np.array_equal(np.asarray(image.dataobj).T, against)
    assert np.array_equal(image.affine, nib.load(case / "ct.nii.gz").affine)
    assert sorted((tmp_path / "release").glob("*/disagreement/*")) == [case / "disagreement/spleen.nii.gz"]
    assert damaged_files(tmp_path / "release") == []


def test_the_same_labels_give_the_same_bytes(archive: Archive, tmp_path: Path) -> None:
    write(archive, tmp_path / "one")
    write(archive, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert damaged_files(tmp_path / "one") == []


def test_provenance_tells_each_organ_apart(archive: Archive, tmp_path: Path) -> None:
    write(archive, tmp_path / "release")
    told = json.loads((tmp_path / "release/BDMAP_00000002/provenance.json").read_text())
    organs = told["organs"]
    assert {organ: facts["origin"] for organ, facts in organs.items()} == {
        "aorta": "ai",
        "gall_bladder": "ai",
        "liver": "source",
        "spleen": "revision",
    }
    assert organs["spleen"]["reviewer"] == "Dr. Example"
    assert organs["liver"]["author"] == "<b>set</b>"
    assert organs["aorta"]["models"] == ["models/unet/versions/1", "models/unetr/versions/1"]
    assert told["source"] == {"dataset": "<b>set</b>", "id": "case-b", "licence": "CC-BY-4.0", "hospital": None}
    assert told["unknown_organs"] == ["kidney_left", "kidney_right", "pancreas", "postcava", "stomach"]
    assert [len(model["weights_sha256"]) for model in told["models"]] == [64, 64]
    assert told["reviews"][0]["decision"] == "revised"


def test_notes_are_released_without_names_of_files(archive: Archive, tmp_path: Path) -> None:
    """Archives hold notes that begin with the folders of their file, and those may be named after patients."""
    labels = archive.records[next(i.label_version for i in archive.items if i.volume == "volumes/case-b")]
    (source,) = (organ.label_version for organ in labels.organs if organ.organ == "liver")
    archive.records[source].notes.extend(
        [
            "Doe: Jane/case 1/segmentations/liver.nii.gz: The mask's foreground is 255; it was taken for 1.",
            "Doe: Jane/case 1/segmentations/pancreas.nii.gz: The mask's foreground is 255; it was taken for 1.",
            "labelsTr/Doe_Jane.nii: The header's grid is the CT's but for rounding.",
            "kidney: two components of 1/2 of the size.",
        ]
    )
    write(archive, tmp_path / "release")
    told = read_provenance(tmp_path / "release/BDMAP_00000002/provenance.json").given[0]
    assert list(told.notes) == [
        "liver.nii.gz: The mask's foreground is 255; it was taken for 1.",
        "pancreas.nii.gz: The mask's foreground is 255; it was taken for 1.",
        "label map: The header's grid is the CT's but for rounding.",
        "kidney: two components of 1/2 of the size.",
    ]


def test_provenance_tells_by_which_class_map_a_source_was_read(archive: Archive, tmp_path: Path) -> None:
    """With its version, beside the organ and in the record that an import goes by."""
    (given,) = (r for r in archive.records.values() if isinstance(r, pb.LabelVersion) and r.author == "<b>set</b>")
    given.dataset_map, given.dataset_map_version = "amos22", 3
    write(archive, tmp_path / "release")
    path = tmp_path / "release/BDMAP_00000002/provenance.json"
    liver = json.loads(path.read_text())["organs"]["liver"]
    assert (liver["dataset_map"], liver["dataset_map_version"]) == ("amos22", 3)
    (record,) = (version for version in read_provenance(path).given if version.dataset_map)
    assert (record.name, record.dataset_map_version) == (given.name, 3)


def test_the_table_of_cases(archive: Archive, tmp_path: Path) -> None:
    """Source, grid and volumes: 0 ml for an absent organ, nothing for an unknown one, and read by `atlas compare`."""
    archive.records["volumes/case-b"].hospital = 'Clinic "North", Ward 1'
    archive.records["volumes/case-b"].phase = "arterial"
    write(archive, tmp_path / "release")
    path = tmp_path / "release" / "metadata.csv"
    with path.open(newline="", encoding="utf-8") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["BDMAP_00000001", "BDMAP_00000002"]
    row = rows["BDMAP_00000002"]
    told = [row[name] for name in ("dataset", "source_id", "hospital", "licence")]
    assert told == ["<b>set</b>", "case-b", 'Clinic "North", Ward 1', "CC-BY-4.0"]
    assert [row[f"shape_{axis}"] for axis in "ijk"] == ["40", "36", "20"]
    assert [row[f"spacing_{axis}_mm"] for axis in "ijk"] == ["2", "2.5", "5"]
    assert row["orientation"] == "LPS"
    liver = nib.load(tmp_path / "release/BDMAP_00000002/segmentations/liver.nii.gz")
    voxels = np.count_nonzero(np.asarray(liver.dataobj))
    assert float(row["liver_ml"]) == pytest.approx(voxels * 2 * 2.5 * 5 / 1000, abs=1e-3)
    assert (float(row["gall_bladder_ml"]), row["pancreas_ml"]) == (0, "")
    assert read_metadata(path) == {
        "BDMAP_00000001": {},
        "BDMAP_00000002": {"dataset": "<b>set</b>", "phase": "arterial"},
    }


def test_scans_that_came_twice_are_on_one_side(archive: Archive) -> None:
    alone = read_contents(archive.connection, CAMPAIGN, Lot(test_share=0.5)).sides
    assert sorted(alone.values()) == ["test", "train"]
    archive.duplicates = [pb.DuplicateGroup(volumes=["volumes/case-a", "volumes/case-b", "volumes/elsewhere"])]
    for share in (0.1, 0.9):
        sides = read_contents(archive.connection, CAMPAIGN, Lot(test_share=share)).sides
        assert set(sides.values()) == {"test" if share > 0.5 else "train"}


def test_the_tarball_is_the_same_to_the_byte(archive: Archive, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(archive, tmp_path / name / "release")
        os.utime(tmp_path / name / "release" / "release.json", (len(name), len(name)))
        write_tar(tmp_path / name / "release", tmp_path / f"{name}.tar")
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    with tarfile.open(tmp_path / "one.tar") as packed:
        packed.extractall(tmp_path / "unpacked", filter="data")
    assert files(tmp_path / "unpacked" / "release") == files(tmp_path / "one" / "release")
    with pytest.raises(AtlasError, match="such a file already"):
        write_tar(tmp_path / "one" / "release", tmp_path / "two.tar")


@pytest.mark.parametrize(
    ("tar", "told"),
    [("release/r.tar", "cannot hold"), ("release", "cannot hold"), ("taken.tar", "such a file already")],
)
def test_a_tar_file_that_cannot_be_is_refused_before_the_export(tmp_path: Path, tar: str, told: str) -> None:
    """No stack is asked for anything; the command would else say that there is none."""
    (tmp_path / "taken.tar").touch()
    arguments = ["export", "first", "--to", str(tmp_path / "release"), "--tar", str(tmp_path / tar)]
    refused = CliRunner().invoke(app, [*arguments, "--state", str(tmp_path / "state")])
    assert told in str(refused.exception)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.tar"]


def test_the_folder_of_a_tar_file_is_made(archive: Archive, tmp_path: Path) -> None:
    write(archive, tmp_path / "release")
    write_tar(tmp_path / "release", tmp_path / "new" / "folder" / "r.tar")
    assert [path.name for path in (tmp_path / "new" / "folder").iterdir()] == ["r.tar"]


def test_what_the_table_tells_is_part_of_the_id(archive: Archive) -> None:
    before = identity(read_contents(archive.connection, CAMPAIGN))
    archive.records["volumes/case-b"].hospital = "North"
    assert identity(read_contents(archive.connection, CAMPAIGN)) != before


def test_a_second_export_changes_nothing(archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    assert write(archive, folder)
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    assert not write(archive, folder)
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*")}


def test_other_contents_are_never_touched(archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years")
    with pytest.raises(AtlasError) as caught:
        write(archive, folder)
    assert caught.value.reason == Reason.RESOURCE_CONFLICT
    assert [p.name for p in tmp_path.iterdir()] == ["release"]
    assert (folder / "thesis.tex").read_text() == "years"


def test_a_damaged_release_is_noticed(archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    write(archive, folder)
    (folder / "BDMAP_00000001/segmentations/aorta.nii.gz").write_bytes(b"")
    with pytest.raises(AtlasError, match=r"1 of its files changed"):
        write(archive, folder)


def test_an_accepted_review_makes_another_release(archive: Archive, tmp_path: Path) -> None:
    """It changes no voxel, but the release tells who looked."""
    review = archive.add_review(next(item for item in archive.items if item.volume == "volumes/case-a"))
    write(archive, tmp_path / "before")
    review.MergeFrom(sched.Review(state=sched.Review.STATE_DONE, decision=sched.Review.DECISION_ACCEPTED))
    review.reviewer = "Dr. Example"
    with pytest.raises(AtlasError, match="something other than this release"):
        write(archive, tmp_path / "before")
    assert write(archive, tmp_path / "after")
    assert release_id(tmp_path / "after") != release_id(tmp_path / "before")
    told = json.loads((tmp_path / "after/BDMAP_00000001/provenance.json").read_text())
    assert [(r["reviewer"], r["decision"]) for r in told["reviews"]] == [("Dr. Example", "accepted")]


def test_a_whole_release_makes_way_for_another(archive: Archive, tmp_path: Path) -> None:
    folder = tmp_path / "release"
    write(archive, folder)
    assert make_way(folder, release_id(folder) or "") is None
    assert folder.exists(), "the same release stays"
    assert make_way(folder, "another") is None
    assert list(tmp_path.iterdir()) == []


def _add_notes(folder: Path) -> None:
    (folder / "BDMAP_00000001" / "notes.txt").write_text("years")


def _add_link(folder: Path) -> None:
    (folder / "more").symlink_to(folder.parent)


def _edit_mask(folder: Path) -> None:
    (folder / "BDMAP_00000001/segmentations/aorta.nii.gz").write_bytes(b"corrected by hand")


def _lose_checksums(folder: Path) -> None:
    (folder / "SHA256SUMS").unlink()


@pytest.mark.parametrize("change", [_add_notes, _add_link, _edit_mask, _lose_checksums])
def test_what_a_person_did_to_a_release_is_set_aside(
    archive: Archive, tmp_path: Path, change: Callable[[Path], None]
) -> None:
    folder = tmp_path / "release"
    for number in (1, 2):
        write(archive, folder)
        change(folder)
        before = files(folder)
        assert make_way(folder, "another") == tmp_path / f"release-kept-{number}"
        assert not folder.exists()
        assert files(tmp_path / f"release-kept-{number}") == before


def test_a_folder_without_a_release_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years")
    assert make_way(tmp_path, "any") is None
    assert foreign_files(tmp_path) == ["thesis.tex"]


def test_a_failed_export_leaves_nothing(archive: Archive, tmp_path: Path) -> None:
    contents = read_contents(archive.connection, CAMPAIGN)
    archive.objects.pop(contents.cases[1].labels.masks.object.name)
    with pytest.raises(KeyError):
        write_release(archive.connection.storage, contents, tmp_path / "release")
    assert list(tmp_path.iterdir()) == []


def test_a_ct_without_gzip_is_compressed_the_same_way_every_time(archive: Archive, tmp_path: Path) -> None:
    for item in archive.items:
        volume: pb.Volume = archive.records[item.volume]
        volume.ct.CopyFrom(archive.put(gzip.decompress(archive.objects[volume.ct.name])))
    write(archive, tmp_path / "one")
    write(archive, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    plain = gzip.decompress((tmp_path / "one/BDMAP_00000001/ct.nii.gz").read_bytes())
    assert plain == archive.objects[archive.records["volumes/case-a"].ct.name]


def test_without_labels_there_is_no_release(archive: Archive) -> None:
    for item in archive.items:
        item.label_version = ""
    with pytest.raises(AtlasError) as caught:
        read_contents(archive.connection, CAMPAIGN)
    assert caught.value.reason == Reason.CAMPAIGN_STATE


def test_volumes_without_labels_are_left_out_by_name(archive: Archive) -> None:
    archive.items[0].label_version, archive.items[0].error = "", "Too large."
    contents = read_contents(archive.connection, CAMPAIGN)
    assert [case.volume.name for case in contents.cases] == ["volumes/case-a"]
    assert contents.left_out == {"volumes/case-b": "Too large."}


def test_withdrawn_volumes_are_left_out_and_the_others_keep_their_numbers(archive: Archive) -> None:
    before = {case.volume.name: case.number for case in read_contents(archive.connection, CAMPAIGN).cases}
    archive.records["volumes/case-a"].withdrawal.reason = "consent was taken back"
    contents = read_contents(archive.connection, CAMPAIGN)
    assert {case.volume.name: case.number for case in contents.cases} == {"volumes/case-b": before["volumes/case-b"]}
    assert contents.left_out == {"volumes/case-a": "withdrawn: consent was taken back"}
    archive.records["volumes/case-b"].withdrawal.reason = "too"
    with pytest.raises(AtlasError, match="was withdrawn"):
        read_contents(archive.connection, CAMPAIGN)
