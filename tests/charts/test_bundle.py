"""The bundle holds everything that an installation without internet needs, and its script fills a real registry."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.charts import tools
from tests.charts.rendering import PROFILES, containers, manifests, merged, pods, profile
from tests.components.processes import free_port, listens, running, wait_until

BUNDLE = Path(__file__).parents[2] / "images" / "bundle.py"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    # Without the images that may have been built here.
    environment = {**os.environ, "OUT": str(tmp_path / "no-images")}
    subprocess.run([sys.executable, BUNDLE, folder], check=True, cwd=tmp_path, env=environment)
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """An empty registry of Debian's docker-registry."""
    port = free_port()
    address = f"127.0.0.1:{port}"
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": address},
    }
    (tmp_path / "registry.yaml").write_text(yaml.safe_dump(config))
    program = tools.find("docker-registry")
    with running([program, "serve", str(tmp_path / "registry.yaml")], tmp_path / "registry.log"):
        wait_until(lambda: listens(port), "docker-registry", 60)
        yield address


def test_the_list_names_every_image_of_every_profile_and_no_other(bundle: Path) -> None:
    listed = {":".join(line.split()[:2]) for line in (bundle / "images.txt").read_text().splitlines()}
    assert _images("evaluation") | _images("production") == listed
    for name in PROFILES:
        registry = merged(profile(name), {"global": {"imageRegistry": ""}})
        assert {c["image"] for pod in pods(manifests(registry)).values() for c in containers(pod)} <= listed


def test_the_chart_in_it_installs_and_the_sums_are_right(bundle: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)
    (archive,) = bundle.glob("abdomenatlas-*.tgz")
    text = tools.run(
        *(tools.HELM_3, "template", "atlas", archive, "--kube-version", "1.30.0"),
        *("-f", bundle / "values-evaluation.yaml"),
    )
    assert "kind: StatefulSet" in text
    assert not any(path.suffix == ".py" for path in bundle.rglob("*"))


def test_its_script_fills_a_registry_and_pins_what_is_in_it(bundle: Path, registry: str, tmp_path: Path) -> None:
    images = [line.split() for line in (bundle / "images.txt").read_text().splitlines()]
    (bundle / "archives").mkdir()
    for repository, tag, _ in images:
        _write_archive(bundle / "archives" / f"{repository.split('/')[-1]}.tar", f"{repository}:{tag}")
    tools.find("skopeo")
    environment = {**os.environ, "SKOPEO_OPTIONS": "--insecure-policy --dest-tls-verify=false"}
    command = ["./mirror.sh", f"{registry}/atlas", "cpu"]
    subprocess.run(command, cwd=bundle, env=environment, check=True, stdout=subprocess.DEVNULL)

    pinned = yaml.safe_load((bundle / "values-images.yaml").read_text())
    for pod in pods(manifests(merged(profile("evaluation"), pinned))).values():
        for container in containers(pod):
            name, _, digest = container["image"].partition("@")
            assert name.startswith(f"{registry}/atlas/abdomenatlas/")
            manifest = tools.run("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{name}@{digest}")
            assert digest == f"sha256:{hashlib.sha256(manifest.encode()).hexdigest()}"


def test_without_an_archive_the_script_asks_where_the_image_is(bundle: Path) -> None:
    done = subprocess.run(["./mirror.sh", "registry.example"], cwd=bundle, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "where abdomenatlas/cli is" in done.stderr
    assert not (bundle / "values-images.yaml").exists()


def _images(name: str) -> set[str]:
    return {c["image"] for pod in pods(manifests(profile(name))).values() for c in containers(pod)}


def _write_archive(path: Path, name: str) -> None:
    """An image with one file, as `docker save` writes it."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        _add(tar, "name", name.encode())
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    rootfs = {"type": "layers", "diff_ids": [f"sha256:{digest}"]}
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": rootfs}).encode()
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        _add(tar, "layer.tar", layer.getvalue())
        _add(tar, "config.json", config)
        _add(tar, "manifest.json", json.dumps(manifest).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(data)
    tar.addfile(entry, io.BytesIO(data))
