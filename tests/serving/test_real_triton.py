"""A shipped model in a real Triton answers what the same code answers in this process, bit for bit."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from services.core import arrayfile
from services.core.errors import AtlasError
from services.core.geometry import Geometry
from services.core.geometry import network_grid as grid_of
from services.core.resample import to_grid
from services.inference.triton import Triton
from services.serving.card import load_card
from services.serving.networks import load_network
from services.serving.prediction import predict
from services.serving.repository import CPU_THREADS
from services.serving.runtime import on_cpu
from services.synthetic import make_case
from tests.components import triton as component
from tests.components.require import require

MODEL = Path(__file__).parents[2] / "models" / "unet"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """A server with the U-Net alone."""
    require(component.is_installed(), "Triton is not installed")
    home = tmp_path_factory.mktemp("triton")
    shutil.copytree(MODEL, home / "shipped" / "unet", ignore=shutil.ignore_patterns("__pycache__"))
    with component.triton(home, home / "shipped") as server:
        yield Triton(server.address)


def test_the_card_reaches_the_caller(served: Triton) -> None:
    card = load_card(MODEL)
    seen = served.model("unet", "1").require_card()
    assert card.weights is not None
    assert (seen.architecture, seen.organs, seen.class_map) == ("unet", card.organs, card.class_map)
    assert seen.weights_sha256 == card.weights.sha256


def test_the_answer_is_the_prediction(served: Triton) -> None:
    case = make_case(78, profile="training")
    grid = grid_of(case.geometry)
    ct = to_grid(case.ct, case.geometry, grid)
    answer = served.infer(served.model("unet", "1"), ct, grid, seconds=120)
    card = load_card(MODEL)
    assert answer == predict(on_cpu(load_network(MODEL, card), card, CPU_THREADS), ct, grid, card)
    array = arrayfile.decode(answer)
    assert array.geometry == grid
    assert np.count_nonzero(array.channel("liver") > 127) > 10_000


def test_a_wrong_grid_is_refused_with_its_reason(served: Triton) -> None:
    oblong = Geometry.from_matrix((8, 8, 8), np.diag([1.5, 1.5, 3.0, 1.0]))
    with pytest.raises(AtlasError, match="GRID_MISMATCH"):
        served.infer(served.model("unet", "1"), np.zeros((8, 8, 8), np.int16), oblong, seconds=60)
