"""The digest of a model's folder, as the command prints it for the chart's values."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest


def digest(*words: str, cwd: Path) -> "subprocess.CompletedProcess[str]":
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "services.serving.digest", *words]
    environment = {"PYTHONPATH": f"{root}:{root / 'gen'}"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A folder with a model, an empty folder, and a file."""
    (tmp_path / "unet" / "1").mkdir(parents=True)
    (tmp_path / "unet" / "1" / "model.pt").write_bytes(b"weights")
    (tmp_path / "empty" / "1").mkdir(parents=True)
    (tmp_path / "file").write_bytes(b"weights")
    return tmp_path


def test_it_is_that_of_the_lines_that_sha256sum_prints(home: Path) -> None:
    done = digest("unet", cwd=home)
    lines = f"{hashlib.sha256(b'weights').hexdigest()}  ./1/model.pt\n"
    assert (done.returncode, done.stdout) == (0, f"{hashlib.sha256(lines.encode()).hexdigest()}  unet\n")


@pytest.mark.parametrize("folder", ["nowhere", "empty", "file"])
def test_there_is_none_of_nothing(home: Path, folder: str) -> None:
    done = digest(folder, cwd=home)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{folder}: ")
    assert "Traceback" not in done.stderr


def test_it_says_how_it_is_used(home: Path) -> None:
    assert "usage: python -m services.serving.digest" in digest("--help", cwd=home).stdout
    without = digest(cwd=home)
    assert without.returncode == 2
    assert "usage: python -m services.serving.digest" in without.stderr
