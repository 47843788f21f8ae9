"""The pods of the evaluation profile run here as processes: their commands, variables, probes, hooks and ends."""

import contextlib
import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import psycopg
import pytest

from abdomenatlas.storage.v1 import storage_pb2 as pb
from abdomenatlas.storage.v1.storage_pb2_grpc import StorageServiceStub
from services.core.errors import AtlasError
from services.core.geometry import Geometry
from services.core.rpc.server import ENDING_SECONDS
from services.inference.model import Model
from services.inference.triton import Triton
from services.serving.digest import folder_digest
from tests.charts.kubelet import Node, run_to_end, running_pod
from tests.charts.rendering import containers, manifests, merged, one, pod_of, profile
from tests.charts.triton_pod import smallest, triton_pod
from tests.components import triton as components
from tests.components.postgres import fresh_database, postgres
from tests.security.pki import Authority, Pair

SLOW = """\
import time

import threshold

class TritonPythonModel(threshold.TritonPythonModel):
    def execute(self, requests):
        time.sleep(4)
        return super().execute(requests)
"""


@pytest.fixture
def node(tmp_path: Path) -> Node:
    data = tmp_path / "data"
    data.mkdir()
    # Compiled kernels are shared with the other tests, or each pod would compile them anew.
    compiled = os.environ.get("NUMBA_CACHE_DIR", "")
    numba = Path(compiled) if compiled else Path(__file__).parents[2] / "build" / "numba"
    images = {"/models": tmp_path / "image", "/repository": data}
    return Node(tmp_path, folders={"/var/lib/atlas": data, "/tmp/numba": numba, **images})


def test_helm_test_passes_against_the_pods_of_the_chart(node: Node, tmp_path: Path) -> None:
    """Storage, inference and Triton as the chart starts them; then the pod of `helm test`."""
    everything = manifests(smallest(tmp_path, [components.MODELS / "threshold"]))
    with contextlib.ExitStack() as stack:
        for component in ("storage", "inference"):
            stack.enter_context(running_pod(node, pod_of(everything, component))).wait_started()
        stack.enter_context(triton_pod(node, everything)).wait_started()
        (container,) = one(everything, "Pod", "-test")["spec"]["containers"]
        done = run_to_end(node, container)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the prediction is whole" in done.stdout + done.stderr


def test_an_upload_in_flight_outlives_the_pod_s_end(node: Node, tmp_path: Path) -> None:
    """The hook runs, others still get in meanwhile, and after SIGTERM the call in flight ends well."""
    data = bytes(range(256)) * 8192
    go_on = threading.Event()
    with running_pod(node, pod_of(manifests(smallest(tmp_path, [])), "storage")) as storage:
        storage.wait_started()
        with (
            grpc.insecure_channel(f"127.0.0.1:{node.port('storage', 50051)}") as channel,
            ThreadPoolExecutor(1) as pool,
        ):
            stub = StorageServiceStub(channel)
            upload = stub.CreateUpload(_request(data)).upload
            in_flight = pool.submit(stub.WriteUpload, _chunks(upload.name, data, go_on), timeout=60)
            storage.pre_stop()
            assert storage.is_well("readinessProbe")
            stub.GetUpload(pb.GetUploadRequest(name=upload.name), timeout=5)
            storage.terminate()
            _wait_refusal(stub, upload.name)
            go_on.set()
            assert in_flight.result(60).upload.state == pb.Upload.STATE_COMPLETE
        assert storage.exit_code(storage.grace_seconds - 5) == 0


def test_a_prediction_in_flight_outlives_triton_s_end(node: Node, tmp_path: Path) -> None:
    """A real tritonserver with the chart's own arguments is told to end while it computes."""
    slow = tmp_path / "models-slow" / "slow"
    source = components.MODELS / "threshold"
    (slow / "1").mkdir(parents=True)
    (slow / "config.pbtxt").write_text((source / "config.pbtxt").read_text().replace('"threshold"', '"slow"', 1))
    (slow / "1" / "threshold.py").write_text((source / "1" / "model.py").read_text())
    (slow / "1" / "model.py").write_text(SLOW)
    geometry = Geometry.from_matrix((20, 20, 20), np.diag([1.5, 1.5, 1.5, 1.0]))
    with triton_pod(node, manifests(smallest(tmp_path, [slow]))) as server, ThreadPoolExecutor(1) as pool:
        server.wait_started()
        client = Triton(f"127.0.0.1:{node.port('triton', 8001)}")
        ct = np.zeros((20, 20, 20), np.int16)
        in_flight = pool.submit(client.infer, Model("slow", "1"), ct, geometry, seconds=60)
        server.pre_stop()
        again = pool.submit(client.infer, Model("slow", "1"), ct, geometry, seconds=60)
        assert in_flight.result(60)
        threading.Event().wait(1)
        server.terminate()
        assert again.result(60)
        assert server.exit_code(server.grace_seconds - 5) == 0


def test_triton_in_production_answers_inference_alone_and_its_probes(node: Node, tmp_path: Path) -> None:
    """With the chart's own arguments and the certificates that cert-manager would make."""
    own = {"triton": smallest(tmp_path, [components.MODELS / "threshold"])["triton"] | {"gpu": {"enabled": False}}}
    authority = Authority(tmp_path / "pki")
    tls = tmp_path / "tls"
    tls.mkdir()
    pair = authority.service("triton")
    for source, name in ((pair.cert, "tls.crt"), (pair.key, "tls.key"), (authority.ca, "ca.crt")):
        shutil.copy(source, tls / name)
    node.folders["/etc/atlas/tls"] = tls
    with triton_pod(node, manifests(merged(profile("production"), own))) as server:
        server.wait_started()
        assert server.is_well("readinessProbe")
        address = f"127.0.0.1:{node.port('triton', 8001)}"
        (model,) = Triton(address, authority.credentials(authority.service("inference"))).models()
        assert model.fault is None
        with pytest.raises(AtlasError):
            Triton(address).models()
        with pytest.raises(AtlasError):
            Triton(address, authority.credentials()).models()


def test_triton_is_started_again_with_a_renewed_certificate(node: Node, tmp_path: Path) -> None:
    """The liveness probe's own command: not well once there is another certificate, as long as that one can be used."""
    own = {"triton": smallest(tmp_path, [components.MODELS / "threshold"])["triton"] | {"gpu": {"enabled": False}}}
    everything = manifests(merged(profile("production"), own))
    authority = Authority(tmp_path / "pki")
    tls = node.folders["/etc/atlas/tls"] = tmp_path / "tls"
    tls.mkdir()
    pair = Pair(tls / "tls.crt", tls / "tls.key")
    pair.write(authority.make("spiffe://abdomenatlas/triton"))
    shutil.copy(authority.ca, tls / "ca.crt")
    address = ("127.0.0.1", node.port("triton", 8001))
    with triton_pod(node, everything) as server:
        server.wait_started()
        assert server.is_well("livenessProbe")
        first, renewed = ssl.get_server_certificate(address), authority.make("spiffe://abdomenatlas/triton")
        pair.cert.write_bytes(renewed[0])
        assert server.is_well("livenessProbe"), "a certificate without its key is not worth a restart"
        pair.write(renewed)
        assert not server.is_well("livenessProbe")
        assert server.is_well("readinessProbe"), "it serves on until it is started again"
        assert ssl.get_server_certificate(address) == first
        server.pre_stop()
        server.terminate()
        assert server.exit_code(server.grace_seconds - 5) == 0
    with triton_pod(node, everything) as server:
        server.wait_started()
        assert server.is_well("livenessProbe")
        assert ssl.get_server_certificate(address).split() == renewed[0].decode().split()
        stranger = Authority(tmp_path / "stranger")
        (tls / "ca.crt").write_bytes(authority.ca.read_bytes() + stranger.ca.read_bytes())
        assert not server.is_well("livenessProbe"), "a new authority is not trusted before a restart"


@pytest.mark.parametrize("name", ["production", "evaluation"])
def test_there_is_time_for_hook_calls_and_ending(name: str) -> None:
    values = merged(profile(name), {c: {"drainSeconds": 77} for c in ("storage", "scheduler", "triton")})
    for component in ("storage", "scheduler", "triton"):
        spec = pod_of(manifests(values), component)["spec"]
        (container,) = spec["containers"]
        pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        assert spec["terminationGracePeriodSeconds"] > pause + 77 + ENDING_SECONDS


def test_the_migration_job_brings_an_empty_postgresql_up_to_date(node: Node) -> None:
    """Its two containers, against a real server, with the URL in a file; a second run changes nothing."""
    values = merged(profile("production"), {"postgresql": {"sslMode": "disable", "caBundle": {"name": ""}}})
    pod = one(manifests(values), "Job", "-migrations")["spec"]["template"]
    with postgres() as server:
        for container in pod["spec"]["containers"]:
            with fresh_database(server) as url:
                (node.home / "url").write_text(url)
                node.folders["/etc/atlas/database"] = node.home
                for _ in range(2):
                    done = run_to_end(node, container)
                    assert done.returncode == 0, done.stderr
                with psycopg.connect(url.replace("+psycopg", "")) as connection:
                    tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
                    assert (tables.fetchone() or (0,))[0] >= 5


def test_a_model_that_is_not_what_its_digest_says_is_not_served(node: Node, tmp_path: Path) -> None:
    values = smallest(tmp_path, [components.MODELS / "threshold"])
    values["triton"]["models"]["load"][0]["sha256"] = "0" * 64
    (fetch, _) = containers(pod_of(manifests(values), "triton"))
    done = run_to_end(node, fetch)
    assert done.returncode == 1
    assert f"The model threshold has the digest {folder_digest(components.MODELS / 'threshold')}" in done.stderr


def test_models_come_from_storage_by_their_digest(node: Node, tmp_path: Path) -> None:
    """`atlas store-model` stores one, and the init container fetches what its digest says or nothing."""
    source = components.MODELS / "threshold"
    shutil.copytree(source, tmp_path / "threshold")
    values = merged(smallest(tmp_path, []), {"triton": {"models": {"source": "storage"}}})
    with running_pod(node, pod_of(manifests(values), "storage")) as storage:
        storage.wait_started()
        address = f"127.0.0.1:{node.port('storage', 50051)}"
        command = [sys.executable, "-m", "services.cli", "store-model", str(tmp_path / "threshold"), "--json"]
        environment = {**storage.environment, "ATLAS_STORAGE": address}
        stored = subprocess.run(command, env=environment, capture_output=True, check=True)
        # What a training's Job runs stores the same.
        command = [sys.executable, "-m", "services.serving.store", str(tmp_path / "threshold")]
        again = subprocess.run(command, env=environment, capture_output=True, check=True)
        assert json.loads(again.stdout) == json.loads(stored.stdout)[0]
        for model, code in ((json.loads(stored.stdout)[0], 0), ({"name": "threshold", "sha256": "0" * 64}, 1)):
            values["triton"]["models"]["load"] = [model]
            (fetch, _) = containers(pod_of(manifests(values), "triton"))
            done = run_to_end(node, fetch)
            assert done.returncode == code, done.stderr
    assert folder_digest(tmp_path / "data" / "threshold") == folder_digest(source)


def _request(data: bytes) -> pb.CreateUploadRequest:
    return pb.CreateUploadRequest(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


def _chunks(name: str, data: bytes, go_on: threading.Event) -> Iterator[pb.WriteUploadRequest]:
    half = len(data) // 2
    for offset in (0, half):
        part = data[offset : offset + half]
        yield pb.WriteUploadRequest(name=name, offset=offset, data=part, crc32=zlib.crc32(part))
        go_on.wait(60)


def _wait_refusal(stub: StorageServiceStub, name: str) -> None:
    """Wait until no further call is taken: the drain has begun."""
    for _ in range(100):
        try:
            stub.GetUpload(pb.GetUploadRequest(name=name), timeout=2)
        except grpc.RpcError:
            return
        threading.Event().wait(0.1)
    raise AssertionError("calls are still taken")
