"""Imported models in a real Triton: they load, and answer what the same code answers in this process."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from services.core import arrayfile
from services.core.errors import AtlasError
from services.core.geometry import Geometry
from services.inference.triton import Triton
from services.serving.card import Network, Outputs, load_card
from services.serving.imports.draft import Wishes
from services.serving.imports.importing import import_model
from services.serving.networks import build_own, load_network
from services.serving.prediction import predict
from services.serving.repository import CPU_THREADS
from services.serving.runtime import on_cpu
from tests.components import triton as component
from tests.components.require import require
from tests.serving.imports import published
from tests.serving.imports.published import drawn, small_card

GRID = Geometry.from_matrix((40, 36, 20), np.diag([1.5, 1.5, 1.5, 1.0]))
CT = np.random.default_rng(0).integers(-200, 300, GRID.array_shape).astype(np.int16)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository of three imports: softmax, axes of its own, and prompted heads."""
    home = tmp_path_factory.mktemp("imported")
    repository = home / "models"
    folder, _ = published.nnunet_folder(home, {"background": 0, "liver": 1, "spleen": 2})
    import_model(folder, repository, Wishes(name="nnunet"), replace=False, write=True)
    bundle, _ = published.bundle_folder(home / "bundle", ["background", "liver", "tumour"])
    import_model(bundle, repository, Wishes(name="bundle"), replace=False, write=True)
    outputs = Outputs(activation="sigmoid", count=32, channels={"liver": (5,), "spleen": (0,)})
    network = Network(architecture="prompted_unet", arguments={"width": 16})
    card = small_card(network=network, outputs=outputs, axes="RAS", window=(16, 32, 16))
    path = published.checkpoint(drawn(build_own(card)), home / "suprem.pth")
    wishes = Wishes(name="suprem", card=published.card_file(card, home))
    import_model(path, repository, wishes, replace=False, write=True)
    return repository


@pytest.fixture(scope="module")
def served(shipped: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Triton, Path]]:
    require(component.is_installed(), "Triton is not installed")
    with component.triton(tmp_path_factory.mktemp("triton"), shipped) as server:
        yield Triton(server.address), server._models


@pytest.mark.parametrize("name", ["nnunet", "bundle", "suprem"])
def test_an_imported_model_is_served(served: tuple[Triton, Path], shipped: Path, name: str) -> None:
    triton, _ = served
    card = load_card(shipped / name)
    model = triton.model(name, "1")
    assert model.require_card().organs == card.organs
    answer = triton.infer(model, CT, GRID, seconds=300)
    with torch.inference_mode():
        expected = predict(on_cpu(load_network(shipped / name, card), card, CPU_THREADS), CT, GRID, card)
    assert answer == expected
    assert any(len(np.unique(arrayfile.decode(answer).channel(organ))) > 1 for organ in card.organs)


def test_what_is_refused_leaves_the_server_as_it_was(served: tuple[Triton, Path], tmp_path: Path) -> None:
    triton, repository = served
    before = triton.infer(triton.model("nnunet", "1"), CT, GRID, seconds=300)
    folder, _ = published.nnunet_folder(tmp_path, {"background": 0, "liver": 1, "spleen": 2})
    weights = folder / "fold_0" / "checkpoint_final.pth"
    weights.write_bytes(weights.read_bytes()[:-2000])
    with pytest.raises(AtlasError):
        import_model(folder, repository, Wishes(name="nnunet"), replace=True, write=True)
    assert triton.infer(triton.model("nnunet", "1"), CT, GRID, seconds=300) == before
    shutil.rmtree(folder)
