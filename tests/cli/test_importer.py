"""A case goes in whole or not at all, and what is refused is told file by file."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.ingest.discover import Case, Refusal
from services.cli.ingest.importer import Source, import_case
from services.core.errors import AtlasError, Reason
from services.core.storage import Storage


class FakeStorage:
    """Refuses files by their content, as the real one does by theirs."""

    def __init__(self, *, reachable: bool = True) -> None:
        self.reachable = reachable
        self.sent: list[str] = []
        self.cases: list[pb.ImportCaseRequest] = []
        self.rpc = SimpleNamespace(ImportCase=self._case)

    def put_file(self, path: Path, on_progress: Any) -> Any:
        if not self.reachable:
            raise AtlasError(Reason.DEPENDENCY_UNAVAILABLE, "storage does not answer.")
        self.sent.append(path.name)
        on_progress(path.stat().st_size)
        return SimpleNamespace(name=f"objects/{path.read_text()}")

    def _case(self, request: pb.ImportCaseRequest, timeout: float) -> pb.ImportCaseResponse:
        if request.volume.object == "objects/bad":
            raise AtlasError(Reason.FILE_NOT_NIFTI, "This is not NIfTI.", field="object", remedy="Mend it.")
        for file in request.labels.files:
            if file.object == "objects/bad":
                raise AtlasError(Reason.GEOMETRY_MISMATCH, "Other grid.", field=file.display_name, remedy="Mend it.")
        self.cases.append(request)
        volume = pb.Volume(name=f"volumes/{request.volume_id}", dataset=request.volume.dataset)
        organs = [pb.OrganLabel(organ=file.organ) for file in request.labels.files]
        version = pb.LabelVersion(name="v", organs=organs) if organs else None
        return pb.ImportCaseResponse(volume=volume, label_version=version)


def case(folder: Path, ct: str = "ok", **organs: str) -> Case:
    (folder / "ct.nii.gz").write_text(ct)
    for organ, content in organs.items():
        (folder / f"{organ}.nii.gz").write_text(content)
    return Case("one", folder / "ct.nii.gz", {organ: folder / f"{organ}.nii.gz" for organ in organs})


def run(fake: FakeStorage, entry: Case, source: Source | None = None) -> Any:
    return import_case(cast(Storage, fake), entry, source or Source("amos22"), lambda path: lambda moved: None)


def refused(result: Any) -> dict[str, Reason]:
    return {refusal.path.name: refusal.error.reason for refusal in result.refusals}


def test_a_case_goes_in_with_all_of_its_masks(tmp_path: Path) -> None:
    fake = FakeStorage()
    result = run(fake, case(tmp_path, liver="ok", spleen="fine"))
    assert result.volume.dataset == "amos22"
    assert [organ.organ for organ in result.labels.organs] == ["liver", "spleen"]
    assert not result.refusals


@pytest.mark.parametrize(("dataset", "author"), [("amos22", "amos22"), ("", "source")])
def test_labels_are_the_datasets_or_simply_the_sources(tmp_path: Path, dataset: str, author: str) -> None:
    fake = FakeStorage()
    run(fake, case(tmp_path, liver="ok"), Source(dataset))
    (request,) = fake.cases
    assert request.labels.author == author
    assert request.labels.dataset_map == "", "masks speak our words"


def test_a_refused_mask_takes_its_case_with_it(tmp_path: Path) -> None:
    fake = FakeStorage()
    result = run(fake, case(tmp_path, liver="ok", spleen="bad"))
    assert (result.volume, result.labels) == (None, None)
    assert refused(result) == {"spleen.nii.gz": Reason.GEOMETRY_MISMATCH}
    assert not fake.cases


def test_of_files_that_cannot_be_read_each_is_named_and_nothing_is_sent(tmp_path: Path) -> None:
    fake = FakeStorage()
    entry = case(tmp_path, ct="", liver="ok", spleen="", aorta="ok", pancreas="ok")
    entry.masks["aorta"].unlink()
    entry.masks["pancreas"].unlink()
    entry.masks["pancreas"].mkdir()
    loop = Refusal(tmp_path / "stomach.nii.gz", AtlasError(Reason.NAME_INVALID, "It leads out.", remedy="Copy it."))
    result = run(fake, replace(entry, refused=(loop,)))
    assert (result.volume, result.labels) == (None, None)
    assert refused(result) == {
        "stomach.nii.gz": Reason.NAME_INVALID,
        "ct.nii.gz": Reason.FILE_TRUNCATED,
        "spleen.nii.gz": Reason.FILE_TRUNCATED,
        "aorta.nii.gz": Reason.FIELD_INVALID,
        "pancreas.nii.gz": Reason.FIELD_INVALID,
    }
    assert not fake.sent


def test_a_refused_ct_takes_its_labels_with_it(tmp_path: Path) -> None:
    fake = FakeStorage()
    result = run(fake, case(tmp_path, ct="bad", liver="ok"))
    assert (result.volume, result.labels) == (None, None)
    assert refused(result) == {"ct.nii.gz": Reason.FILE_NOT_NIFTI}


def test_without_storage_the_import_ends(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="does not answer"):
        run(FakeStorage(reachable=False), case(tmp_path))
