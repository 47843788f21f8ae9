"""`atlas models`: what there is, and weights brought in."""

import json
from pathlib import Path

import pytest
import torch

from services.cli.exits import Exit
from services.serving.card import Card, load_card, save_card
from services.serving.networks import build_network
from services.serving.repository import differing
from tests.cli.test_command_line import atlas


@pytest.fixture
def card() -> Card:
    return Card.model_validate(
        {
            "name": "theirs",
            "label": "1",
            "summary": "A test's.",
            "intended_use": "Tests.",
            "network": {"architecture": "unet", "arguments": {"channels": [4, 8], "strides": [2]}},
            "class_map": "abdomenatlas-1.0",
            "organs": ["liver", "spleen"],
            "grid_spacing_mm": 1.5,
            "working_factor": 1,
            "hu_window": [-175, 250],
            "window": [16, 16, 16],
            "overlap": 0.5,
            "cpu_runtime": "torch",
        }
    )


def test_weights_are_brought_in_and_listed(card: Card, tmp_path: Path) -> None:
    save_card(tmp_path, card)
    state = build_network(card).state_dict()
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "a.pth")
    words = ("models", "import", "a.pth", "--name", "mine", "--card", "model.yaml", "--models", "served")
    done = atlas(*words, "--licence", "CC0-1.0", cwd=tmp_path)
    assert done.returncode == Exit.DONE, done.stderr
    assert f"{len(state)} of {len(state)} names match (state_dict, prefix 'module.')" in done.stdout
    assert differing(tmp_path / "served") == []
    assert load_card(tmp_path / "served" / "mine").licence == "CC0-1.0"
    listed = json.loads(atlas("models", "list", "--models", "served", "--json", cwd=tmp_path).stdout)
    assert [model["name"] for model in listed["models"]] == ["mine"]
    assert "suprem_unet" in [entry["name"] for entry in listed["zoo"]]


def test_what_does_not_match_is_shown_with_the_reason(card: Card, tmp_path: Path) -> None:
    save_card(tmp_path, card)
    state = build_network(card).state_dict()
    state["model.0.conv.weight"] = torch.ones(5, 1, 3, 3, 3)
    torch.save(state, tmp_path / "a.pth")
    words = ("models", "import", "a.pth", "--name", "mine", "--card", "model.yaml", "--models", "served")
    done = atlas(*words, cwd=tmp_path)
    assert done.returncode == Exit.REFUSED
    assert "5x1x3x3x3" in done.stdout
    assert "the shapes differ" in done.stdout
    assert "1 of another shape" in done.stderr
    assert not (tmp_path / "served").exists()


def test_a_network_of_the_zoo_is_added_to_be_trained(tmp_path: Path) -> None:
    """Not one whose weights are published, and not under a name that no model may have."""
    words = ("models", "add", "paper_unet", "--models", "served", "--name")
    done = atlas(*words, "ours", cwd=tmp_path)
    assert done.returncode == Exit.DONE, done.stderr
    assert "atlas training start ours --from-the-beginning" in done.stderr
    card = load_card(tmp_path / "served" / "ours")
    assert (card.network.arguments["channels"], card.label, card.weights) == ([64, 128, 256, 512], "1", None)
    assert [path.name for path in (tmp_path / "served" / "ours" / "1").iterdir()] == ["model.py"]
    for refused, why in (
        (atlas(*words, "ours", cwd=tmp_path), "has a model ours already"),
        (atlas(*words, "../ours", cwd=tmp_path), "is no name of a model"),
        (atlas("models", "add", "suprem_unet", "--name", "x", "--models", "served", cwd=tmp_path), "published weights"),
        (atlas("models", "add", "none", "--name", "x", "--models", "served", cwd=tmp_path), "The zoo has no card"),
    ):
        assert refused.returncode != Exit.DONE
        assert why in refused.stderr
    assert [path.name for path in (tmp_path / "served").iterdir()] == ["ours"]
