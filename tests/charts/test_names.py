"""Names and labels stay within what Kubernetes takes, however long the release's own name is."""

import re
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest

from tests.charts.rendering import PROFILES, Values, manifests, merged, pods, profile

LONGEST = "imaging-" + "r" * 45
"""53 characters, as many as Helm takes."""
LABEL = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")
VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
WAYS: list[tuple[str, Values]] = [
    (LONGEST, {}),
    ("imaging.north", {}),
    ("atlas", {"fullnameOverride": "f" * 200}),
    ("atlas", {"fullnameOverride": "radiology.atlas"}),
    ("atlas", {"nameOverride": "n" * 63}),
]


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize(("release", "values"), WAYS)
def test_names_and_labels_fit(name: str, release: str, values: Values) -> None:
    found = manifests(merged(profile(name), values), release)
    for manifest in found:
        assert LABEL.fullmatch(manifest["metadata"]["name"]), manifest["kind"]
        if manifest["kind"] == "StatefulSet":  # whose pods bear its name and a hash of 10 digits as a label
            assert len(manifest["metadata"]["name"]) <= 52
    for labels in _labels([*found, *pods(found).values()]):
        assert all(VALUE.fullmatch(value) for value in labels.values()), labels
    names = [(m["kind"], m["metadata"]["name"]) for m in found]
    assert len(names) == len(set(names)), "two objects share a name"


def test_a_short_release_keeps_its_whole_name() -> None:
    names = {m["metadata"]["name"] for m in manifests(profile("evaluation"))}
    assert {"atlas-abdomenatlas-scheduler", "atlas-abdomenatlas-evaluation-postgresql"} <= names


@pytest.mark.parametrize("name", ["evaluation", "production"])
def test_what_pods_refer_to_is_named_so(name: str) -> None:
    """Shortened names are the same at both ends: claims, accounts, own Secrets, and the hosts that are dialled."""
    found = manifests(profile(name), LONGEST)
    kinds: dict[str, set[str]] = {}
    for manifest in found:
        kinds.setdefault(manifest["kind"], set()).add(manifest["metadata"]["name"])
    for pod in pods(found).values():
        spec = pod["spec"]
        assert spec.get("serviceAccountName", next(iter(kinds["ServiceAccount"]))) in kinds["ServiceAccount"]
    hosts = set(re.findall(r"([a-z0-9-]+)\.imaging\.svc", str(found)))
    assert hosts
    assert hosts <= kinds["Service"]


def test_a_name_that_could_be_no_label_is_refused() -> None:
    with pytest.raises(helm_python.HelmError, match="nameOverride"):
        manifests(merged(profile("production"), {"nameOverride": "n" * 64}))


def _labels(node: Any) -> Iterator[dict[str, str]]:
    if isinstance(node, list):
        for child in node:
            yield from _labels(child)
    elif isinstance(node, dict):
        for key, child in node.items():
            if key in ("labels", "matchLabels") and isinstance(child, dict):
                yield child
            yield from _labels(child)
