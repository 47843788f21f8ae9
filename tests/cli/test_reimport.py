"""A release that is imported again: the same records and masks, each of the origin that it had."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

import services.cli.__main__  # noqa: F401 - registers the commands
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.app import app
from services.cli.ingest.discover import Refusal
from services.cli.ingest.importer import Imported
from services.cli.reimport.case import import_released
from services.cli.reimport.folder import ReleasedCase, is_release, released_cases
from services.cli.release.contents import read_contents
from services.cli.release.present import CHECKSUMS, sha256
from services.cli.release.writer import write_release
from services.core.errors import Reason
from services.core.storage import Storage
from tests.cli.archive import CAMPAIGN, Archive

nib: Any = nibabel
REVISED = "BDMAP_00000002"


@pytest.fixture
def release(archive: Archive, tmp_path: Path) -> Path:
    for item in archive.items:
        archive.records[item.volume].hospital, archive.records[item.volume].phase = "North", "arterial"
    folder = tmp_path / "release"
    write_release(archive.connection.storage, read_contents(archive.connection, CAMPAIGN), folder)
    return folder


@pytest.fixture
def fresh(storage: str) -> Storage:
    """The real storage service; the archive that made the release is another one."""
    return Storage(storage)


def bring(storage: Storage, folder: Path) -> list[Imported | Refusal]:
    return [
        import_released(storage, entry, lambda _: lambda _: None) if isinstance(entry, ReleasedCase) else entry
        for entry in released_cases(folder)
    ]


def versions(storage: Storage, volume: str) -> dict[str, pb.LabelVersion]:
    found = storage.rpc.ListLabelVersions(pb.ListLabelVersionsRequest(parent=volume)).label_versions
    return {version.name: version for version in found}


def test_records_masks_and_origins_are_what_they_were(archive: Archive, release: Path, fresh: Storage) -> None:
    done = bring(fresh, release)
    assert all(isinstance(entry, Imported) and not entry.refusals for entry in done), done
    for item in archive.items:
        was, now = archive.records[item.volume], fresh.rpc.GetVolume(pb.GetVolumeRequest(name=item.volume)).volume
        for field in ("voxel_digest", "geometry", "dataset", "source_id", "licence", "hospital", "phase"):
            assert getattr(now, field) == getattr(was, field), field
        labels = archive.records[item.label_version]
        wanted = {labels.name, *(organ.label_version for organ in labels.organs)} - {""}
        found = versions(fresh, item.volume)
        assert set(found) == wanted
        for name in wanted:
            released, version = archive.records[name], found[name]
            for field in ("origin", "author", "class_map", "combined"):
                assert getattr(version, field) == getattr(released, field), field
            assert version.masks == released.masks, "not even a bit of the array file differs"
            for organ, organ_was in zip(version.organs, released.organs, strict=True):
                assert (organ.organ, organ.origin, organ.voxels) == (
                    organ_was.organ,
                    organ_was.origin,
                    organ_was.voxels,
                )
                assert organ.label_version == organ_was.label_version
                models = [archive.records[prediction].model for prediction in organ_was.predictions]
                assert list(organ.models) == models


def test_what_the_release_does_not_hold_is_not_told_of(archive: Archive, tmp_path: Path, fresh: Storage) -> None:
    """Where readers disagreed: neither the voxels' number nor the map comes back, as the readers do not."""
    for item in archive.items:
        labels = archive.records[item.label_version]
        labels.organs[0].disputed_voxels = 7
        archive.disagree(
            labels.name, labels.organs[0].organ, np.ones(archive.array(labels.masks).geometry.array_shape, np.uint8)
        )
    write_release(archive.connection.storage, read_contents(archive.connection, CAMPAIGN), tmp_path / "release")
    for entry in bring(fresh, tmp_path / "release"):
        assert isinstance(entry, Imported)
        assert entry.labels
        assert not entry.labels.HasField("disagreement")
        assert not any(organ.disputed_voxels for organ in entry.labels.organs)


def test_importing_it_twice_changes_nothing(archive: Archive, release: Path, fresh: Storage) -> None:
    first, second = bring(fresh, release), bring(fresh, release)
    for one, two in zip(first, second, strict=True):
        assert isinstance(one, Imported)
        assert isinstance(two, Imported)
        assert (one.volume, one.labels) == (two.volume, two.labels)


def test_of_a_version_that_was_partly_overruled_the_rest_comes_back(
    archive: Archive, tmp_path: Path, fresh: Storage
) -> None:
    """A source that labelled more than went into the labels is not the same version without it."""
    item = next(item for item in archive.items if item.volume == "volumes/case-b")
    labels = archive.records[item.label_version]
    (liver,) = (organ for organ in labels.organs if organ.organ == "liver")
    archive.records[liver.label_version].organs.add(organ="stomach", origin=pb.ORIGIN_SOURCE)
    write_release(archive.connection.storage, read_contents(archive.connection, CAMPAIGN), tmp_path / "release")
    _rename(tmp_path / "release", "case-b", "case-c")
    (entry,) = bring(fresh, tmp_path / "release" / REVISED)
    assert isinstance(entry, Imported)
    assert entry.labels
    (now,) = (organ for organ in entry.labels.organs if organ.organ == "liver")
    kept = versions(fresh, "volumes/case-c")[now.label_version]
    assert [organ.organ for organ in kept.organs] == ["liver"]
    assert kept.name.rsplit("/", 1)[1] != liver.label_version.rsplit("/", 1)[1]
    np.testing.assert_array_equal(
        fresh.array(kept.masks).channel("liver"), archive.array(labels.masks).channel("liver")
    )


@pytest.mark.parametrize("reassigned", [False, True])
def test_what_a_source_took_from_a_revision_stays_taken(
    archive: Archive, tmp_path: Path, fresh: Storage, reassigned: bool
) -> None:
    """Under `clear`, and under `reassign`, where an AI organ gains too: the release holds no other mask of it."""
    item = next(item for item in archive.items if item.volume == "volumes/case-b")
    labels = archive.records[item.label_version]
    masks, changes = archive.array(labels.masks), pb.LabelChange
    (revision,) = (organ.label_version for organ in labels.organs if organ.organ == "spleen")
    taken = np.arange(masks.geometry.shape[0]) < 22
    rest = masks.channel("spleen") & ~taken
    layers = [(organ.origin, {organ.organ: masks.channel(organ.organ)}, organ.label_version) for organ in labels.organs]
    layers += [(pb.ORIGIN_REVISION, {"spleen": rest}, revision)]
    if reassigned:
        layers += [(pb.ORIGIN_AI, {"aorta": masks.channel("aorta") | masks.channel("spleen") & taken}, "")]
    item.label_version = archive.merged(item.volume, masks.geometry, layers)
    for organ in archive.records[item.label_version].organs:
        if organ.organ == "spleen" or (organ.organ == "aorta" and reassigned):
            organ.changes.add(kind=changes.KIND_CLEARED if organ.organ == "spleen" else changes.KIND_REASSIGNED)
    write_release(archive.connection.storage, read_contents(archive.connection, CAMPAIGN), tmp_path / "release")
    _rename(tmp_path / "release", "case-b", f"case-taken-{reassigned:d}")
    (entry,) = bring(fresh, tmp_path / "release" / REVISED)
    assert isinstance(entry, Imported)
    assert entry.labels, entry.refusals
    (now,) = (organ for organ in entry.labels.organs if organ.organ == "spleen")
    kept = versions(fresh, f"volumes/case-taken-{reassigned:d}")[now.label_version]
    assert (kept.origin, kept.author) == (pb.ORIGIN_REVISION, "Dr. Example")
    assert kept.name.rsplit("/", 1)[1] != revision.rsplit("/", 1)[1]
    np.testing.assert_array_equal(fresh.array(kept.masks).channel("spleen"), rest)


def test_labels_that_are_here_bring_nothing_with_them(archive: Archive, release: Path, fresh: Storage) -> None:
    """As in the archive that released them: what was given of theirs is there whole, and not a second time in part."""
    _rename(release, "case-b", "case-here")
    bring(fresh, release / REVISED)
    before = set(versions(fresh, "volumes/case-here"))
    path = release / REVISED / "provenance.json"
    told, digest = json.loads(path.read_text()), sha256(path)
    told["records"][0]["organs"].append({"organ": "stomach", "origin": "ORIGIN_SOURCE"})
    path.write_text(json.dumps(told))
    (release / CHECKSUMS).write_text((release / CHECKSUMS).read_text().replace(digest, sha256(path)))
    (entry,) = bring(fresh, release / REVISED)
    assert isinstance(entry, Imported)
    assert entry.labels
    assert set(versions(fresh, "volumes/case-here")) == before


def _rename(release: Path, old: str, new: str) -> None:
    """Let a case of a release be of another volume."""
    path = release / REVISED / "provenance.json"
    before = sha256(path)
    path.write_text(path.read_text().replace(old, new))
    sums = release / CHECKSUMS
    sums.write_text(sums.read_text().replace(before, sha256(path)))


def _edit_mask(case: Path) -> None:
    (case / "segmentations/liver.nii.gz").write_bytes((case / "segmentations/spleen.nii.gz").read_bytes())


def _lose_mask(case: Path) -> None:
    (case / "segmentations/liver.nii.gz").unlink()


def _add_mask(case: Path) -> None:
    (case / "segmentations/pancreas.nii.gz").write_bytes((case / "segmentations/liver.nii.gz").read_bytes())


def _edit_provenance(case: Path) -> None:
    told = json.loads((case / "provenance.json").read_text())
    told["source"]["licence"] = "CC0-1.0"
    (case / "provenance.json").write_text(json.dumps(told))


@pytest.mark.parametrize(
    ("alter", "named"),
    [
        (_edit_mask, "segmentations/liver.nii.gz"),
        (_lose_mask, "segmentations/liver.nii.gz"),
        (_add_mask, "segmentations/pancreas.nii.gz"),
        (_edit_provenance, "provenance.json"),
    ],
)
def test_an_altered_case_is_refused_as_a_whole_and_named(
    release: Path, fresh: Storage, alter: Callable[[Path], None], named: str
) -> None:
    _rename(release, "case-b", "case-d")
    alter(release / REVISED)
    refused = [
        refusal
        for entry in bring(fresh, release)
        for refusal in ([entry] if isinstance(entry, Refusal) else entry.refusals)
    ]
    assert [refusal.path for refusal in refused] == [release / REVISED / named]
    assert refused[0].error.remedy
    listed = fresh.rpc.ListVolumes(pb.ListVolumesRequest(show_withdrawn=True)).volumes
    assert "volumes/case-d" not in [volume.name for volume in listed]


def _list_anew(release: Path, name: str) -> None:
    """Give a file of the case the checksum that it has now."""
    sums = release / CHECKSUMS
    listed = f"{REVISED}/{name}"
    lines = [
        f"{sha256(release / listed)}  {listed}" if line.endswith(f"  {listed}") else line
        for line in sums.read_text().splitlines()
    ]
    sums.write_text("\n".join(lines) + "\n")


def _other_mask(case: Path) -> str:
    _edit_mask(case)
    return "segmentations/liver.nii.gz"


def _other_grid(case: Path) -> str:
    path = case / "segmentations/liver.nii.gz"
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[:-1], image.affine), path)
    return "segmentations/liver.nii.gz"


def _no_map(case: Path) -> str:
    (case / "combined_labels.nii.gz").write_bytes(b"labels")
    return "combined_labels.nii.gz"


def _other_class_map(case: Path) -> str:
    told = json.loads((case / "provenance.json").read_text())
    told["records"][0]["class_map"] = "nobodys-1.0"
    (case / "provenance.json").write_text(json.dumps(told))
    return "provenance.json"


@pytest.mark.parametrize("alter", [_other_mask, _other_grid, _no_map, _other_class_map])
def test_labels_that_cannot_go_in_keep_their_ct_out(
    release: Path, fresh: Storage, alter: Callable[[Path], str]
) -> None:
    """Even if somebody made checksums anew: storage would take the CT and refuse its labels."""
    volume = f"case-{alter.__name__.replace('_', '')}"
    _rename(release, "case-b", volume)
    altered = alter(release / REVISED)
    _list_anew(release, altered)
    (entry,) = bring(fresh, release / REVISED)
    assert isinstance(entry, Imported)
    assert [refusal.path for refusal in entry.refusals] == [release / REVISED / altered]
    assert (entry.volume, entry.labels) == (None, None)
    listed = fresh.rpc.ListVolumes(pb.ListVolumesRequest(show_withdrawn=True)).volumes
    assert f"volumes/{volume}" not in [volume.name for volume in listed]


def test_a_volume_that_is_something_else_here_is_not_touched(release: Path, fresh: Storage) -> None:
    bring(fresh, release)
    path = release / REVISED / "provenance.json"
    _rename(release, "<b>set</b>", "another")
    (refusal,) = (r for entry in bring(fresh, release) if isinstance(entry, Imported) for r in entry.refusals)
    assert "another file or was described otherwise" in refusal.error.message
    assert path.is_file()


@pytest.mark.parametrize("field", ["author", "class_map", "origin", "organs"])
def test_a_label_version_that_is_something_else_here_is_refused(release: Path, fresh: Storage, field: str) -> None:
    bring(fresh, release)
    path = release / REVISED / "provenance.json"
    before, told = sha256(path), json.loads(path.read_text())
    labels = told["records"][-1]
    changed = {
        "author": "somebody",
        "class_map": "other-1.0",
        "origin": "ORIGIN_SOURCE",
        "organs": labels["organs"][1:],
    }
    assert labels[field] != changed[field]
    labels[field] = changed[field]
    path.write_text(json.dumps(told))
    (release / CHECKSUMS).write_text((release / CHECKSUMS).read_text().replace(before, sha256(path)))
    (refusal,) = (r for entry in bring(fresh, release) if isinstance(entry, Imported) for r in entry.refusals)
    assert refusal.error.reason == Reason.RESOURCE_CONFLICT
    assert refusal.error.field == labels["name"]


def test_the_command_knows_a_release(release: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATLAS_STORAGE", storage)
    assert is_release(release)
    assert is_release(release / REVISED)
    shown = CliRunner().invoke(app, ["import", str(release), "--json"])
    assert shown.exit_code == 0, shown.output
    assert {entry["volume"] for entry in json.loads(shown.stdout)} == {"volumes/case-a", "volumes/case-b"}
    refused = CliRunner().invoke(app, ["import", str(release), "--dataset", "amos22"])
    assert "tells by itself" in str(refused.exception)


def test_a_case_is_found_from_inside_its_folder(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(release / REVISED)
    assert is_release(Path())
    (entry,) = released_cases(Path())
    assert isinstance(entry, ReleasedCase)
    assert entry.volume_id == REVISED


def test_a_folder_of_a_release_that_is_no_case_of_it_is_refused(release: Path) -> None:
    (release / "notes").mkdir()
    (entry,) = released_cases(release / "notes")
    assert isinstance(entry, Refusal)
    assert "no case" in entry.error.message


def test_a_release_without_its_checksums_is_refused(release: Path, fresh: Storage) -> None:
    (release / CHECKSUMS).unlink()
    (entry,) = bring(fresh, release)
    assert isinstance(entry, Refusal)
    assert CHECKSUMS in entry.error.message
