"""The evaluation's own PostgreSQL and S3: they start as their pods say, storage works on them, and data stays."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.core.storage import Storage
from tests.charts.kubelet import Container, Node, running_pod
from tests.charts.rendering import Manifest, Values, manifests, merged, one, pod_of, pods, profile, texts
from tests.components import ceph
from tests.components.processes import listens, wait_until
from tests.components.require import require

NOBODY = 65534
"""The images' own user does not exist on this machine, and PostgreSQL refuses to run as root."""
IMAGES = Path(__file__).parents[2] / "images"


@pytest.fixture
def everything() -> list[Manifest]:
    programs = [*ceph.missing(), *([] if list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) else ["postgresql"])]
    require(not programs, f"{', '.join(programs)} missing: apt-get install {' '.join(ceph.PACKAGES)} postgresql")
    return manifests(profile("evaluation"))


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that NOBODY may enter: pytest closes the folders above its own to others at every start of a run."""
    with tempfile.TemporaryDirectory(prefix="atlas-evaluation-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_storage_keeps_objects_and_catalog_in_the_evaluation_s_servers(everything: list[Manifest], home: Path) -> None:
    keys = _write_keys(everything, home / "keys")
    node = Node(home, folders={"/etc/atlas/database": keys, "/etc/atlas/s3": keys})
    data = os.urandom(1 << 20)
    with _server(node, everything, "s3"), _server(node, everything, "postgresql"):
        _use_local_address(node, keys)
        with running_pod(node, pod_of(everything, "storage")) as storage:
            storage.wait_started()
            ref = _client(node).put(data)
    # Both begin again on what they have kept.
    with (
        _server(node, everything, "s3"),
        _server(node, everything, "postgresql"),
        running_pod(node, pod_of(everything, "storage")) as storage,
    ):
        storage.wait_started()
        assert _client(node).get(ref) == data


def _client(node: Node) -> Storage:
    return Storage(f"127.0.0.1:{node.port('storage', 50051)}")


@contextlib.contextmanager
def _server(node: Node, everything: list[Manifest], name: str) -> Iterator[Container]:
    pod = one(everything, "StatefulSet", f"-evaluation-{name}")["spec"]["template"]
    home = node.home / name
    home.mkdir(exist_ok=True)
    there = Node(node.home, node.ports, _folders(node, home))
    for path in (home, *home.rglob("*"), *(node.home / "keys").iterdir()):
        shutil.chown(path, NOBODY, NOBODY)
    also = {"MON_PORT": str(node.port("mon", 6789))}
    with running_pod(there, pod, also, user=NOBODY) as server:
        port = server.manifest["ports"][0]["containerPort"]
        # Longer than the script itself waits for a part that has ended, so that its log can say which.
        wait_until(lambda: _is_up(server, there.port(name, port), home.parent / f"{name}.log"), name, 300)
        yield server
        server.terminate()
        server.exit_code(60)


def _is_up(server: Container, port: int, log: Path) -> bool:
    assert server.process.poll() is None, log.read_text()
    return listens(port) and (server.manifest["name"] != "s3" or "with the bucket" in log.read_text())


def _folders(node: Node, home: Path) -> dict[str, Path]:
    image = {"/usr/local/bin/evaluation": IMAGES / "evaluation", "/etc/atlas/keys": node.home / "keys"}
    return {**image, "/var/lib/atlas": home, "/tmp/run": home / "run"}


def _write_keys(everything: list[Manifest], folder: Path) -> Path:
    folder.mkdir()
    for name, text in one(everything, "Secret", "-evaluation")["stringData"].items():
        (folder / name).write_text(text)
    return folder


def _use_local_address(node: Node, keys: Path) -> None:
    host = "atlas-abdomenatlas-evaluation-postgresql.imaging.svc.cluster.local"
    for path in keys.glob("*-url"):
        assert f"@{host}/" in path.read_text()
        path.write_text(path.read_text().replace(host, f"127.0.0.1:{node.port('postgresql', 5432)}"))


def test_a_secret_that_is_there_already_takes_the_place_of_the_drawn_one() -> None:
    """So that a tool that only renders the chart makes the same of it every time."""
    drawn = one(manifests(profile("evaluation")), "Secret", "-evaluation")["metadata"]["name"]
    own = merged(profile("evaluation"), {"evaluation": {"existingSecret": "my-keys"}})
    assert not [m for m in manifests(own) if m["kind"] == "Secret"]
    assert drawn not in _secrets(own)
    assert _secrets(own) == (_secrets(profile("evaluation")) - {drawn}) | {"my-keys"}
    assert texts(own) == texts(own)
    assert texts(profile("evaluation")) != texts(profile("evaluation"))


def _secrets(values: Values) -> set[str]:
    """Which Secrets the pods mount."""
    volumes = [volume for pod in pods(manifests(values)).values() for volume in pod["spec"]["volumes"]]
    return {volume["secret"]["secretName"] for volume in volumes if "secret" in volume}
