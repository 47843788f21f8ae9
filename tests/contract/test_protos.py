"""What is committed under gen/ is what protos/ generates."""

import filecmp
import subprocess
from pathlib import Path

import pytest

from abdomenatlas.storage.v1.storage_pb2 import AttentionRegion
from abdomenatlas.type.v1.finding_pb2 import Finding
from abdomenatlas.uncertainty.v1.uncertainty_pb2 import LabelCheck

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


def test_attention_and_checks_tell_findings_by_one_message() -> None:
    regions = AttentionRegion.DESCRIPTOR.fields_by_name["findings"]
    checks = LabelCheck.DESCRIPTOR.fields_by_name["findings"]
    assert regions.message_type is checks.message_type is Finding.DESCRIPTOR


def test_the_generated_client_says_that_it_is_typed() -> None:
    assert (ROOT / "gen" / "abdomenatlas" / "py.typed").exists()
