"""A card that is wrong in any way keeps its model from loading, and says where."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.core.errors import AtlasError, Reason
from services.serving.card import Card, load_card, save_card, weights_path
from services.serving.networks import load_network


def rewrite(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    data = yaml.safe_load((folder / "model.yaml").read_text())
    change(data)
    (folder / "model.yaml").write_text(yaml.safe_dump(data))


def refused(folder: Path, message: str) -> None:
    with pytest.raises(AtlasError, match=message) as caught:
        load_card(folder)
    assert caught.value.reason is Reason.MODEL_CARD_INVALID
    assert caught.value.field == "small/model.yaml"


def test_a_card_survives_writing_and_reading(model_folder: Path) -> None:
    card = load_card(model_folder)
    save_card(model_folder, card)
    assert load_card(model_folder) == card


def test_a_full_disk_leaves_the_card(model_folder: Path) -> None:
    card = load_card(model_folder)
    (model_folder / "model.yaml.part").symlink_to("/dev/full")
    with pytest.raises(AtlasError, match="no room left") as caught:
        save_card(model_folder, card.model_copy(update={"label": "test-2"}))
    assert caught.value.reason is Reason.DISK_FULL
    assert load_card(model_folder) == card


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("organs"), "organs: Field required"),
        (lambda data: data.update(colour="red"), "colour: Extra inputs are not permitted"),
        (lambda data: data.update(organs=["liver", "antler"]), "no 'antler'"),
        (lambda data: data.update(class_map="abdomenatlas-9"), "no class map"),
        (lambda data: data.update(hu_window=[250, -175]), "hu_window must rise"),
        (lambda data: data.update(window=[20, 16, 16]), "multiple of 16"),
        (
            lambda data: data.update(window=[32, 48, 48], network={"architecture": "swinunetr"}),
            "swinunetr.s window must be a multiple of 32",
        ),
        (lambda data: data["network"].update(architecture="resnet"), "network.architecture"),
        (lambda data: data["weights"].update(file="../other/weights.pt"), "weights.file"),
        (lambda data: data.update(name="other"), "The card is of 'other'"),
    ],
)
def test_a_wrong_entry_is_named(model_folder: Path, change: Callable[[dict[str, Any]], Any], message: str) -> None:
    rewrite(model_folder, change)
    refused(model_folder, message)


def test_a_card_that_is_no_yaml(model_folder: Path) -> None:
    (model_folder / "model.yaml").write_text("name: [")
    refused(model_folder, "not YAML")


def test_a_missing_card(model_folder: Path) -> None:
    (model_folder / "model.yaml").unlink()
    refused(model_folder, "cannot be read")


def test_a_model_in_a_folder_of_another_name(model_folder: Path) -> None:
    """Triton copies a model from S3 into a folder with a name of its own, and passes the model's name."""
    copied = model_folder.rename(model_folder.with_name("copied"))
    assert load_card(copied, "small").name == "small"


def test_other_weights_do_not_load(model_folder: Path) -> None:
    """One flipped bit is enough."""
    path = model_folder / "1" / "weights.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(AtlasError, match="The weights hash to"):
        load_network(model_folder, load_card(model_folder))


def test_missing_weights_and_no_weights_yet(model_folder: Path, small_card: Card) -> None:
    (model_folder / "1" / "weights.pt").unlink()
    with pytest.raises(AtlasError, match="are missing"):
        weights_path(model_folder, load_card(model_folder))
    with pytest.raises(AtlasError, match=r"Train it"):
        weights_path(model_folder, small_card)


def test_weights_of_another_shape_do_not_load(model_folder: Path) -> None:
    rewrite(model_folder, lambda data: data["network"]["arguments"].update(channels=[4, 16]))
    with pytest.raises(AtlasError, match="do not fit"):
        load_network(model_folder, load_card(model_folder))


def test_arguments_that_the_network_does_not_take(model_folder: Path) -> None:
    rewrite(model_folder, lambda data: data["network"]["arguments"].update(wings=2))
    with pytest.raises(AtlasError, match="cannot be built") as caught:
        load_network(model_folder, load_card(model_folder))
    assert caught.value.field == "network.arguments"
