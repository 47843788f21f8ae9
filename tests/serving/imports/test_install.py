"""How a model's folder takes its place, and what computes it there."""

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from services.core.errors import AtlasError, Reason
from services.serving.card import Card, load_card
from services.serving.digest import folder_digest
from services.serving.imports import install as installing
from services.serving.imports.install import install
from services.serving.networks import build_network
from tests.serving.imports.published import drawn, small_card


def installed(repository: Path, card: Card | None = None, *, replace: bool = False) -> Card:
    card = card or small_card()
    return install(drawn(build_network(card)), card, repository, replace=replace)


def test_openvino_computes_what_it_can(tmp_path: Path) -> None:
    assert installed(tmp_path, small_card(cpu_runtime="openvino")).cpu_runtime == "openvino"


@pytest.mark.parametrize("fault", ["fails", "differs"])
def test_torch_computes_what_openvino_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    def on_cpu(*_: Any) -> Any:
        if fault == "fails":
            raise RuntimeError("no such operation")
        return lambda window: torch.zeros((1, 2, *window.shape[2:]))

    monkeypatch.setattr(installing, "on_cpu", on_cpu)
    assert installed(tmp_path, small_card(cpu_runtime="openvino")).cpu_runtime == "torch"
    assert load_card(tmp_path / "small").cpu_runtime == "torch"


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_model_is_replaced_whatever_the_file_system_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    installed(tmp_path)
    (tmp_path / "small" / "old").touch()
    if not can_exchange:
        system = SimpleNamespace(renameat2=lambda *_: -1)
        monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: system)
    card = small_card(label="2")
    assert installed(tmp_path, card, replace=True) == load_card(tmp_path / "small")
    assert not (tmp_path / "small" / "old").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


@pytest.mark.parametrize("comes_back", [True, False])
def test_a_model_outlives_a_replacement_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, comes_back: bool
) -> None:
    """Where folders cannot be exchanged and the new one does not get its place, the old one is there still."""
    installed(tmp_path)
    served, place, rename = folder_digest(tmp_path / "small"), tmp_path / "small", Path.rename

    def refuse(self: Path, target: Path) -> Path:
        if target == place and (not comes_back or self.parent.name.startswith(".import-")):
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(self), None, str(target))
        return rename(self, target)

    monkeypatch.setattr("ctypes.CDLL", lambda *_, **__: SimpleNamespace(renameat2=lambda *_: -1))
    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="Input/output error") as caught:
        installed(tmp_path, small_card(label="2"), replace=True)
    if comes_back:
        assert folder_digest(place) == served
        assert list(tmp_path.iterdir()) == [place]
    else:
        assert folder_digest(Path(caught.value.filename)) == served


def test_a_window_that_the_network_cannot_take(tmp_path: Path) -> None:
    card = small_card(window=(16, 16, 48))
    network = build_network(card)

    def fail(*_: Any) -> None:
        raise RuntimeError("sizes of tensors must match")

    network.register_forward_hook(fail)
    with pytest.raises(AtlasError, match="cannot compute a window") as caught:
        install(network, card, tmp_path, replace=False)
    assert caught.value.reason is Reason.WEIGHTS_MISMATCH
    assert not list(tmp_path.iterdir())
