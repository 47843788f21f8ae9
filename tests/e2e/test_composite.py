"""Four partly labelled datasets in, one release out: imported, merged, validated, and imported again elsewhere."""

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as untyped_nibabel
import numpy as np
import pytest
from typer.testing import CliRunner

import services.cli.__main__  # noqa: F401 - registers the commands
from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.app import app
from services.cli.connection import Connection
from services.core import classmaps, nifti
from services.core.storage import Storage
from services.synthetic.cases import SyntheticCase
from tests.cli import public_datasets as public
from tests.contract.service_process import launched, wait_healthy
from tests.e2e.campaign import MODELS, events, stack

nibabel: Any = untyped_nibabel
ORGANS = classmaps.load().organs
TRUTH: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "msd-liver": {"liver_0": ("liver",), "liver_132": ()},
    "btcv": {"0007": ORGANS},
    "amos22": {"amos_0001": ORGANS, "amos_0411": ORGANS},
    "abdomenatlas-1.0": {"BDMAP_00000009": ("liver", "spleen")},
}
"""What the sources labelled, of our organs, by dataset and case."""


def bdmap(root: Path) -> dict[str, SyntheticCase]:
    """A scan of AMOS again, as a release of the BDMAP layout has it, with two organs."""
    case, folder = public.patient(3), root / "BDMAP_00000009"
    public.put(case, folder / "ct.nii.gz")
    (folder / "segmentations").mkdir()
    for organ in ("liver", "spleen"):
        nifti.write_mask(folder / f"segmentations/{organ}.nii.gz", case.masks[organ].view(np.uint8), case.geometry)
    return {folder.name: case}


MAKERS: Mapping[str, Callable[[Path], dict[str, SyntheticCase]]] = {
    "msd-liver": public.decathlon_liver,
    "btcv": public.btcv,
    "amos22": public.amos,
    "abdomenatlas-1.0": bdmap,
}


@dataclass(frozen=True)
class Composite:
    """A stack in which the datasets were merged, the release that it wrote, and who is in it."""

    connection: Connection
    release: Path
    patients: dict[tuple[str, str], SyntheticCase]

    @property
    def cases(self) -> dict[tuple[str, str], Path]:
        """Folders of the release by dataset and source id."""
        told = {path: json.loads((path / "provenance.json").read_text())["source"] for path in self.release.glob("B*")}
        return {(source["dataset"], source["id"]): path for path, source in told.items()}


def atlas(*words: object) -> str:
    """Run a command in this process, to which nothing may be wrong; what it prints."""
    ran = CliRunner().invoke(app, [str(word) for word in words])
    assert ran.exit_code == 0, ran.output
    return ran.stdout


@pytest.fixture(scope="module")
def composite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composite]:
    root = tmp_path_factory.mktemp("composite")
    state, release = ("--state", root / "state"), root / "release"
    patients: dict[tuple[str, str], SyntheticCase] = {}
    with stack(root / "state") as connection:
        for dataset, make in MAKERS.items():
            patients |= {(dataset, id_): case for id_, case in make(root / dataset).items()}
            atlas("import", root / dataset, "--dataset", dataset, *state)
        atlas("campaign", "create", "trial", "--all", *(f"--models={model}" for model in MODELS), *state)
        assert [event.kind for event in events(connection)][-1] == sched.CampaignEvent.KIND_RANKED
        atlas("export", "trial", "--to", release, "--tar", root / "release.tar", "--test-share", 0.4, *state)
        yield Composite(connection, release, patients)


def voxels(path: Path) -> Any:
    return np.asarray(nibabel.load(path).dataobj)


def test_truth_is_bit_identical_to_the_sources(composite: Composite) -> None:
    """What a source labelled is in the release as it was; models fill in the rest and touch none of it."""
    wanted = {(dataset, id_): organs for dataset, cases in TRUTH.items() for id_, organs in cases.items()}
    assert set(composite.cases) == set(composite.patients) == set(wanted)
    for key, folder in composite.cases.items():
        organs = json.loads((folder / "provenance.json").read_text())["organs"]
        assert {organ for organ, told in organs.items() if told["origin"] == "source"} == set(wanted[key])
        assert {organ for organ, told in organs.items() if told["origin"] == "ai"} == set(ORGANS) - set(wanted[key])
        for organ in wanted[key]:
            mask = voxels(folder / f"segmentations/{organ}.nii.gz")
            np.testing.assert_array_equal(mask.T, composite.patients[key].masks[organ])


def test_every_voxel_tells_where_it_comes_from(composite: Composite) -> None:
    ids = {organ: number for number, organ in classmaps.load().organs_by_id.items()}
    for folder in composite.cases.values():
        told = json.loads((folder / "provenance.json").read_text())
        sources, labels = (voxels(folder / f"{name}.nii.gz") for name in ("sources", "combined_labels"))
        assert np.array_equal(sources > 0, labels > 0)
        counts = {int(value): int(np.count_nonzero(sources == value)) for value in np.unique(sources[sources > 0])}
        assert counts == {int(value): of["voxels"] for value, of in told["sources"].items() if of["voxels"]}
        for organ, made_of in told["organs"].items():
            shown = {str(value) for value in np.unique(sources[labels == ids[organ]])}
            assert {told["sources"][value]["origin"] for value in shown} <= {made_of["origin"]}


def test_the_release_passes_the_validation(composite: Composite) -> None:
    told = json.loads(atlas("validate", composite.release, "--json"))
    assert [fault for fault in told["faults"] if fault["grave"]] == []


def test_nnunet_is_shown_what_the_label_map_shows(composite: Composite, tmp_path: Path) -> None:
    to = tmp_path / "Dataset701_Composite"
    told = json.loads(atlas("convert", composite.release, "--to", to, "--organs", ",".join(ORGANS), "--json"))
    assert (told["left_out"], told["refused"]) == ({}, [])
    for folder in composite.cases.values():
        (label,) = to.glob(f"labelsT*/{folder.name}.nii.gz")
        shown, combined = (nibabel.load(path) for path in (label, folder / "combined_labels.nii.gz"))
        np.testing.assert_array_equal(np.asarray(shown.dataobj), np.asarray(combined.dataobj))
        np.testing.assert_array_equal(shown.affine, combined.affine)


def test_a_scan_that_two_datasets_have_is_on_one_side(composite: Composite) -> None:
    with (composite.release / "metadata.csv").open(newline="") as file:
        sides = {(row["dataset"], row["source_id"]): row["split"] for row in csv.DictReader(file)}
    assert set(sides.values()) == {"train", "test"}
    assert sides["amos22", "amos_0001"] == sides["abdomenatlas-1.0", "BDMAP_00000009"]


def test_the_release_gives_the_same_catalog_elsewhere(
    composite: Composite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Volumes and label versions are equal in every field but those of what a release does not hold."""
    with launched("storage", tmp_path) as service:
        wait_healthy(service)
        monkeypatch.setenv("ATLAS_STORAGE", service.address)
        atlas("import", composite.release)
        here, there = catalog(composite.connection.storage), catalog(Storage(service.address))
    assert here == there


def catalog(storage: Storage) -> list[Any]:
    """Volumes and label versions, without when they came and without the predictions that masks were made of."""
    volumes = storage.rpc.ListVolumes(pb.ListVolumesRequest()).volumes
    records: list[Any] = list(volumes)
    for volume in volumes:
        versions = storage.rpc.ListLabelVersions(pb.ListLabelVersionsRequest(parent=volume.name)).label_versions
        for version in versions:
            for organ in version.organs:
                organ.ClearField("predictions")
                organ.ClearField("models")
            for source in version.sources:
                source.ClearField("predictions")
        records += sorted(versions, key=lambda version: version.name)
    for record in records:
        record.ClearField("create_time")
    return records
