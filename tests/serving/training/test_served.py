"""The whole way of a model: trained, tuned, compared, promoted into a running Triton, and asked."""

import shutil
from pathlib import Path

import numpy as np

from services.core import modelversions
from services.core.geometry import Geometry
from services.inference.promotion import Promoter
from services.inference.triton import Triton
from services.serving.card import Card, load_version, save_card
from services.serving.networks import load_network
from services.serving.prediction import predict
from services.serving.repository import CPU_THREADS, folder_config
from services.serving.runtime import on_cpu
from services.serving.training import job
from services.serving.training.distributed import ALONE
from services.serving.training.loop import Budget
from tests.components import triton as component
from tests.components.require import require
from tests.serving.training.boxes import data, plan

SHIPPED = Path(__file__).parents[3] / "models" / "unet" / "1" / "model.py"
GRID = Geometry.from_matrix((40, 36, 32), np.diag([1.5, 1.5, 1.5, 1]))


def test_a_tuned_version_is_promoted_and_answers(card: Card, tmp_path: Path) -> None:
    """Each version answers with its own weights, and says so; the same bytes as in this process."""
    require(component.is_installed(), "Triton is not installed")
    folder = tmp_path / "small"
    (folder / "1").mkdir(parents=True)
    shutil.copy(SHIPPED, folder / "1")
    save_card(folder, card.model_copy(update={"cpu_runtime": "torch"}))
    modelversions.write_config(folder, folder_config(folder))
    few = Budget(1, None, 3, 1)
    job.train(plan(tmp_path, budget=few), data(), ALONE)
    modelversions.write_config(folder, folder_config(folder))
    tuned = plan(tmp_path, budget=few, heads=("liver",), organs=("liver",), goes_on=True, margin=1.0)
    result = job.train(tuned, data(), ALONE)
    assert result == job.Result("small", 2, promoted=True)
    shutil.copytree(folder, tmp_path / "given" / "small")
    ct = np.random.default_rng(0).integers(-200, 300, GRID.array_shape).astype(np.int16)
    with component.triton(tmp_path / "home", tmp_path / "given") as server:
        triton = Triton(server.address)
        assert [model.version for model in triton.models()] == ["1"], "a version waits for its promotion"
        Promoter(triton, tmp_path / "home" / "models").promote("small", "2")
        answers = []
        for number in (1, 2):
            model, own = triton.model("small", str(number)), load_version(folder, number)
            assert own.weights is not None
            assert model.require_card().weights_sha256 == own.weights.sha256
            answers.append(triton.infer(model, ct, GRID, seconds=120))
            assert answers[-1] == predict(on_cpu(load_network(folder, own), own, CPU_THREADS), ct, GRID, own)
        assert answers[0] != answers[1]
