"""A hospital's installation: every pod of the production profile with mutual TLS and tokens, and a campaign on them.

PostgreSQL and S3 are left to tests/charts/test_evaluation.py.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.synthetic.cases import make_case, write_case
from tests.charts.kubelet import Node, running_pod
from tests.charts.rendering import SERVICES, Values, manifests, merged, pod_of
from tests.charts.triton_pod import smallest, triton_pod
from tests.inference.repository import add_model
from tests.security.issuer import AUDIENCE, ISSUER, Issuer
from tests.security.pki import Authority


@dataclass(frozen=True)
class Hospital:
    """An installation that runs, whose people each have a token."""

    node: Node
    authority: Authority
    issuer: Issuer

    def atlas(self, person: str, role: str, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """What `atlas` says to a person of that role."""
        token = self.node.home / f"{person}.token"
        token.write_text(self.issuer.token(person, role))
        addresses = {
            f"ATLAS_{name.upper()}": f"127.0.0.1:{self.node.port(name, port)}"
            for name, port in zip(SERVICES, range(50051, 50056), strict=True)
        }
        given = ["--token-file", token, "--ca", self.authority.ca, *command]
        return subprocess.run(
            [sys.executable, "-m", "services.cli", *map(str, given)],
            env={**os.environ, **addresses},
            cwd=self.node.home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def done(self, person: str, role: str, *command: str | Path) -> list[Any]:
        """The JSON documents that a command prints, which must succeed."""
        result = self.atlas(person, role, *command, "--json")
        assert result.returncode == 0, result.stdout + result.stderr
        documents, rest = [], result.stdout.strip()
        while rest:
            document, end = json.JSONDecoder().raw_decode(rest)
            documents.append(document)
            rest = rest[end:].lstrip()
        return documents


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    """Storage, inference, uncertainty, merging, scheduler and Triton, each with its own certificate."""
    authority, issuer = Authority(tmp_path / "pki"), Issuer(_folder(tmp_path, "issuer") / "jwks.json")
    models = _folder(tmp_path, "models")
    for name in ("one", "two"):
        add_model(models, name)
    (_folder(tmp_path, "metrics") / "token").write_text("of-the-monitoring")
    images = {"/models": tmp_path / "image", "/repository": _folder(tmp_path, "data")}
    compiled = os.environ.get("NUMBA_CACHE_DIR", str(Path(__file__).parents[2] / "build" / "numba"))
    shared = {
        **images,
        "/tmp/numba": Path(compiled),
        "/etc/atlas/metrics": tmp_path / "metrics",
        "/etc/atlas/jwks": tmp_path / "issuer",
    }
    ports: dict[tuple[str, str], int] = {}
    everything = manifests(_values(tmp_path, [models / "one", models / "two"]))

    def node(name: str) -> Node:
        own = {
            "/etc/atlas/tls": _certificate(tmp_path, authority, name),
            "/var/lib/atlas": _folder(tmp_path, f"{name}-data"),
        }
        return Node(tmp_path, ports, {**shared, **own})

    with ExitStack() as stack:
        triton = stack.enter_context(triton_pod(node("triton"), everything))
        pods = [stack.enter_context(running_pod(node(name), pod_of(everything, name))) for name in SERVICES]
        for pod in (triton, *pods):
            pod.wait_started()
        yield Hospital(node("cli"), authority, issuer)


def test_people_of_every_role_do_their_part_of_a_campaign(hospital: Hospital) -> None:
    """Import, predict, score, merge and review go through all services, and deeds and refusals are on record."""
    case, todo = hospital.node.home / "case", hospital.node.home / "todo"
    write_case(make_case(3, profile="training"), case, ["liver"])
    hospital.done("olga", "operator", "import", case)
    begin = ("campaign", "create", "spring", "--all", "--review-share", "1")
    refused = hospital.atlas("vera", "viewer", *begin)
    assert refused.returncode != 0
    assert "operator" in refused.stderr
    hospital.done("olga", "operator", *begin)
    kinds = [event["kind"] for event in hospital.done("olga", "operator", "campaign", "watch", "spring")]
    assert {"KIND_PREDICTED", "KIND_SCORED", "KIND_MERGED"} <= set(kinds), kinds
    ((review,),) = hospital.done("anna", "annotator", "review", "list", "spring")
    hospital.done("anna", "annotator", "review", "claim", review["name"], "--to", todo)
    hospital.done("anna", "annotator", "review", "submit", todo, "--accept")
    (shown,) = hospital.done("vera", "viewer", "campaign", "show", "spring")
    assert shown["campaign"]["open_review_count"] == 0
    hospital.done("rosa", "admin", "audit", "verify")
    entries = hospital.done("rosa", "admin", "audit", "list")
    deeds = {(entry["actor"], entry["method"].rpartition("/")[2], entry["outcome"]) for entry in entries}
    assert ("vera", "CreateCampaign", "PERMISSION_DENIED") in deeds
    assert ("anna", "SubmitReview", "OK") in deeds


def _values(tmp_path: Path, models: list[Path]) -> Values:
    own = {
        "triton": {"gpu": {"enabled": False}, "autoscaling": {"mode": "none"}},
        "auth": {
            "issuer": ISSUER,
            "audience": AUDIENCE,
            "jwksUrl": "",
            "jwks": {"name": "issuer-keys"},
            "roleClaim": "roles",
            "subjectClaim": "sub",
        },
    }
    return merged(smallest(tmp_path, models, of="production"), own)


def _folder(home: Path, name: str) -> Path:
    folder = home / name
    folder.mkdir(exist_ok=True)
    return folder


def _certificate(home: Path, authority: Authority, name: str) -> Path:
    folder, pair = _folder(home, f"{name}-tls"), authority.service(name)
    for source, target in ((pair.cert, "tls.crt"), (pair.key, "tls.key"), (authority.ca, "ca.crt")):
        shutil.copy(source, folder / target)
    return folder
