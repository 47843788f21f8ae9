"""How a model's folder takes its place, and what computes it there."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from services.core.errors import AtlasError, Reason
from services.serving.card import Card, load_card
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
