"""`atlas benchmark` as a user types it: folders of cases, a network, a table."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from services.cli.exits import Exit
from services.synthetic import make_case, write_case
from tests.synthetic.test_anatomy import grid


def atlas(*words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    command = [sys.executable, "-m", "services.cli", "benchmark", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=540, check=False)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two folders of cases, with per-organ masks, and a card."""
    folder = tmp_path_factory.mktemp("work")
    coarse = grid(spacing=8.0)
    for name, seeds in (("atlas", (1, 2)), ("ours", (3, 4, 5))):
        for seed in seeds:
            write_case(make_case(seed, geometry=coarse), folder / name / f"case-{seed}", ("liver", "spleen"))
    (folder / "cards" / "small").mkdir(parents=True)
    card = {
        "name": "small",
        "label": "test-1",
        "summary": "A U-Net of two levels.",
        "intended_use": "Tests.",
        "network": {"architecture": "unet", "arguments": {"channels": [4, 8], "strides": [2]}},
        "class_map": "abdomenatlas-1.0",
        "organs": ["liver", "spleen"],
        "grid_spacing_mm": 8.0,
        "working_factor": 1,
        "hu_window": [-175.0, 250.0],
        "window": [32, 32, 32],
        "overlap": 0.25,
        "cpu_runtime": "torch",
    }
    (folder / "cards" / "small" / "model.yaml").write_text(yaml.safe_dump(card))
    return folder


def test_two_folders_make_a_table(work: Path) -> None:
    options = ("--network", "small", "--models", "cards", "--hold-out", "2", "--steps", "50", "--threads", "1")
    shown = atlas("atlas", "ours", *options, cwd=work)
    assert shown.returncode == Exit.DONE, shown.stderr
    assert "## Tested on hold-out of b (ours)" in shown.stdout
    assert "| small |" in shown.stdout
    assert "training small on b" in shown.stderr
    assert (work / "benchmark-out" / "benchmark.png").exists()


def test_folders_of_one_name_are_told_apart(work: Path) -> None:
    """By the folders above them, as far as is needed: rows of both sides must not be thrown together."""
    for name, hospital in (("atlas", "a"), ("ours", "b")):
        shutil.copytree(work / name, work / hospital / "cases")
    options = ("--network", "small", "--models", "cards", "--hold-out", "2", "--steps", "50", "--threads", "1")
    shown = atlas("a/cases", "b/cases", *options, "--out", "apart", cwd=work)
    assert shown.returncode == Exit.DONE, shown.stderr
    assert "**a** (a/cases)" in shown.stdout
    assert "## Tested on hold-out of b (b/cases)" in shown.stdout
    with (work / "apart" / "cases.csv").open() as file:
        assert {row["trained_on"] for row in csv.DictReader(file)} == {"a/cases", "b/cases"}


def test_a_dataset_that_is_given_twice_is_refused(work: Path) -> None:
    options = ("--network", "small", "--models", "cards", "--out", "twice")
    for same in (("ours", "./ours"), ("synthetic:portal", "synthetic:portal"), ("atlas", "ours", "atlas")):
        refused = atlas(*same, *options, cwd=work)
        assert refused.returncode == Exit.REFUSED
        assert "Two datasets have this name" in refused.stderr
        assert not (work / "twice").exists()


def test_a_refusal_comes_out_with_its_reason(work: Path) -> None:
    unknown = atlas("synthetic:nowhere", "ours", "--network", "small", "--models", "cards", cwd=work)
    assert unknown.returncode == Exit.REFUSED
    assert "There is no synthetic hospital 'nowhere'. Known: portal," in unknown.stderr
    assert "Traceback" not in unknown.stderr


def test_a_folder_without_labels_is_refused(work: Path) -> None:
    (work / "empty").mkdir()
    refused = atlas("empty", "ours", "--models", "cards", cwd=work)
    assert refused.returncode == Exit.REFUSED
    assert "empty has no case with labels." in refused.stderr
