"""A case goes in as far as it can, and what is refused is told file by file."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.ingest.discover import Case
from services.cli.ingest.importer import Source, import_case
from services.core.errors import AtlasError, Reason
from services.core.storage import Storage


class FakeStorage:
    """Refuses files by their content, as the real one does by theirs."""

    def __init__(self, *, reachable: bool = True) -> None:
        self.reachable = reachable
        self.imports: list[list[str]] = []
        self.rpc = SimpleNamespace(CreateVolume=self._volume, ImportLabelVersion=self._labels)

    def put_file(self, path: Path, on_progress: Any) -> Any:
        if not self.reachable:
            raise AtlasError(Reason.DEPENDENCY_UNAVAILABLE, "storage does not answer.")
        on_progress(path.stat().st_size)
        return SimpleNamespace(name=f"objects/{path.read_text()}")

    def _volume(self, request: pb.CreateVolumeRequest, timeout: float) -> Any:
        if request.object == "objects/bad":
            raise AtlasError(Reason.FILE_NOT_NIFTI, "This is not NIfTI.", field="object", remedy="Mend it.")
        volume = pb.Volume(name=f"volumes/{request.volume_id}", dataset=request.dataset)
        return pb.CreateVolumeResponse(volume=volume)

    def _labels(self, request: pb.ImportLabelVersionRequest, timeout: float) -> Any:
        self.imports.append([file.organ for file in request.files])
        for file in request.files:
            if file.object == "objects/bad":
                raise AtlasError(Reason.GEOMETRY_MISMATCH, "Other grid.", field=file.display_name, remedy="Mend it.")
        organs = [pb.OrganLabel(organ=file.organ) for file in request.files]
        return SimpleNamespace(label_version=pb.LabelVersion(name="v", organs=organs))


def case(folder: Path, ct: str = "ok", **organs: str) -> Case:
    (folder / "ct.nii.gz").write_text(ct)
    for organ, content in organs.items():
        (folder / f"{organ}.nii.gz").write_text(content)
    return Case("one", folder / "ct.nii.gz", {organ: folder / f"{organ}.nii.gz" for organ in organs})


def run(fake: FakeStorage, entry: Case) -> Any:
    return import_case(cast(Storage, fake), entry, Source("amos22"), lambda path: lambda moved: None)


def test_a_refused_mask_leaves_the_others_in(tmp_path: Path) -> None:
    fake = FakeStorage()
    result = run(fake, case(tmp_path, liver="bad", spleen="ok", aorta="bad", pancreas=""))
    assert result.volume.dataset == "amos22"
    assert [organ.organ for organ in result.labels.organs] == ["spleen"]
    refused = {refusal.path.name: refusal.error.reason for refusal in result.refusals}
    assert refused == {
        "liver.nii.gz": Reason.GEOMETRY_MISMATCH,
        "aorta.nii.gz": Reason.GEOMETRY_MISMATCH,
        "pancreas.nii.gz": Reason.FILE_TRUNCATED,
    }


def test_a_refused_ct_takes_its_labels_with_it(tmp_path: Path) -> None:
    fake = FakeStorage()
    result = run(fake, case(tmp_path, ct="bad", liver="ok"))
    assert result.volume is None
    assert result.labels is None
    assert [refusal.path.name for refusal in result.refusals] == ["ct.nii.gz"]
    assert fake.imports == []


def test_without_storage_the_import_ends(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="does not answer"):
        run(FakeStorage(reachable=False), case(tmp_path))
