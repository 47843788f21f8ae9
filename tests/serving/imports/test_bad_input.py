"""What cannot be taken is refused with its reason, and what is served under the name stays as it was."""

import json
import os
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from services.core.errors import AtlasError, Reason
from services.serving import zoo
from services.serving.card import Weights, file_digest
from services.serving.digest import folder_digest
from services.serving.imports.archives import MAX_BYTES
from services.serving.imports.draft import Wishes
from services.serving.imports.importing import Report, import_model
from services.serving.networks import build_own
from tests.serving.imports import published
from tests.serving.imports.published import drawn, imported, small_card


@pytest.fixture
def card(tmp_path: Path) -> str:
    return published.card_file(small_card(), tmp_path)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return published.checkpoint(drawn(build_own(small_card())), tmp_path / "good.pth")


@pytest.fixture
def repository(tmp_path: Path, good: Path, card: str) -> Path:
    """A repository with a model that is served under the name."""
    imported(good, tmp_path / "models", card=card)
    return tmp_path / "models"


def refused(reason: Reason, repository: Path, source: Path, **wishes: Any) -> AtlasError:
    """Replacing the model is refused, and nothing in the repository changed."""
    before = folder_digest(repository)
    with pytest.raises(AtlasError) as caught:
        imported(source, repository, replace=True, **wishes)
    assert caught.value.reason is reason, caught.value
    assert caught.value.remedy
    assert folder_digest(repository) == before
    assert [path.name for path in repository.iterdir()] == ["mine"]
    return caught.value


def rewritten(good: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    contents = torch.load(good, weights_only=True)
    change(contents["net"])
    path = good.with_name("changed.pth")
    torch.save(contents, path)
    return path


FIRST = "module.model.0.conv.weight"


@pytest.mark.parametrize(
    ("change", "verdict", "name"),
    [
        (lambda net: net.pop(FIRST), "missing", "model.0.conv.weight"),
        (lambda net: net.update({"module.wings.weight": torch.ones(3)}), "additional", "module.wings.weight"),
        (lambda net: net.update({FIRST: torch.ones(5, 1, 3, 3, 3)}), "shape", "model.0.conv.weight"),
    ],
)
def test_names_and_shapes_that_do_not_match_are_listed(
    repository: Path, good: Path, card: str, change: Callable[[dict[str, torch.Tensor]], Any], verdict: str, name: str
) -> None:
    before = folder_digest(repository)
    report: Report = imported(rewritten(good, change), repository, replace=True, card=card)
    assert report.refusal is not None
    assert report.refusal.reason is Reason.WEIGHTS_MISMATCH
    (fault,) = report.matching.faults
    assert (fault.verdict, fault.ours or fault.theirs) == (verdict, name)
    assert name in report.refusal.message
    assert folder_digest(repository) == before


def test_numbers_that_are_none(repository: Path, good: Path, card: str) -> None:
    path = rewritten(good, lambda net: net[FIRST].fill_(torch.nan))
    assert FIRST in refused(Reason.WEIGHTS_MISMATCH, repository, path, card=card).message


def test_a_file_of_text_is_no_checkpoint(repository: Path, card: str, tmp_path: Path) -> None:
    for text in ("These weights are described in our paper.\n", "{}", "model: unet\n"):
        (tmp_path / "notes.txt").write_text(text)
        error = refused(Reason.FIELD_INVALID, repository, tmp_path / "notes.txt", card=card)
        assert "neither a checkpoint of torch nor TorchScript" in error.message
        assert ".pth" in error.remedy
        assert "MONAI bundle" in error.remedy


class Payload:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.path),)

    def __init__(self, path: Path) -> None:
        self.path = path


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_code_is_not_run(repository: Path, good: Path, card: str, tmp_path: Path, legacy: bool) -> None:
    contents = torch.load(good, weights_only=True) | {"args": Payload(tmp_path / "ran")}
    path = tmp_path / "bad.pth"
    torch.save(contents, path, _use_new_zipfile_serialization=not legacy)
    error = refused(Reason.WEIGHTS_UNSAFE, repository, path, card=card)
    assert "mkdir" in error.message
    assert not (tmp_path / "ran").exists()


@pytest.mark.filterwarnings("ignore")
def test_code_smuggled_into_torchscript_is_not_run(repository: Path, card: str, tmp_path: Path) -> None:
    network = drawn(build_own(small_card()))
    torch.jit.save(torch.jit.trace(network, torch.rand(1, 1, 16, 16, 16)), tmp_path / "a.ts")  # type: ignore[no-untyped-call]
    with zipfile.ZipFile(tmp_path / "a.ts") as old, zipfile.ZipFile(tmp_path / "b.ts", "w") as new:
        for entry in old.infolist():
            data = old.read(entry)
            new.writestr(
                entry.filename, pickle.dumps(Payload(tmp_path / "ran")) if "data.pkl" in entry.filename else data
            )
    error = refused(Reason.WEIGHTS_UNSAFE, repository, tmp_path / "b.ts", card=card)
    assert "mkdir" in error.message
    assert not (tmp_path / "ran").exists()


def test_an_archive_that_unpacks_to_more(repository: Path, good: Path, card: str, tmp_path: Path) -> None:
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(good) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
        new.writestr("good/data/99", bytes(10_000_000))
    assert "unpacks to more" in refused(Reason.WEIGHTS_UNSAFE, repository, path, card=card).message


def test_parts_that_hold_the_next_one_twice(
    repository: Path, card: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty-two parts of a few bytes, to the last of which four million names lead."""
    kind = type("Part", (), {"__module__": "__torch__"})
    monkeypatch.setitem(sys.modules, "__torch__", SimpleNamespace(Part=kind))
    part = kind()
    for _ in range(22):
        outer = kind()
        vars(outer).update(left=part, right=part)
        part = outer
    with zipfile.ZipFile(tmp_path / "wide.ts", "w") as archive:
        archive.writestr("wide/constants.pkl", b"")
        archive.writestr("wide/data.pkl", pickle.dumps(part, protocol=2))
    error = refused(Reason.FIELD_INVALID, repository, tmp_path / "wide.ts", card=card)
    assert "cannot be read" in error.message


def test_a_table_that_is_held_in_too_many_places(repository: Path, card: str, tmp_path: Path) -> None:
    table: dict[str, Any] = {"weight": torch.ones(1)}
    for _ in range(2):
        table = {str(place): table for place in range(500)}
    torch.save(table, tmp_path / "wide.pth")
    error = refused(Reason.WEIGHTS_UNSAFE, repository, tmp_path / "wide.pth", card=card)
    assert "too many places" in error.message


@pytest.mark.parametrize("share", [0.3, 0.9])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_file(repository: Path, good: Path, card: str, share: float, legacy: bool) -> None:
    path = good.with_name("cut.pth")
    torch.save(torch.load(good, weights_only=True), path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(Reason.FILE_TRUNCATED, repository, path, card=card)


@pytest.mark.parametrize("contents", [b"", b"hello, I am no weights", b"\x80\x02}q\x00."])
def test_a_file_that_holds_no_weights(repository: Path, tmp_path: Path, card: str, contents: bytes) -> None:
    (tmp_path / "odd.pth").write_bytes(contents)
    with pytest.raises(AtlasError) as caught:
        imported(tmp_path / "odd.pth", repository, replace=True, card=card)
    assert caught.value.reason in (Reason.FIELD_INVALID, Reason.FILE_TRUNCATED, Reason.WEIGHTS_UNSAFE)
    assert caught.value.remedy


def test_a_file_that_is_not_there_or_too_large(repository: Path, tmp_path: Path, card: str) -> None:
    refused(Reason.RESOURCE_NOT_FOUND, repository, tmp_path / "none.pth", card=card)
    with (tmp_path / "large.pth").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    refused(Reason.FILE_TOO_LARGE, repository, tmp_path / "large.pth", card=card)


@pytest.mark.parametrize("contents", ["[" * 5000, "- a", "name: mine", "name: [", "a: &a [*a]"])
def test_a_card_that_is_none(repository: Path, good: Path, tmp_path: Path, contents: str) -> None:
    """Named, or in a model folder that was passed on."""
    path = tmp_path / "passed-on" / "model.yaml"
    path.parent.mkdir()
    path.write_text(contents)
    refused(Reason.MODEL_CARD_INVALID, repository, good, card=str(path))
    refused(Reason.MODEL_CARD_INVALID, repository, path.parent)


def test_a_card_that_lies_about_its_digest(repository: Path, good: Path, tmp_path: Path) -> None:
    lie = small_card(weights=Weights(file="1/weights.pt", sha256="0" * 64))
    error = refused(Reason.DIGEST_MISMATCH, repository, good, card=published.card_file(lie, tmp_path))
    assert file_digest(good) in error.message
    refused(Reason.DIGEST_MISMATCH, repository, good, card=published.card_file(small_card(), tmp_path), sha256="1" * 64)


def test_a_model_folder_whose_weights_are_others(repository: Path, tmp_path: Path) -> None:
    passed_on = tmp_path / "passed-on"
    (repository / "mine").rename(passed_on)
    (passed_on / "1" / "weights.pt").write_bytes(b"others")
    with pytest.raises(AtlasError, match="The weights hash to"):
        imported(passed_on, repository)


def test_another_class_map_is_not_guessed(repository: Path, tmp_path: Path) -> None:
    """Twenty-nine classes are not SuPreM's thirty-two."""
    other = zoo.load("suprem_segresnet")
    assert other.outputs is not None
    wider = other.model_copy(update={"outputs": other.outputs.model_copy(update={"count": 29})})
    path = published.checkpoint(drawn(build_own(wider)), tmp_path / "other.pth")
    error = refused(Reason.CLASS_MAP_MISMATCH, repository, path)
    assert "29 classes" in error.message
    assert "--labels" in error.remedy


def test_classes_that_are_no_organs_of_ours(repository: Path, tmp_path: Path) -> None:
    folder, _ = published.bundle_folder(tmp_path / "bundle", ["background", "tumour"])
    assert "tumour" in refused(Reason.CLASS_MAP_MISMATCH, repository, folder).message
    imported(folder, repository, replace=True, organs={"liver": "tumour"})
    assert "No channel" in refused_only(folder, repository, organs={"liver": "lump"}).message


def refused_only(folder: Path, repository: Path, **wishes: Any) -> AtlasError:
    with pytest.raises(AtlasError) as caught:
        imported(folder, repository, replace=True, **wishes)
    return caught.value


def test_a_bundle_s_python_is_not_run(repository: Path, tmp_path: Path) -> None:
    bad = {"spacing": f"$__import__('os').mkdir({str(tmp_path / 'ran')!r})"}
    folder, _ = published.bundle_folder(tmp_path / "bundle", ["background", "liver"], **bad)
    error = refused(Reason.FIELD_INVALID, repository, folder)
    assert "Python, which is not run" in error.message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["inference.json", "inference.yaml"])
@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        ('{"a": ' + "[" * 5000 + "]" * 5000 + "}", Reason.FIELD_INVALID),
        ('{"a": [', Reason.FIELD_INVALID),
        ('["a"]', Reason.FIELD_INVALID),
        ('"' + "a" * 2**24 + '"', Reason.FILE_TOO_LARGE),
    ],
    ids=["deep", "cut", "list", "large"],
)
def test_a_configuration_that_is_none(
    repository: Path, tmp_path: Path, name: str, contents: str, reason: Reason
) -> None:
    """In either language it is refused alike, with what to do."""
    folder, _ = published.bundle_folder(tmp_path / "bundle", ["background", "liver"])
    (folder / "configs" / "inference.json").unlink()
    (folder / "configs" / name).write_text(contents)
    error = refused(reason, repository, folder)
    assert error.field == name
    assert error.remedy


@pytest.mark.parametrize("contents", ["a: &a [*a]", "a: &a {b: 1}\nc: {<<: [*a, *a]}"])
def test_a_configuration_that_stands_for_more_than_it_is(repository: Path, tmp_path: Path, contents: str) -> None:
    folder, _ = published.bundle_folder(tmp_path / "bundle", ["background", "liver"])
    (folder / "configs" / "inference.json").unlink()
    (folder / "configs" / "inference.yaml").write_text(contents)
    assert "aliases" in refused(Reason.FIELD_INVALID, repository, folder).message


@pytest.mark.parametrize("suffix", ["json", "yaml"])
def test_a_configuration_that_lies_outside(repository: Path, tmp_path: Path, suffix: str) -> None:
    folder, _ = published.bundle_folder(tmp_path / "bundle", ["background", "liver"])
    (folder / "configs" / "inference.json").rename(tmp_path / "other")
    (folder / "configs" / f"inference.{suffix}").symlink_to(tmp_path / "other")
    refused(Reason.RESOURCE_NOT_FOUND, repository, folder)


def test_spacing_that_no_ct_has(repository: Path, tmp_path: Path) -> None:
    folder, _ = published.bundle_folder(tmp_path / "bundle", ["background", "liver"], spacing=[1.5, 1.5, 20.0])
    assert "1.5 x 1.5 x 20" in refused(Reason.GRID_MISMATCH, repository, folder).message


def test_left_and_right_are_not_guessed(repository: Path, tmp_path: Path) -> None:
    """nnU-Net's usual reader takes files as they lie, and does not say how."""
    labels = {"background": 0, "liver": 1, "spleen": 2}
    folder, _ = published.nnunet_folder(tmp_path, labels, mark={"image_reader_writer": "SimpleITKIO"})
    assert "--axes" in refused(Reason.FIELD_INVALID, repository, folder).remedy


@pytest.mark.parametrize(
    "change",
    [
        {"configurations": {}},
        {"configurations": []},
        {"transpose_forward": [0, 1, 7]},
        {"foreground_intensity_properties_per_channel": {"0": {"mean": "warm"}}},
    ],
)
def test_a_plan_that_is_none(repository: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    folder, _ = published.nnunet_folder(tmp_path, {"background": 0, "liver": 1, "spleen": 2}, mark=change)
    refused(Reason.FIELD_INVALID, repository, folder)


def test_a_plan_that_names_other_classes_than_layers(repository: Path, tmp_path: Path) -> None:
    """What a plan names is looked up in a list, never imported."""
    folder, _ = published.nnunet_folder(tmp_path, {"background": 0, "liver": 1, "spleen": 2})
    plans = json.loads((folder / "plans.json").read_text())
    plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]["nonlin"] = "os.system"
    (folder / "plans.json").write_text(json.dumps(plans))
    assert "os.system" in refused(Reason.MODEL_CARD_INVALID, repository, folder).message


def test_a_checkpoint_that_lies_outside(repository: Path, tmp_path: Path, good: Path) -> None:
    folder, _ = published.nnunet_folder(tmp_path, {"background": 0, "liver": 1, "spleen": 2})
    refused(Reason.RESOURCE_NOT_FOUND, repository, folder, checkpoint=f"../{good.name}")


def test_a_name_that_is_taken_needs_replace(repository: Path, good: Path, card: str) -> None:
    with pytest.raises(AtlasError) as caught:
        imported(good, repository, card=card)
    assert caught.value.reason is Reason.RESOURCE_CONFLICT
    assert imported(good, repository, replace=True, card=card).refusal is None


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [({"name": "../evil"}, Reason.NAME_INVALID), ({"name": "ok", "axes": "RRS"}, Reason.FIELD_INVALID)],
)
def test_words_that_cannot_be(repository: Path, good: Path, wishes: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(AtlasError) as caught:
        import_model(good, repository, Wishes(**wishes), replace=True, write=True)
    assert caught.value.reason is reason
    assert [path.name for path in repository.iterdir()] == ["mine"]


def test_a_full_disk_leaves_the_served_model(
    repository: Path, good: Path, card: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    refused(Reason.DISK_FULL, repository, good, card=card)
