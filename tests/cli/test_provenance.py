"""`atlas provenance`: which organs of which cases a model made, in storage and in a release's folder."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import typer
from typer.testing import CliRunner

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.commands.provenance import register
from services.cli.connection import Connection
from services.cli.release.contents import read_contents
from services.cli.release.writer import write_release
from services.core.errors import AtlasError, Reason
from tests.cli.archive import CAMPAIGN, Archive


@pytest.fixture
def release(archive: Archive, tmp_path: Path) -> Path:
    write_release(archive.connection.storage, read_contents(archive.connection, CAMPAIGN), tmp_path / "release")
    return tmp_path / "release"


def provenance(*words: str) -> list[dict[str, Any]]:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return list(json.loads(result.stdout))


def test_a_release_is_asked_by_itself(release: Path) -> None:
    """Every organ that its files say this model made, alone or with others, and that has voxels."""
    told = {path.parent.name: json.loads(path.read_text()) for path in release.glob("*/provenance.json")}
    expected = {
        (case, organ, model)
        for case, record in told.items()
        for organ, label in record["organs"].items()
        for model in label.get("models", [])
        if label["voxels"] and model.startswith("models/unet/")
    }
    found = provenance("unet", "--release", str(release))
    assert {(use["case"], use["organ"], use["model"]) for use in found} == expected
    assert len(found) == len(expected) > 0
    assert provenance("models/unet/versions/1", "--release", str(release)) == found
    organ = found[0]["organ"]
    some = provenance("unet", "--organ", organ, "--release", str(release))
    assert some == [use for use in found if use["organ"] == organ]
    assert provenance("unet", "--dataset", "elsewhere", "--release", str(release)) == []


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["nobody"], Reason.MODEL_NOT_FOUND),
        (["models/unet/versions/99"], Reason.MODEL_NOT_FOUND),
        (["unet", "--organ", "lever"], Reason.ORGAN_UNKNOWN),
    ],
)
def test_a_misspelt_name_does_not_read_as_nothing_to_recall(release: Path, words: list[str], reason: Reason) -> None:
    with pytest.raises(AtlasError) as caught:
        provenance(*words, "--release", str(release))
    assert caught.value.reason == reason


def test_storage_is_asked_for_the_newest_or_for_those_of_a_campaign(monkeypatch: pytest.MonkeyPatch) -> None:
    uses = [
        pb.ModelUse(label_version=f"volumes/{v}/labels/l", organ="liver", model="models/unet/versions/1") for v in "ab"
    ]
    asked: list[pb.ListModelUsesRequest] = []

    def list_uses(request: pb.ListModelUsesRequest) -> Any:
        asked.append(request)
        return SimpleNamespace(uses=uses, next_page_token="")

    items = [sched.CampaignItem(volume="volumes/b", label_version=uses[1].label_version)]
    connection = SimpleNamespace(
        storage=SimpleNamespace(rpc=SimpleNamespace(ListModelUses=list_uses)),
        scheduler=SimpleNamespace(ListItems=lambda _: SimpleNamespace(items=items, next_page_token="")),
    )
    monkeypatch.setattr(Connection, "to", lambda _: cast(Connection, connection))
    assert [use["case"] for use in provenance("unet", "--organ", "liver", "--dataset", "d")] == ["a", "b"]
    assert [use["case"] for use in provenance("unet", "--campaign", "spring")] == ["b"]
    first, second = asked
    assert (first.model, first.organ, first.dataset, first.newest) == ("models/unet", "liver", "d", True)
    assert not second.newest


def test_a_folder_that_is_no_release_is_refused(release: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (release / "BDMAP_00000001/provenance.json").write_text('{"organs": 3}')
    for folder, reason in ((tmp_path / "empty", Reason.FOLDER_EMPTY), (release, Reason.FIELD_INVALID)):
        with pytest.raises(AtlasError) as caught:
            provenance("unet", "--release", str(folder))
        assert caught.value.reason == reason
