"""What is committed under gen/ is what protos/ generates."""

import filecmp
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def differences(left: Path, right: Path) -> list[str]:
    """Return the files that only one folder has, or that differ."""
    files = {p.relative_to(root) for root in (left, right) for p in root.rglob("*.py*") if p.suffix != ".pyc"}
    return sorted(str(name) for name in files if not _same(left / name, right / name))


def _same(left: Path, right: Path) -> bool:
    return left.exists() and right.exists() and filecmp.cmp(left, right, shallow=False)


def test_the_generated_client_is_up_to_date(tmp_path: Path) -> None:
    pytest.importorskip("grpc_tools", reason="grpcio-tools, of the dev extra, is not installed")
    subprocess.run([ROOT / "tools" / "protos", tmp_path], check=True)
    assert differences(tmp_path, ROOT / "gen") == [], "run make protos"


def test_the_generated_client_says_that_it_is_typed() -> None:
    assert (ROOT / "gen" / "abdomenatlas" / "py.typed").exists()
