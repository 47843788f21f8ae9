"""`make images-check` knows every image, what each holds and needs, and finds what is wrong with one."""

import json
from pathlib import Path
from typing import Any

import pytest

from images.checks.__main__ import IMAGES
from images.checks.chart import BEFORE, Evaluation
from images.checks.contents import DEBIAN, USER, faults, pins


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return Evaluation.render()


def test_the_pods_of_the_profile_run_every_image(evaluation: Evaluation) -> None:
    assert {name for pod in evaluation.pods.values() for name in pod.images} == set(IMAGES)


def test_a_pod_comes_after_those_it_needs(evaluation: Evaluation) -> None:
    order = list(evaluation.pods)
    assert set(BEFORE) <= set(order)
    for name, before in BEFORE.items():
        assert all(order.index(other) < order.index(name) for other in before)


@pytest.mark.parametrize(
    ("image", "pods"),
    [
        ("merging", ["merging"]),
        ("models", ["triton"]),
        ("scheduler", ["evaluation-postgresql", "migrations-scheduler", "scheduler"]),
        ("storage", ["evaluation-postgresql", "evaluation-s3", "migrations-storage", "storage"]),
    ],
)
def test_an_image_is_tried_with_what_it_needs_and_no_more(evaluation: Evaluation, image: str, pods: list[str]) -> None:
    assert sorted(pod.name for pod in evaluation.needed({image})) == pods


def test_the_self_test_needs_all_that_a_prediction_needs(evaluation: Evaluation) -> None:
    images = {name for pod in evaluation.needed({"cli"}) for name in pod.images}
    assert images == {"cli", "storage", "inference", "triton", "models", "evaluation"}


def test_no_address_of_the_cluster_is_left(evaluation: Evaluation) -> None:
    everything = json.dumps([[pod.spec for pod in evaluation.pods.values()], evaluation.secrets])
    assert "cluster.local" not in everything
    assert "127.0.0.1:50051" in everything


def test_nothing_is_wrong_with_an_image_as_it_should_be(tmp_path: Path) -> None:
    assert faults("merging", "1.2.3", _config(), _bill(tmp_path, _packages())) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"User": ""}, "runs as root"),
        ({"User": "0"}, "runs as 0"),
        ({"Labels": {}}, "has no label licenses"),
    ],
)
def test_a_wrong_configuration_is_told(change: dict[str, Any], fault: str, tmp_path: Path) -> None:
    found = faults("merging", "1.2.3", {**_config(), **change}, _bill(tmp_path, _packages()))
    assert any(fault in line for line in found)


def test_another_version_than_the_chart_s_is_told(tmp_path: Path) -> None:
    (found,) = faults("merging", "1.2.4", _config(), _bill(tmp_path, _packages()))
    assert "is labelled abdomenatlas-merging 1.2.3" in found


@pytest.mark.parametrize(
    ("more", "without", "fault"),
    [
        ({"torch": "2.13.0"}, "", "holds torch"),
        ({"left-over": "1"}, "", "holds left-over, which its lock does not"),
        ({"numpy": "2.0.0"}, "", "lacks numpy 1.26.4 of its lock"),
        ({}, "numba", "lacks numba"),
        ({}, "abdomenatlas", "bill of materials lacks abdomenatlas"),
    ],
)
def test_other_packages_than_the_lock_s_are_told(
    more: dict[str, str], without: str, fault: str, tmp_path: Path
) -> None:
    packages = {name: version for name, version in {**_packages(), **more}.items() if name != without}
    found = faults("merging", "1.2.3", _config(), _bill(tmp_path, packages))
    assert any(fault in line for line in found)


@pytest.mark.parametrize("name", ["models", "evaluation"])
def test_an_image_without_a_lock_holds_what_debian_brings_and_no_more(name: str, tmp_path: Path) -> None:
    """Ceph's commands come with Python packages; whatever pip added, nobody asked for."""
    labels = _config()["Labels"] | {"org.opencontainers.image.title": f"abdomenatlas-{name}"}
    path = tmp_path / f"{name}.cdx.json"
    debian = [{"name": p, "version": "1", "purl": f"pkg:deb/debian/{p}@1"} for p in DEBIAN[name]]
    brought = _python("prettytable", "/usr/lib/python3/dist-packages/prettytable-3.6.0.egg-info/PKG-INFO")
    path.write_text(json.dumps({"components": [*debian, brought]}))
    assert faults(name, "1.2.3", {**_config(), "Labels": labels}, path) == []
    added = _python("left-over", "/usr/local/lib/python3.11/dist-packages/left_over-1.dist-info/METADATA")
    path.write_text(json.dumps({"components": [*debian, brought, added, _python("nowhere", None)]}))
    assert faults(name, "1.2.3", {**_config(), "Labels": labels}, path) == [
        "holds left-over, which no package of Debian brings",
        "holds nowhere, which no package of Debian brings",
    ]


def test_what_setuptools_carries_inside_it_is_not_taken_for_more(tmp_path: Path) -> None:
    path = _bill(tmp_path, _packages())
    bill = json.loads(path.read_text())
    place = "/opt/venv/lib/python3.11/site-packages/setuptools/_vendor/numpy-2.0.0.dist-info/METADATA"
    inside = {"name": "numpy", "version": "2.0.0", "purl": "pkg:pypi/numpy@2.0.0"}
    bill["components"].append({**inside, "properties": [{"name": "syft:location:0:path", "value": place}]})
    path.write_text(json.dumps(bill))
    assert faults("merging", "1.2.3", _config(), path) == []


def test_a_bill_of_materials_that_is_missing_cut_off_or_empty_is_told(tmp_path: Path) -> None:
    (missing,) = faults("merging", "1.2.3", _config(), tmp_path / "merging.cdx.json")
    assert "is missing: images/build merging" in missing
    (tmp_path / "merging.cdx.json").write_text("")
    (cut_off,) = faults("merging", "1.2.3", _config(), tmp_path / "merging.cdx.json")
    assert "is cut off: images/build merging" in cut_off
    (tmp_path / "merging.cdx.json").write_text("{}")
    found = faults("merging", "1.2.3", _config(), tmp_path / "merging.cdx.json")
    assert "its bill of materials lacks Debian's python3.11" in found


def _config() -> dict[str, Any]:
    labels = {"title": "abdomenatlas-merging", "version": "1.2.3", "licenses": "Apache-2.0", "description": "merging"}
    return {"User": USER, "Labels": {f"org.opencontainers.image.{name}": text for name, text in labels.items()}}


def _packages() -> dict[str, str]:
    return {**pins("merging"), "abdomenatlas": "1.2.3"}


def _python(name: str, place: str | None) -> dict[str, Any]:
    properties = [{"name": "syft:location:0:path", "value": place}] if place else []
    return {"name": name, "version": "1", "purl": f"pkg:pypi/{name}@1", "properties": properties}


def _bill(folder: Path, packages: dict[str, str]) -> Path:
    """A bill of materials in CycloneDX as syft writes it, as far as it is read."""
    debian = {"name": "python3.11", "version": "3.11.2-6", "purl": "pkg:deb/debian/python3.11@3.11.2-6"}
    python = [{"name": n, "version": v, "purl": f"pkg:pypi/{n}@{v}"} for n, v in packages.items()]
    path = folder / "merging.cdx.json"
    path.write_text(json.dumps({"components": [debian, *python]}))
    return path
