"""What `atlas import` finds in a folder, and what it refuses to touch."""

from pathlib import Path

import pytest

from services.cli.ingest.discover import Case, Refusal, discover, volume_id
from services.cli.ingest.importer import display_name
from services.cli.output import printable
from services.core import classmaps
from services.core.errors import Reason

ORGANS = classmaps.load()


def found(path: Path) -> list[Case | Refusal]:
    return list(discover(path, ORGANS))


def refusal(entry: Case | Refusal) -> tuple[str, Reason]:
    assert isinstance(entry, Refusal)
    assert entry.error.remedy, "every refusal says what to do"
    return entry.path.name, entry.error.reason


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"bytes")
    return folder


def test_a_case_folder(tmp_path: Path) -> None:
    case = make(
        tmp_path / "amos_7", "ct.nii.gz", "segmentations/liver.nii.gz", "segmentations/bone.nii.gz", "notes.txt"
    )
    (entry,) = found(case)
    assert isinstance(entry, Case)
    assert entry.volume_id == "amos_7"
    assert list(entry.masks) == ["liver"]
    assert [path.name for path in entry.ignored] == ["bone.nii.gz"]
    assert not entry.refused


def test_a_file_is_a_case_of_its_own(tmp_path: Path) -> None:
    make(tmp_path, "patient 1.nii.gz", "case/ct.nii.gz")
    (named,) = found(tmp_path / "patient 1.nii.gz")
    (unnamed,) = found(tmp_path / "case" / "ct.nii.gz")
    assert isinstance(named, Case)
    assert isinstance(unnamed, Case)
    assert (named.volume_id, unnamed.volume_id) == ("patient-1", "case")


def test_a_folder_of_cases_goes_on_past_what_is_wrong(tmp_path: Path) -> None:
    make(tmp_path, "b/ct.nii", "a/ct.nii.gz", "loose/scan.nii.gz", ".hidden/ct.nii.gz", "readme.md")
    (tmp_path / "empty").mkdir()
    entries = found(tmp_path)
    assert [e.volume_id for e in entries if isinstance(e, Case)] == ["a", "b"]
    assert [refusal(e) for e in entries if isinstance(e, Refusal)] == [
        ("empty", Reason.FOLDER_EMPTY),
        ("loose", Reason.FOLDER_EMPTY),
    ]


def test_a_folder_of_folders_of_cases_says_where_they_are(tmp_path: Path) -> None:
    make(tmp_path / "out", "cases/a/ct.nii.gz", "cases/b/ct.nii", "notes/readme.md", "report.html")
    make(tmp_path / "away", "c/ct.nii.gz")
    (tmp_path / "out" / "link").symlink_to(tmp_path / "away")
    (entry,) = found(tmp_path / "out")
    assert refusal(entry) == ("out", Reason.FOLDER_EMPTY)
    assert isinstance(entry, Refusal)
    assert entry.error.message.endswith("folders of cases: cases.")
    assert str(tmp_path / "out" / "cases") in entry.error.remedy


def test_loose_files_are_not_taken_for_cts(tmp_path: Path) -> None:
    """A folder of masks must not become a folder of CTs."""
    make(tmp_path, "liver.nii.gz", "spleen.nii.gz")
    (entry,) = found(tmp_path)
    assert refusal(entry)[1] == Reason.FOLDER_EMPTY


def test_loose_files_beside_cases_are_told(tmp_path: Path) -> None:
    """Nobody may believe that a file was imported because nothing was said of it."""
    make(tmp_path, "loose.nii.gz", "._loose.nii.gz", "case/ct.nii.gz", "notes.txt")
    apple, loose, case = found(tmp_path)
    assert refusal(apple) == ("._loose.nii.gz", Reason.FILE_NOT_NIFTI)
    assert refusal(loose) == ("loose.nii.gz", Reason.FIELD_INVALID)
    assert isinstance(case, Case)


def test_a_label_map_counts_only_without_masks(tmp_path: Path) -> None:
    alone = make(tmp_path / "a", "ct.nii.gz", "combined_labels.nii.gz")
    beside = make(tmp_path / "b", "ct.nii.gz", "combined_labels.nii.gz", "segmentations/liver.nii.gz")
    (first,), (second,) = found(alone), found(beside)
    assert isinstance(first, Case)
    assert isinstance(second, Case)
    assert first.label_map == alone / "combined_labels.nii.gz"
    assert second.label_map is None
    assert [path.name for path in second.ignored] == ["combined_labels.nii.gz"]


def test_a_file_that_is_there_compressed_and_not_is_refused(tmp_path: Path) -> None:
    (entry,) = found(make(tmp_path / "a", "ct.nii", "ct.nii.gz", "segmentations/liver.nii"))
    assert refusal(entry) == ("ct.nii", Reason.RESOURCE_CONFLICT)
    (entry,) = found(make(tmp_path / "b", "ct.nii", "combined_labels.nii", "combined_labels.nii.gz"))
    assert isinstance(entry, Case)
    assert [refusal(refused) for refused in entry.refused] == [("combined_labels.nii", Reason.RESOURCE_CONFLICT)]


def test_links_out_of_the_folder_are_refused(tmp_path: Path) -> None:
    make(tmp_path, "secret/liver.nii.gz", "secret/ct.nii.gz")
    case = make(tmp_path / "cases" / "one", "ct.nii.gz", "segmentations/spleen.nii.gz")
    (case / "segmentations" / "liver.nii.gz").symlink_to(tmp_path / "secret" / "liver.nii.gz")
    (tmp_path / "cases" / "two").symlink_to(tmp_path / "secret")
    one, two = found(tmp_path / "cases")
    assert isinstance(one, Case)
    assert list(one.masks) == ["spleen"]
    assert [refusal(r) for r in one.refused] == [("liver.nii.gz", Reason.NAME_INVALID)]
    assert refusal(two) == ("two", Reason.NAME_INVALID)


def test_a_named_link_is_followed(tmp_path: Path) -> None:
    """What the user names is the user's word; only links found inside are not followed out."""
    make(tmp_path / "real", "ct.nii.gz")
    (tmp_path / "alias").symlink_to(tmp_path / "real")
    (entry,) = found(tmp_path / "alias")
    assert isinstance(entry, Case)
    assert entry.volume_id == "alias"


def test_links_inside_the_folder_and_dangling_ones(tmp_path: Path) -> None:
    case = make(tmp_path / "c", "store/x", "segmentations/spleen.nii.gz")
    (case / "ct.nii.gz").symlink_to("store/x")
    (case / "segmentations" / "liver.nii.gz").symlink_to("../store/gone")
    (entry,) = found(case)
    assert isinstance(entry, Case)
    assert [refusal(r) for r in entry.refused] == [("liver.nii.gz", Reason.RESOURCE_NOT_FOUND)]


def test_apple_double_files_folders_and_doubles(tmp_path: Path) -> None:
    case = make(
        tmp_path / "c",
        "ct.nii.gz",
        "segmentations/._liver.nii.gz",
        "segmentations/spleen.nii",
        "segmentations/spleen.nii.gz",
    )
    (case / "segmentations" / "aorta.nii.gz").mkdir()
    (entry,) = found(case)
    assert isinstance(entry, Case)
    assert [refusal(r) for r in entry.refused] == [
        ("._liver.nii.gz", Reason.FILE_NOT_NIFTI),
        ("aorta.nii.gz", Reason.FILE_NOT_NIFTI),
        ("spleen.nii.gz", Reason.FIELD_INVALID),
    ]
    (alone,) = found(make(tmp_path, "._ct.nii.gz") / "._ct.nii.gz")
    assert refusal(alone)[1] == Reason.FILE_NOT_NIFTI


def test_a_folder_in_place_of_the_ct(tmp_path: Path) -> None:
    (tmp_path / "c" / "ct.nii.gz").mkdir(parents=True)
    (entry,) = found(tmp_path / "c")
    assert refusal(entry) == ("ct.nii.gz", Reason.FILE_NOT_NIFTI)


def test_nothing_there(tmp_path: Path) -> None:
    (entry,) = found(tmp_path / "gone")
    assert refusal(entry)[1] == Reason.RESOURCE_NOT_FOUND


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BDMAP_00000001", "BDMAP_00000001"),
        ("../../etc/passwd", "etc-passwd"),
        ("..", "volume"),
        ("a..b", "a.b"),
        ("Müller, Jan", "M-ller-Jan"),
        ("-_.x", "x"),
        ("x" * 80, "x" * 63),
        ("", "volume"),
    ],
)
def test_volume_ids_stay_in_their_folder(name: str, expected: str) -> None:
    assert volume_id(name) == expected


def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    """A file system takes any bytes as a name; ids, messages and requests take text."""
    case = make(tmp_path / "caf\udce9", "ct.nii.gz", "segmentations/liver.nii.gz")
    (entry,) = found(case)
    assert isinstance(entry, Case)
    assert entry.volume_id == "caf"
    assert display_name(entry.masks["liver"]) == "caf?/segmentations/liver.nii.gz"
    assert printable(str(entry.ct)).endswith("caf?/ct.nii.gz")


def test_a_folder_of_dicom_slices_is_told_what_to_do(tmp_path: Path) -> None:
    """By what is in the files: slices often have no ending."""
    (tmp_path / "CT.1.2.3").write_bytes(bytes(128) + b"DICM" + bytes(60))
    (refusal,) = discover(tmp_path, classmaps.load())
    assert isinstance(refusal, Refusal)
    assert refusal.error.reason == Reason.FILE_NOT_NIFTI
    assert "dcm2niix" in refusal.error.remedy
