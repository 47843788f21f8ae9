"""The images' entrypoint: compiled kernels are where numba looks for them, whole or not at all."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.charts.kubelet import ENTRYPOINT


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A folder with the entrypoint and, as /opt/numba, files of which the second is the larger."""
    kernels = tmp_path / "opt" / "services"
    kernels.mkdir(parents=True)
    (kernels / "a.nbi").write_bytes(b"index")
    (kernels / "b.nbc").write_bytes(os.urandom(1 << 20))
    start = tmp_path / "atlas-start"
    start.write_text(ENTRYPOINT.read_text().replace("/opt/numba", str(tmp_path / "opt")))
    start.chmod(0o755)
    return tmp_path


def start(image: Path, before: str = "") -> subprocess.CompletedProcess[str]:
    """One container of a pod whose /tmp the folder is."""
    script = f"{before} exec {image}/atlas-start echo started"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(image / "numba")}
    return subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, check=False)


def test_a_copy_that_was_cut_off_is_made_again(image: Path) -> None:
    """By a bound on the size of files, which ends the copy in the middle of the second one."""
    cut_off = start(image, "ulimit -f 100;")
    assert cut_off.returncode != 0
    assert "started" not in cut_off.stdout
    assert not (image / "numba").exists()
    assert start(image).stdout == "started\n"
    _assert_whole(image)


def test_what_is_there_stays(image: Path) -> None:
    """Numba adds to it, and a restarted container finds what the first one added."""
    start(image)
    (image / "numba" / "added.nbc").write_bytes(b"compiled later")
    assert start(image).stdout == "started\n"
    _assert_whole(image)
    assert (image / "numba" / "added.nbc").exists()


def _assert_whole(image: Path) -> None:
    for path in (image / "opt").rglob("*.nb?"):
        copy = image / "numba" / path.relative_to(image / "opt")
        assert copy.read_bytes() == path.read_bytes()
        # As the image has it: numba compares times with those that it wrote down.
        assert copy.stat().st_mtime_ns == path.stat().st_mtime_ns
