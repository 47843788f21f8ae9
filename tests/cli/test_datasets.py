"""Public datasets in their own layouts, through the real storage service."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.ingest.dataset_folder import Found, discover_dataset
from services.cli.ingest.discover import Case, Refusal
from services.cli.ingest.importer import Imported, Source, import_case
from services.core import classmaps, datasets, nifti
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry
from services.core.storage import Storage
from services.synthetic.cases import SyntheticCase
from tests.cli import public_datasets as public
from tests.cli.test_command_line import atlas

MAP = classmaps.load()


def find(root: Path, name: str) -> Found:
    return discover_dataset(root, datasets.load(name), MAP)


def bring(address: str, root: Path, name: str) -> list[Imported | Refusal]:
    """Import a dataset as `atlas import --dataset` does."""
    storage, source = Storage(address), Source(name)
    return [
        import_case(storage, entry, source, lambda _: lambda _: None) if isinstance(entry, Case) else entry
        for entry in find(root, name).entries
    ]


def imported(entries: list[Imported | Refusal]) -> dict[str, Imported]:
    """What went in, by source id; nothing may have been refused."""
    assert all(isinstance(entry, Imported) and not entry.refusals for entry in entries), entries
    return {entry.case.source_id: entry for entry in entries if isinstance(entry, Imported)}


def masks(address: str, version: pb.LabelVersion) -> dict[str, npt.NDArray[Any]]:
    array = Storage(address).array(version.masks)
    return {organ: array.channel(organ) for organ in array.channels}


def require_truth(address: str, entry: Imported, case: SyntheticCase, organs: tuple[str, ...]) -> None:
    """Exactly these organs are known, and each is the source's, voxel for voxel."""
    assert entry.labels is not None
    found = masks(address, entry.labels)
    assert set(found) == set(organs)
    for organ in organs:
        np.testing.assert_array_equal(found[organ], case.masks[organ])


def test_decathlon(storage: str, tmp_path: Path) -> None:
    cases = public.decathlon_liver(tmp_path)
    done = imported(bring(storage, tmp_path, "msd-liver"))
    assert set(done) == set(cases)
    require_truth(storage, done["liver_0"], cases["liver_0"], ("liver",))
    assert done["liver_132"].labels is None, "a test image has no labels"
    volume, labels = done["liver_0"].volume, done["liver_0"].labels
    assert volume is not None
    assert labels is not None
    told = (volume.name, volume.dataset, volume.source_id, volume.licence)
    assert told == ("volumes/msd-liver-liver_0", "msd-liver", "liver_0", "CC-BY-SA-4.0")
    assert list(labels.organs[0].structures) == ["liver", "cancer"]
    assert labels.dataset_map == "msd-liver"
    assert any("float32" in note for note in labels.notes)


def test_amos(storage: str, tmp_path: Path) -> None:
    cases = public.amos(tmp_path)
    assert find(tmp_path, "amos22").left_out == 1, "the MRI"
    done = imported(bring(storage, tmp_path, "amos22"))
    assert set(done) == set(cases)
    for name, case in cases.items():
        require_truth(storage, done[name], case, MAP.organs)


def test_a_dataset_that_was_unpacked_into_a_folder_of_its_own(tmp_path: Path) -> None:
    public.btcv(tmp_path / "Abdomen")
    assert [entry.source_id for entry in find(tmp_path, "btcv").entries if isinstance(entry, Case)] == ["0007"]


def test_a_link_that_leads_out_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    public.btcv(tmp_path / "data")
    outside = tmp_path / "outside.nii.gz"
    (tmp_path / "data/img/img0007.nii.gz").rename(outside)
    (tmp_path / "data/img/img0007.nii.gz").symlink_to(outside)
    public.btcv(tmp_path / "more")
    (tmp_path / "more/label/label0007.nii.gz").unlink()
    (tmp_path / "more/label/label0007.nii.gz").symlink_to("nowhere")
    reasons = []
    for folder in ("data", "more"):
        (entry,) = find(tmp_path / folder, "btcv").entries
        assert isinstance(entry, Refusal)
        reasons.append(entry.error.reason)
    assert reasons == [Reason.NAME_INVALID, Reason.RESOURCE_NOT_FOUND]


def test_a_table_of_cases(tmp_path: Path) -> None:
    public.btcv(tmp_path / "data")
    table = tmp_path / "cases.csv"
    table.write_text("case,hospital,licence,phase\n0007,Basel,CC0-1.0,arterial\n", encoding="utf-8")
    (entry,) = discover_dataset(tmp_path / "data", datasets.load("btcv"), MAP, table).entries
    assert isinstance(entry, Case)
    assert (entry.hospital, entry.licence, entry.phase) == ("Basel", "CC0-1.0", "arterial")
    table.write_text("", encoding="utf-8")
    with pytest.raises(AtlasError, match="no rows"):
        discover_dataset(tmp_path / "data", datasets.load("btcv"), MAP, table)
    table.write_text("id;hospital\n0007;Basel\n", encoding="utf-8")
    with pytest.raises(AtlasError, match="no column 'case'"):
        discover_dataset(tmp_path / "data", datasets.load("btcv"), MAP, table)
    table.unlink()
    with pytest.raises(AtlasError, match="No such file") as caught:
        discover_dataset(tmp_path / "data", datasets.load("btcv"), MAP, table)
    assert caught.value.field == str(table)


def test_rows_of_a_table_that_are_of_no_case_are_named(storage: str, tmp_path: Path) -> None:
    """What they tell could not be added later. If no row is of any case, nothing goes in."""
    public.btcv(tmp_path / "data")
    # A case of its own: with another hospital it would be in the way of other tests' imports.
    for kind in ("img", "label"):
        (tmp_path / f"data/{kind}/{kind}0007.nii.gz").rename(tmp_path / f"data/{kind}/{kind}0077.nii.gz")
    table = tmp_path / "cases.csv"
    given = ("import", "data", "--dataset", "btcv", "--case-table", "cases.csv")
    table.write_text("case,hospital\nimg0077,Basel\n", encoding="utf-8")
    refused = atlas(*given, cwd=tmp_path, ATLAS_STORAGE="127.0.0.1:1")
    assert refused.returncode != 0
    assert "such as img0077" in refused.stderr
    assert "such as 0077" in refused.stderr
    rows = "\n".join(f"{case},Basel" for case in ("0077", *range(8)))
    table.write_text(f"case,hospital\n{rows}\n", encoding="utf-8")
    shown = atlas(*given, cwd=tmp_path, ATLAS_STORAGE=storage)
    assert shown.returncode == 0, shown.stderr
    assert "of no case that was found: 0, 1, 2, 3, 4 and 3 more." in " ".join(shown.stderr.split())


def test_btcv(storage: str, tmp_path: Path) -> None:
    (name, case), *_ = public.btcv(tmp_path).items()
    done = imported(bring(storage, tmp_path, "btcv"))
    require_truth(storage, done[name], case, MAP.organs)
    volume = done[name].volume
    assert volume is not None
    assert (volume.hospital, volume.phase) == ("Vanderbilt University Medical Center", "portal-venous")


def test_nnunet_and_kidneys_that_are_one_class(storage: str, tmp_path: Path) -> None:
    (name, case), *_ = public.nnunet(tmp_path).items()
    done = imported(bring(storage, tmp_path, "abdomenct-1k"))
    require_truth(storage, done[name], case, ("kidney_left", "kidney_right", "liver", "pancreas", "spleen"))
    labels = done[name].labels
    assert labels is not None
    split = {organ.organ: organ.split_from for organ in labels.organs}
    assert split == {"kidney_left": "kidney", "kidney_right": "kidney", "liver": "", "pancreas": "", "spleen": ""}


def test_totalsegmentator(storage: str, tmp_path: Path) -> None:
    (name, case), *_ = public.totalsegmentator(tmp_path).items()
    done = imported(bring(storage, tmp_path, "totalsegmentator-v2"))
    require_truth(storage, done[name], case, ("gall_bladder", "kidney_left", "liver", "postcava"))
    labels = done[name].labels
    assert labels is not None
    assert any("kidney_right stays unknown" in note for note in labels.notes)
    volume = done[name].volume
    assert volume is not None
    assert volume.hospital == "C"


@pytest.mark.parametrize("named", [".", "s0011"])
def test_a_case_named_by_its_own_folder_is_the_same_as_in_its_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    public.totalsegmentator(tmp_path)
    (whole,) = find(tmp_path, "totalsegmentator-v2").entries
    monkeypatch.chdir(tmp_path / "s0011" if named == "." else tmp_path)
    (alone,) = find(Path(named), "totalsegmentator-v2").entries
    assert isinstance(whole, Case)
    assert isinstance(alone, Case)
    masks = {organ: path.resolve() for organ, path in alone.masks.items()}
    ignored = tuple(path.resolve() for path in alone.ignored)
    assert replace(alone, ct=alone.ct.resolve(), masks=masks, ignored=ignored) == whole


def test_a_case_of_kits_is_found_by_its_own_folder(tmp_path: Path) -> None:
    case = public.patient(7)
    folder = tmp_path / "case_00007"
    public.put(case, folder / "imaging.nii.gz", folder / "segmentation.nii.gz", public.label_map(case, {"liver": 1}))
    (entry,) = find(folder, "kits23").entries
    assert isinstance(entry, Case)
    assert (entry.volume_id, entry.source_id, entry.dataset_map) == ("kits23-case_00007", "case_00007", "kits23")
    assert entry.label_map == folder / "segmentation.nii.gz"


def test_masks_in_our_own_words_go_with_a_dataset_too(storage: str, tmp_path: Path) -> None:
    case = public.totalsegmentator(tmp_path)["s0011"]
    folder = tmp_path / "s0011/segmentations"
    (folder / "inferior_vena_cava.nii.gz").rename(folder / "postcava.nii.gz")
    (tmp_path / "s0011").rename(tmp_path / "s0012")
    done = imported(bring(storage, tmp_path, "totalsegmentator-v1"))
    assert [path.name for path in done["s0012"].case.ignored] == ["kidney_cyst_left.nii.gz"]
    assert done["s0012"].labels is not None
    assert masks(storage, done["s0012"].labels)["postcava"].sum() == case.masks["postcava"].sum()


def test_a_release_in_its_own_layout(storage: str, tmp_path: Path) -> None:
    case = public.patient(9)
    folder = tmp_path / "BDMAP_00000009"
    public.put(case, folder / "ct.nii.gz")
    (folder / "segmentations").mkdir()
    for organ in ("liver", "spleen"):
        nifti.write_mask(folder / f"segmentations/{organ}.nii.gz", case.masks[organ].view(np.uint8), case.geometry)
    done = imported(bring(storage, tmp_path, "abdomenatlas-1.0"))
    require_truth(storage, done["BDMAP_00000009"], case, ("liver", "spleen"))
    assert done["BDMAP_00000009"].volume is not None
    assert done["BDMAP_00000009"].volume.name == "volumes/BDMAP_00000009"


LITS = {"liver": 1}


@pytest.mark.parametrize(("name", "ids"), [("lits", LITS), ("amos22", public.AMOS)])
def test_a_label_map_beside_one_ct_speaks_the_ids_of_its_dataset(
    storage: str, tmp_path: Path, name: str, ids: Mapping[str, int]
) -> None:
    """As `--label-map` beside a file, over a case folder, and as the map of a case folder."""
    case = public.patient(11)
    labels = public.label_map(case, ids)
    public.put(case, tmp_path / f"{name}-file.nii.gz", tmp_path / "labels.nii.gz", labels)
    public.put(case, tmp_path / f"{name}-over/ct.nii.gz")
    public.put(case, tmp_path / f"{name}-folder/ct.nii.gz", tmp_path / f"{name}-folder/combined_labels.nii.gz", labels)
    over = ("--label-map", "labels.nii.gz")
    for given in ((f"{name}-file.nii.gz", *over), (f"{name}-over", *over), (f"{name}-folder",)):
        shown = atlas("import", *given, "--dataset", name, "--json", cwd=tmp_path, ATLAS_STORAGE=storage)
        assert shown.returncode == 0, shown.stderr
        (entry,) = json.loads(shown.stdout)
        rpc = Storage(storage).rpc
        version = rpc.GetLabelVersion(pb.GetLabelVersionRequest(name=entry["label_version"])).label_version
        assert version.dataset_map == name
        found = masks(storage, version)
        assert set(found) == set(ids)
        for organ in ids:
            np.testing.assert_array_equal(found[organ], case.masks[organ])
        volume = rpc.GetVolume(pb.GetVolumeRequest(name=entry["volume"])).volume
        assert volume.licence == datasets.load(name).licence


def test_the_same_import_again_changes_nothing(storage: str, tmp_path: Path) -> None:
    public.btcv(tmp_path)
    first, second = (imported(bring(storage, tmp_path, "btcv"))["0007"] for _ in range(2))
    assert first.labels == second.labels
    assert first.volume == second.volume


def volumes(address: str) -> list[str]:
    return [volume.name for volume in Storage(address).rpc.ListVolumes(pb.ListVolumesRequest()).volumes]


def _unknown_id(root: Path) -> None:
    case = public.patient(1)
    labels = public.label_map(case, {"liver": 1})
    labels[0, 0, 0] = 9
    public.put(case, root / "imagesTr/liver_50.nii.gz", root / "labelsTr/liver_50.nii.gz", labels)


def _other_grid(root: Path) -> None:
    case = public.patient(1)
    public.put(case, root / "imagesTr/liver_51.nii.gz")
    label = root / "labelsTr/liver_51.nii.gz"
    label.parent.mkdir(parents=True, exist_ok=True)
    depth, rows, columns = case.ct.shape
    smaller = Geometry.from_matrix((columns, rows, depth - 2), case.geometry.matrix)
    label.write_bytes(nifti.encode(np.zeros((depth - 2, rows, columns), np.uint8), smaller))


def _probabilities(root: Path) -> None:
    case = public.patient(1)
    labels = np.full(case.ct.shape, 0.5, np.float32)
    public.put(case, root / "imagesTr/liver_52.nii.gz", root / "labelsTr/liver_52.nii.gz", labels)


@pytest.mark.parametrize(
    ("spoil", "reason", "named"),
    [
        (_unknown_id, Reason.LABEL_UNKNOWN, "liver_50"),
        (_other_grid, Reason.GEOMETRY_MISMATCH, "liver_51"),
        (_probabilities, Reason.LABEL_UNKNOWN, "liver_52"),
    ],
)
def test_a_case_goes_in_as_a_whole_or_not_at_all(
    storage: str, tmp_path: Path, spoil: Callable[[Path], None], reason: Reason, named: str
) -> None:
    spoil(tmp_path)
    before = volumes(storage)
    (entry,) = bring(storage, tmp_path, "msd-liver")
    assert isinstance(entry, Imported)
    (refusal,) = entry.refusals
    assert (refusal.error.reason, refusal.path.parent.name) == (reason, "labelsTr")
    assert named in refusal.path.name
    assert volumes(storage) == before


def test_labels_without_a_case_and_cases_without_a_label_are_named(storage: str, tmp_path: Path) -> None:
    public.amos(tmp_path)
    (tmp_path / "labelsTr/amos_0001.nii.gz").rename(tmp_path / "labelsTr/amos_0002.nii.gz")
    before = volumes(storage)
    refused = [entry for entry in bring(storage, tmp_path, "amos22") if isinstance(entry, Refusal)]
    assert {(entry.path.parent.name, entry.path.name) for entry in refused} == {
        ("imagesTr", "amos_0001.nii.gz"),
        ("labelsTr", "amos_0002.nii.gz"),
    }
    assert all(entry.error.reason == Reason.RESOURCE_NOT_FOUND and entry.error.remedy for entry in refused)
    assert not {"volumes/amos22-amos_0001", "volumes/amos22-amos_0002"} & set(volumes(storage)) - set(before)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ({"0": "background", "1": "spleen", "2": "liver"}, "liver is label 2 in it, and label 1 in msd-liver"),
        ({"background": 0, "liver": 1, "spleen": 7}, "label 7"),
        ({"liver": "one"}, "cannot be read"),
    ],
)
def test_a_folder_that_is_another_dataset_is_refused(tmp_path: Path, labels: Mapping[str, Any], said: str) -> None:
    public.decathlon_liver(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(AtlasError, match=said) as caught:
        find(tmp_path, "msd-liver")
    assert caught.value.reason == Reason.CLASS_MAP_MISMATCH


def test_two_datasets_that_claim_one_id(storage: str, tmp_path: Path) -> None:
    rpc = Storage(storage).rpc
    name = Storage(storage).put(nifti.encode(public.patient(2).ct, public.patient(2).geometry)).name
    rpc.CreateVolume(pb.CreateVolumeRequest(volume_id="volume-0", object=name, dataset="lits", source_id="0"))
    other = pb.CreateVolumeRequest(volume_id="volume-0", object=name, dataset="ct-org", source_id="0")
    with pytest.raises(AtlasError, match="it is case 0 of lits") as caught:
        rpc.CreateVolume(other)
    assert caught.value.reason == Reason.RESOURCE_CONFLICT
    assert rpc.GetVolume(pb.GetVolumeRequest(name="volumes/volume-0")).volume.dataset == "lits"


def test_a_revision_of_another_volume_is_refused(storage: str, tmp_path: Path) -> None:
    case, bytes_in = public.patient(2), Storage(storage).put
    rpc, ct = Storage(storage).rpc, bytes_in(nifti.encode(case.ct, case.geometry)).name
    volume = rpc.CreateVolume(pb.CreateVolumeRequest(volume_id="revised", object=ct)).volume
    mask = bytes_in(nifti.encode(case.masks["liver"].view(np.uint8), case.geometry)).name
    request = pb.ImportLabelVersionRequest(
        parent=volume.name,
        files=[pb.LabelFile(object=mask, organ="liver")],
        class_map=MAP.name,
        origin=pb.ORIGIN_REVISION,
        author="Dr. Ara",
        voxel_digest="0" * 64,
    )
    with pytest.raises(AtlasError, match="another CT") as caught:
        rpc.ImportLabelVersion(request)
    assert caught.value.field == "voxel_digest"
    request.voxel_digest = volume.voxel_digest
    assert rpc.ImportLabelVersion(request).label_version.organs[0].organ == "liver"


def test_the_same_patient_in_two_datasets_is_reported(storage: str, tmp_path: Path) -> None:
    """A scan of AMOS turns up cropped, with an untouched origin, under another name in FLARE."""
    case = public.patient(10)
    public.put(case, tmp_path / "amos/imagesTr/amos_0030.nii.gz")
    (first,) = bring(storage, tmp_path / "amos", "amos22")
    part = np.ascontiguousarray(case.ct[10:])
    depth, rows, columns = part.shape
    path = tmp_path / "flare/images/FLARE22_Tr_0001_0000.nii.gz"
    path.parent.mkdir(parents=True)
    nifti.write_ct(path, part, Geometry.from_matrix((columns, rows, depth), case.geometry.matrix))
    (second,) = bring(storage, tmp_path / "flare", "flare22")
    assert isinstance(first, Imported)
    assert isinstance(second, Imported)
    assert not first.duplicates
    (pair,) = second.duplicates
    assert (pair.first, pair.second) == ("volumes/amos22-amos_0030", "volumes/flare22-FLARE22_Tr_0001")
    assert pair.kind == pb.Duplicate.KIND_NEAR
    assert pair.header_offset_mm == pytest.approx(-30, abs=2)
    groups = Storage(storage).rpc.ListDuplicateGroups(pb.ListDuplicateGroupsRequest()).groups
    assert [pair.first, pair.second] in [[*group.volumes] for group in groups]


def test_the_commands(storage: str, tmp_path: Path) -> None:
    public.btcv(tmp_path / "data")
    shown = atlas("import", "data", "--dataset", "btcv", "--json", cwd=tmp_path, ATLAS_STORAGE=storage)
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)[0]["volume"] == "volumes/btcv-0007"
    assert "abdomenatlas-1.0 has no" in shown.stderr
    assert "models speak of that map" in " ".join(shown.stderr.split())
    listed = atlas("volumes", "list", "--dataset", "btcv", cwd=tmp_path, ATLAS_STORAGE=storage)
    assert "btcv-0007" in listed.stdout
    assert "CC-BY-4.0" in listed.stdout
    withdrawn = ("volumes", "withdraw", "btcv-0007", "--reason", "consent was taken back", "--author", "ana")
    assert atlas(*withdrawn, cwd=tmp_path, ATLAS_STORAGE=storage).returncode == 0
    assert "btcv-0007" not in atlas("volumes", "list", cwd=tmp_path, ATLAS_STORAGE=storage).stdout
    told = atlas("volumes", "show", "btcv-0007", cwd=tmp_path, ATLAS_STORAGE=storage).stdout
    assert "consent was taken back (ana)" in told
    assert "source by btcv" in told


@pytest.mark.parametrize(("name", "meant"), [("amos2022", "amos22"), ("LiTS", "lits"), ("msd_liver", "msd-liver")])
def test_a_slip_in_a_datasets_name_is_refused(tmp_path: Path, name: str, meant: str) -> None:
    """Its label maps would be read by the ids of another map, for good; nothing is asked of any service."""
    shown = atlas("import", str(tmp_path), "--dataset", name, cwd=tmp_path, ATLAS_STORAGE="127.0.0.1:1")
    assert shown.returncode == 1
    assert f"error: --dataset: There is no dataset {name!r}; did you mean {meant}?" in shown.stderr


def test_the_list_tells_the_version_of_every_map(tmp_path: Path) -> None:
    answer = atlas("datasets", "--json", cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    told = {entry["name"]: entry["version"] for entry in json.loads(answer.stdout)}
    assert told == {name: datasets.load(name).version for name in datasets.names()}
