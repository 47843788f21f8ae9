"""The bundle holds everything that an installation without internet needs, and its script fills a real registry."""

import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.charts import tools
from tests.charts.rendering import PROFILES, Values, containers, manifests, merged, pods, profile
from tests.components.processes import free_port, listens, running, wait_until

BUNDLE = Path(__file__).parents[2] / "images" / "bundle.py"
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+)$", re.MULTILINE)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    subprocess.run([sys.executable, BUNDLE, folder], check=True, cwd=tmp_path)
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
    listed = _listed(bundle, "cpu") | _listed(bundle, "gpu")
    assert _images("evaluation") | _images("production") == listed
    for name in PROFILES:
        assert _images(name) <= _listed(bundle, "gpu" if _has_gpu(name) else "cpu")


def test_the_training_of_a_gpu_installation_has_its_image_there_too(bundle: Path) -> None:
    """What the scheduler starts later, from a Job in a ConfigMap, must be in the registry as well."""
    for name in PROFILES:
        kind = "gpu" if _has_gpu(name) else "cpu"
        trained = _images(name, {"training": {"enabled": True}})
        assert f"abdomenatlas/triton{'-gpu' if kind == 'gpu' else ''}" in {image.split(":")[0] for image in trained}
        assert trained <= _listed(bundle, kind)
        assert trained == _images(name), "a training brings an image that nothing else needs"


def test_the_chart_in_it_installs_and_the_sums_are_right(bundle: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)
    (archive,) = bundle.glob("abdomenatlas-*.tgz")
    text = tools.run(
        *(tools.HELM_3, "template", "atlas", archive, "--kube-version", "1.30.0"),
        *("-f", bundle / "values-evaluation.yaml"),
    )
    assert "kind: StatefulSet" in text
    assert not any(path.suffix == ".py" for path in bundle.rglob("*"))


def test_every_link_in_it_leads_somewhere(bundle: Path) -> None:
    """Nobody who reads the bundle can follow a link to the rest of the repository."""
    pages = list(bundle.rglob("*.md"))
    assert len(pages) >= 8
    links = [(page, link) for page in pages for link in LINK.findall(page.read_text()) if "://" not in link]
    assert len(links) > 10
    dead = [(page.name, link) for page, link in links if not _leads_somewhere(page, link)]
    assert not dead


def _leads_somewhere(page: Path, link: str) -> bool:
    file, _, heading = link.partition("#")
    target = page.parent / file if file else page
    if not target.exists():
        return False
    names = {re.sub(r"[^a-z0-9 -]", "", line.lower()).replace(" ", "-") for line in HEADING.findall(target.read_text())}
    return not heading or heading in names


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


def _listed(bundle: Path, kind: str) -> set[str]:
    """What `mirror.sh` takes along for "cpu" or "gpu"."""
    lines = (line.split() for line in (bundle / "images.txt").read_text().splitlines())
    return {f"{repository}:{tag}" for repository, tag, whom in lines if whom in ("all", kind)}


def _has_gpu(name: str) -> bool:
    return bool(profile(name)["triton"].get("gpu", {}).get("enabled", True))


def _images(name: str, values: Values | None = None) -> set[str]:
    """Images by their names below the registry, those of trainings included."""
    found = manifests(merged(profile(name), merged(values or {}, {"global": {"imageRegistry": ""}})))
    return {c["image"] for pod in pods(found).values() for c in containers(pod)}


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
