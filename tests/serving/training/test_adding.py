"""A version that cannot be written, or not to its end, leaves what was there, or is put right by the same command."""

import errno
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from services.core import modelversions
from services.core.errors import AtlasError, Reason
from services.serving.card import load_card
from services.serving.networks import save_weights
from services.serving.repository import differing
from services.serving.training import adding
from services.serving.training.loop import Budget
from tests.serving.training.boxes import plan, trained, weights

FEW = Budget(1, None, 1, 1)


def test_a_full_disk_leaves_the_versions(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is the first version that does not fit or the next: a reason is given, and what was there stays."""
    with monkeypatch.context() as patched:
        patched.setattr(adding, "save_weights", lambda network, _: save_weights(network, Path("/dev/full")))
        with pytest.raises(AtlasError, match="no room left") as caught:
            trained(plan(home))
    assert caught.value.reason is Reason.DISK_FULL
    assert load_card(home / "small").weights is None
    trained(plan(home))
    before = weights(home / "small")
    with monkeypatch.context() as patched:
        patched.setattr(adding, "save_weights", lambda network, _: save_weights(network, Path("/dev/full")))
        with pytest.raises(AtlasError, match="no room left") as caught:
            trained(plan(home, seed=2))
    assert caught.value.reason is Reason.DISK_FULL
    assert modelversions.numbers(home / "small") == [1]
    assert torch.equal(weights(home / "small"), before)
    assert trained(plan(home, seed=2)).version == 2


@pytest.mark.parametrize("writes", ["save_weights", "save_card", "folder_config"])
def test_a_full_disk_leaves_the_version_that_was_to_be_replaced(
    home: Path, monkeypatch: pytest.MonkeyPatch, writes: str
) -> None:
    """Whichever of its files does not fit: weights, card and configuration stay those that belong together."""
    folder = home / "small"
    trained(plan(home, budget=FEW))
    before, card = weights(folder), load_card(folder)

    def full(*_: object) -> NoReturn:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patched:
        patched.setattr(adding, writes, full)
        with pytest.raises(AtlasError, match="no room left"):
            trained(plan(home, budget=FEW, replaces=True, seed=2))
    assert torch.equal(weights(folder), before)
    assert load_card(folder) == card
    assert differing(home) == []
    assert sorted(path.name for path in folder.iterdir()) == ["1", "config.pbtxt", "model.yaml"]


@pytest.mark.parametrize("killed_at", ["weights.pt", "config.pbtxt", "model.yaml"])
def test_the_same_again_puts_right_what_was_killed(home: Path, monkeypatch: pytest.MonkeyPatch, killed_at: str) -> None:
    """Between the files that make up a version; the weights are those of a run that nobody killed."""
    folder, again = home / "small", plan(home, budget=FEW, replaces=True, seed=2)
    trained(plan(home, budget=FEW))
    places = {folder / killed_at, folder / "1" / killed_at}
    replace = Path.replace

    def killed(self: Path, target: Path) -> Path:
        if Path(target) in places:
            raise KeyboardInterrupt
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(again)
    trained(again)
    assert differing(home) == []
    after = weights(folder)
    trained(plan(home, budget=FEW, replaces=True, seed=3))
    trained(again)
    assert torch.equal(weights(folder), after)
