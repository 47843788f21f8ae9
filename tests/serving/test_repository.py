"""config.pbtxt follows from the card, and CI notices when it does not."""

import subprocess
import sys
from pathlib import Path

from services.serving.card import Card, load_card, save_card
from services.serving.imports.install import add
from services.serving.repository import config_text, differing, model_folders, write_configs

SHIPPED = Path(__file__).parents[2] / "models"


def test_the_config_carries_what_callers_need(model_folder: Path) -> None:
    card = load_card(model_folder)
    text = config_text(card)
    assert card.weights is not None
    assert 'name: "small"\nbackend: "python"\nmax_batch_size: 0\n' in text
    for key, value in {
        "organs": "aorta,gall_bladder,kidney_left,kidney_right,liver,pancreas,postcava,spleen,stomach",
        "class_map": "abdomenatlas-1.0",
        "grid_spacing_mm": "1.5",
        "hu_window": "-175,250",
        "architecture": "unet",
        "weights_sha256": card.weights.sha256,
        "model_version": "test-1",
        "cpu_threads": "1",
    }.items():
        assert f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}' in text


def test_a_changed_card_makes_the_config_stale(model_folder: Path) -> None:
    repository = model_folder.parent
    assert differing(repository) == ["small"], "not written yet"
    write_configs(repository)
    assert differing(repository) == []
    save_card(model_folder, load_card(model_folder).model_copy(update={"label": "test-2"}))
    assert differing(repository) == ["small"]


def test_a_model_without_weights_has_no_config(model_folder: Path, small_card: Card) -> None:
    """Triton, which finds models by their configuration, would not start with one that it cannot load."""
    repository = model_folder.parent
    add(small_card, "ours", repository)
    write_configs(repository)
    assert [path.parent.name for path in repository.glob("*/config.pbtxt")] == ["small"]
    assert differing(repository) == []


def test_the_check_fails_with_a_message(model_folder: Path) -> None:
    command = [sys.executable, "-m", "services.serving.repository", str(model_folder.parent), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "small/config.pbtxt does not follow from its card" in result.stderr


def test_the_shipped_repository_is_up_to_date() -> None:
    assert [folder.name for folder in model_folders(SHIPPED)] == ["segresnet", "swinunetr", "unet", "unetr"]
    assert differing(SHIPPED) == []


def test_the_shipped_weights_are_small() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 20e6
