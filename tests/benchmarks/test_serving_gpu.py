"""`make bench-gpu` at a tiny size on the CPU: both contenders compute the same, and what is measured is told."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.serving import gpu
from services.core import arrayfile
from services.serving import zoo
from services.serving.card import Card, Network

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def card() -> Card:
    """The paper's U-Net, but for its width and window."""
    tiny = Network(architecture="unet", arguments={"channels": [4, 8], "strides": [2]})
    return zoo.load("paper_unet").model_copy(
        update={"network": tiny, "window": (16, 16, 16), "gpu_runtime": "eager", "cpu_runtime": "torch"}
    )


@pytest.fixture
def ct() -> "np.ndarray[tuple[int, ...], np.dtype[np.int16]]":
    return np.random.default_rng(0).integers(-200, 300, (40, 28, 24)).astype(np.int16)


def test_the_networks_are_the_four_of_the_paper() -> None:
    architectures = {zoo.load(name).network.architecture for name in gpu.NETWORKS}
    assert architectures == {"swinunetr", "unetr", "unet", "segresnet"}
    assert {zoo.load(name).overlap for name in gpu.NETWORKS} == {0.75}


def test_both_compute_the_same(card: Card, ct: "np.ndarray[tuple[int, ...], np.dtype[np.int16]]") -> None:
    """As far as half precision goes, in steps of 1/255; no organ is the same everywhere."""
    theirs = gpu.monai(card, CPU)(ct)
    array = arrayfile.decode(gpu.ours(card, CPU)(ct))
    mine = np.stack([array.channel(organ) for organ in card.organs])
    assert theirs.shape == mine.shape == (9, 40, 28, 24)
    assert np.abs(theirs.astype(int) - mine.astype(int)).max() <= 3
    assert theirs.std(axis=(1, 2, 3)).min() > 1


def test_what_is_measured_is_told(card: Card, ct: "np.ndarray[tuple[int, ...], np.dtype[np.int16]]") -> None:
    found = gpu.contest(card, ct, CPU, runs=1)
    assert found["ratio"] == found["monai"]["seconds"] / found["ours"]["seconds"]
    for who in ("monai", "ours"):
        row = found[who]
        assert row["volumes_an_hour"] * row["seconds"] == pytest.approx(3600)
        assert (row["busy_percent"], row["mb"]) == (None, 0.0)


def test_without_a_gpu_it_says_so(tmp_path: Path) -> None:
    """Before it draws a patient."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join([".", "gen"])}
    command = [sys.executable, "-m", "benchmarks.serving.gpu", "--case", str(tmp_path / "case")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 1
    assert "needs a GPU" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "case").exists()
