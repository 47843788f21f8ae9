"""A hospital's installation: every pod of the production profile with mutual TLS and tokens, and its people.

PostgreSQL and S3 are left to tests/charts/test_evaluation.py.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from services.synthetic.cases import make_case, write_case
from tests.charts.gateway import Backend, gateway
from tests.charts.kubelet import Node, run_to_end, running_pod
from tests.charts.rendering import NAMESPACE, SERVICES, Manifest, Values, manifests, merged, one, pod_of, texts
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
    values: Values
    everything: list[Manifest]

    def token(self, person: str, role: str) -> Path:
        """A file with the token of a person of that role."""
        folder = _folder(self.node.home, person)
        (folder / "token").write_text(self.issuer.token(person, role))
        return folder / "token"

    def atlas(self, person: str, role: str, *command: str | Path, entry: str = "") -> subprocess.CompletedProcess[str]:
        """What `atlas` says to a person of that role, at the services' own ports or at one `entry` for all."""
        addresses = {
            f"ATLAS_{name.upper()}": entry or f"127.0.0.1:{self.node.port(name, port)}"
            for name, port in zip(SERVICES, range(50051, 50056), strict=True)
        }
        given = ["--token-file", self.token(person, role), "--ca", self.authority.ca, *command]
        return subprocess.run(
            [sys.executable, "-m", "services.cli", *map(str, given)],
            env={**os.environ, **addresses},
            cwd=self.node.home,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def done(self, person: str, role: str, *command: str | Path, entry: str = "") -> list[Any]:
        """The JSON documents that a command prints, which must succeed."""
        result = self.atlas(person, role, *command, "--json", entry=entry)
        assert result.returncode == 0, result.stdout + result.stderr
        documents, rest = [], result.stdout.strip()
        while rest:
            document, end = json.JSONDecoder().raw_decode(rest)
            documents.append(document)
            rest = rest[end:].lstrip()
        return documents


@pytest.fixture(scope="module")
def hospital(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hospital]:
    """Storage, inference, uncertainty, merging, scheduler and Triton, each with its own certificate."""
    tmp_path = tmp_path_factory.mktemp("hospital")
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
    values = _values(tmp_path, [models / "one", models / "two"])
    everything = manifests(values)

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
        yield Hospital(node("cli"), authority, issuer, values, everything)


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


def test_helm_test_passes_with_tls_and_a_token(hospital: Hospital) -> None:
    """The pod of `helm test` has the authority and a token, and no certificate of its own."""
    pod = one(hospital.everything, "Pod", "-test")
    (container,) = pod["spec"]["containers"]
    (tls,) = (v["secret"] for v in pod["spec"]["volumes"] if v["name"] == "tls")
    authority = _folder(hospital.node.home, "test-tls")
    for item in tls["items"]:
        shutil.copy(hospital.node.folders["/etc/atlas/tls"] / item["key"], authority / item["path"])
    token = hospital.token("helm", "operator")
    folders = {**hospital.node.folders, "/etc/atlas/tls": authority, "/etc/atlas/token": token.parent}
    node = Node(hospital.node.home, hospital.node.ports, folders)
    done = run_to_end(node, container)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the prediction is whole" in done.stdout + done.stderr
    token.write_text(hospital.issuer.token("helm", "viewer"))
    refused = run_to_end(node, container)
    assert refused.returncode != 0
    assert "takes the role" in refused.stdout + refused.stderr


def test_everything_is_reached_through_one_gateway(hospital: Hospital) -> None:
    """By the chart's GRPCRoute: each service, and of what several have, the one that the caller means."""
    with _gateway(hospital) as entry:
        done = hospital.done("vera", "viewer", "volumes", "list", entry=entry)
        assert done == hospital.done("vera", "viewer", "volumes", "list")
        hospital.done("vera", "viewer", "campaign", "list", entry=entry)
        hospital.done("olga", "operator", "selftest", entry=entry)
        (logs,) = hospital.done("rosa", "admin", "audit", "verify", entry=entry)
        assert [log["log"] for log in logs] == ["storage", "scheduler"]
        assert logs[0]["entries"] > 0
        for name in SERVICES:
            assert f"abdomenatlas.{name}.v1.{name.capitalize()}Service" in _listed(hospital, entry, name)
        assert "abdomenatlas.scheduler.v1.SchedulerService" in _listed(hospital, entry, "")


def test_the_commands_of_the_notes_work_through_a_gateway(hospital: Hospital) -> None:
    notes = texts(hospital.values)["NOTES.txt"]
    with _gateway(hospital) as entry:
        done = _run_notes(hospital, notes.replace("atlas.hospital.example:443", entry), "entry-ca.crt")
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_commands_of_the_notes_work_with_forwarded_ports(hospital: Hospital) -> None:
    """The certificates do not hold the name localhost: without the name that the notes give, nobody is trusted."""
    notes = texts(merged(hospital.values, {"expose": {"gateway": {"enabled": False}}}))["NOTES.txt"]
    secret, key = "atlas-abdomenatlas-storage-tls", "ca\\.crt"
    assert (
        f"kubectl -n {NAMESPACE} get secret {secret} -o jsonpath='{{.data.{key}}}' | base64 -d > atlas-ca.crt" in notes
    )
    for name, port in (("storage", 50051), ("scheduler", 50055)):
        assert f"{port}:{port}" in notes
        notes = notes.replace(f"localhost:{port}", f"localhost:{hospital.node.port(name, port)}")
    done = _run_notes(hospital, notes, "atlas-ca.crt")
    assert done.returncode == 0, done.stdout + done.stderr
    refused = _run_notes(hospital, notes.replace("ATLAS_SERVER_NAME", "ATLAS_NOTHING"), "atlas-ca.crt")
    assert refused.returncode != 0
    assert "does not answer" in refused.stderr


def _gateway(hospital: Hospital) -> AbstractContextManager[str]:
    pair = hospital.authority.service("gateway")
    credentials = grpc.ssl_server_credentials([(pair.key.read_bytes(), pair.cert.read_bytes())])
    return gateway(one(hospital.everything, "GRPCRoute", "atlas-abdomenatlas"), _backends(hospital), credentials)


def _backends(hospital: Hospital) -> Backend:
    """Channels to the Services that are named -entry, over TLS as a BackendTLSPolicy says."""
    trust = grpc.ssl_channel_credentials(hospital.authority.ca.read_bytes())

    @cache
    def channel(entry: str) -> grpc.Channel:
        name = entry.split("-")[-2]
        (port,) = one(hospital.everything, "Service", entry)["spec"]["ports"]
        policy = one(hospital.everything, "BackendTLSPolicy", f"-{name}")["spec"]["validation"]
        options = [("grpc.ssl_target_name_override", policy["hostname"])]
        return grpc.secure_channel(f"127.0.0.1:{hospital.node.port(name, port['port'])}", trust, options=options)

    return channel


def _listed(hospital: Hospital, entry: str, service: str) -> set[str]:
    """What `grpcurl HOST list` shows with that header."""
    metadata = [("authorization", f"Bearer {hospital.issuer.token('vera', 'viewer')}")]
    metadata += [("x-atlas-service", service)] if service else []
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with grpc.secure_channel(entry, grpc.ssl_channel_credentials(hospital.authority.ca.read_bytes())) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        (answer,) = stub.ServerReflectionInfo(iter([request]), metadata=metadata, timeout=10)
    return {found.name for found in answer.list_services_response.service}


def _run_notes(hospital: Hospital, notes: str, ca: str) -> subprocess.CompletedProcess[str]:
    """Run the lines of the notes that are for `atlas`, as whoever pastes them into a shell."""
    folder = _folder(hospital.node.home, "notes")
    shutil.copy(hospital.authority.ca, folder / ca)
    shutil.copy(hospital.token("vera", "viewer"), folder / "token")
    lines = [line.strip() for line in notes.splitlines()]
    script = [line for line in lines if line.startswith(("export ", "atlas "))]
    assert script[-1] == "atlas campaign list"
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    return subprocess.run(
        ["bash", "-euc", "\n".join(script)],
        env={**os.environ, "PATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


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
    """What cert-manager would make: a certificate with the names that the chart asks for, and not the address."""
    dns = (f"atlas-abdomenatlas-{name}.{NAMESPACE}.svc.cluster.local",)
    folder, pair = _folder(home, f"{name}-tls"), authority.issue(name, f"spiffe://abdomenatlas/{name}", dns=dns)
    for source, target in ((pair.cert, "tls.crt"), (pair.key, "tls.key"), (authority.ca, "ca.crt")):
        shutil.copy(source, folder / target)
    return folder
