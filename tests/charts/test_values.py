"""Every value is explained, checked, and changes what is installed."""

import hashlib
import json
from functools import cache
from typing import Any

import helm_python
import pytest
import yaml

from tests.charts.rendering import CHART, Values, manifests, merged, profile, texts

SCHEMA: Values = json.loads((CHART / "values.schema.json").read_text())
PATHS: dict[str, Any] = {}
"""Every value's path, "storage.image.tag", and its default."""


def _collect(values: Values, node: Values, path: str = "") -> None:
    node = _resolved(node)
    for key, value in values.items():
        here = f"{path}.{key}".lstrip(".")
        child = _resolved(node["properties"][key])
        if isinstance(value, dict) and "properties" in child and not here.endswith(".settings"):
            _collect(value, child, here)
        else:
            PATHS[here] = value


def _resolved(node: Values) -> Values:
    while True:
        if "$ref" in node:
            node = dict(SCHEMA["$defs"][node["$ref"].split("/")[-1]])
        elif "allOf" in node:
            (node,) = node["allOf"]
        else:
            return node


def _node(path: str) -> Values:
    node: Values = SCHEMA
    for key in path.split("."):
        node = _resolved(node["properties"][key])
    return node


_collect(yaml.safe_load((CHART / "values.yaml").read_text()), SCHEMA)

# What must hold besides for a value to have a meaning; the longest beginning of its path counts.
NEEDS: dict[str, Values] = {
    "": {},
    "evaluation": {
        "evaluation": {"enabled": True},
        "s3": {"endpoint": ""},
        "storage": {"database": {"existingSecret": {"name": ""}}},
        "scheduler": {"database": {"existingSecret": {"name": ""}}},
    },
    "insecure": {"tls": {"mode": "none"}, "expose": {"gateway": {"enabled": False}}},
    "expose.ingress": {"expose": {"ingress": {"enabled": True, "host": "atlas.example", "tlsSecret": "cert"}}},
    "tls.mode": {"tls": {"existingSecrets": dict.fromkeys(("storage", "inference", "uncertainty", "merging"), "c")}},
    "tls.existingSecrets": {"tls": {"mode": "existing"}},
    "auth.caBundle": {"auth": {"caBundle": {"name": "authorities"}}},
    "auth.jwks": {"auth": {"jwksUrl": "", "jwks": {"name": "keys"}}},
    "storage.persistence": {"storage": {"replicas": 1, "objects": {"kind": "folder"}}},
    "storage.objects.kind": {"storage": {"replicas": 1}},
    "storage.database.kind": {"storage": {"replicas": 1}},
    "scheduler.persistence": {"scheduler": {"replicas": 1, "database": {"kind": "sqlite"}}},
    "scheduler.database.kind": {"scheduler": {"replicas": 1}},
    "triton.autoscaling.hpa": {"triton": {"autoscaling": {"mode": "hpa"}}},
    "triton.models.source": {"triton": {"models": {"load": [{"name": "own", "sha256": "0" * 64}]}}},
    "triton.replicas": {"triton": {"autoscaling": {"mode": "none"}}},
    "triton.maxUnavailable": {"triton": {"replicas": 3, "autoscaling": {"mode": "none"}}},
    "training": {"training": {"enabled": True}},
    "training.image": {"training": {"enabled": True, "image": {"repository": "own/training"}}},
    "networkPolicy.kubernetesApi": {"triton": {"autoscaling": {"mode": "scheduler"}}},
}
NEEDS["training.enabled"] = {}
NEEDS["evaluation.enabled"] = NEEDS["evaluation"] | {"evaluation": {}}
NEEDS["tls.mode"]["tls"]["existingSecrets"] |= {"scheduler": "c", "triton": "c"}
NEEDS["tls.existingSecrets"]["tls"]["existingSecrets"] = NEEDS["tls.mode"]["tls"]["existingSecrets"]

PEERS = [{"ipBlock": {"cidr": "10.99.0.0/16"}}]
# What no general rule would guess: values of a form of their own.
SAMPLES: dict[str, Any] = {
    "tls.serviceSan": "{service}.atlas.example",
    "tls.duration": "720h",
    "auth.jwksUrl": "https://keys.example/jwks",
    "global.imageRegistry": "mirror.example:5000/atlas",
    "metrics.serviceMonitor.interval": "15s",
    "triton.gpu.resourceName": "nvidia.com/mig-2g.20gb",
    "training.gpu.resourceName": "nvidia.com/mig-2g.20gb",
    "triton.models.load": [{"name": "own", "sha256": "0" * 64}],
    "triton.extraArguments": ["--log-verbose=1"],
    "expose.gateway.parentRefs": [{"name": "other"}],
    "expose.gateway.hostnames": ["other.example"],
    "global.imagePullSecrets": ["registry"],
    "global.imageDigests": {"abdomenatlas/models": "sha256:" + "0" * 64},
}


def _need(path: str) -> Values:
    longest = max((begin for begin in NEEDS if path == begin or path.startswith(f"{begin}.") or not begin), key=len)
    return NEEDS[longest]


def _other(path: str, now: Any) -> Any:
    """A value that is not the one now, and that the schema takes."""
    node = _node(path)
    if path in SAMPLES:
        return SAMPLES[path]
    if "enum" in node:
        return next(value for value in node["enum"] if value != now)
    if isinstance(now, bool):
        return not now
    if isinstance(now, int | float):
        highest = node.get("maximum") or node.get("exclusiveMaximum") or now + 2
        return now + 1 if now + 1 <= highest else now / 2
    if isinstance(now, list):
        return [80] if path.endswith(".ports") else [*now, *PEERS]
    if isinstance(now, dict):
        return _other_map(path, now)
    if path.endswith(("size", "sharedMemory")):
        return "77Gi"
    return "sha256:" + "0" * 64 if path.endswith("digest") else "changed"


def _other_map(path: str, now: Values) -> Values:
    if path.endswith(".settings"):
        return {"max_message_bytes": 8388608}
    if path.endswith(("requests", "limits")):
        return {**now, "memory": "77Gi"}
    return {"affinity": {"podAffinity": {}}}.get(path.split(".")[-1], {"changed.example/key": "changed"})


@pytest.mark.parametrize("path", PATHS)
def test_every_value_changes_something(path: str) -> None:
    before = merged(profile("production"), _need(path))
    now = _at(merged(yaml.safe_load((CHART / "values.yaml").read_text()), before), path)
    after = merged(before, _nested(path, _other(path, now)))
    if path in ("insecure", "evaluation.enabled"):  # with what they need, the other way round would be refused
        before = profile("production")
    assert _digest(before) != _digest(after), f"{path}: {now!r} and {_other(path, now)!r} give the same"


def test_there_are_values_to_try() -> None:
    assert len(PATHS) > 200
    assert {"storage.image.tag", "triton.gpu.count", "scheduler.settings"} <= PATHS.keys()


def test_every_value_has_a_sentence() -> None:
    for path in PATHS:
        parent, _, key = path.rpartition(".")
        node = (_node(parent) if parent else SCHEMA)["properties"][key]
        assert node["description"][0].isupper() or node["description"][0] in '"`', path
        assert node["description"].endswith((".", "`", '"')), path


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"storag": {}}, "storag"),
        ({"storage": {"replica": 2}}, "replica"),
        ({"storage": {"settings": {"concurrent_stream": 2}}}, "concurrent_stream"),
        ({"storage": {"settings": {"concurrent_streams": 0}}}, "concurrent_streams"),
        ({"scheduler": {"settings": {"executor_id": "x"}}}, "executor_id"),
        ({"triton": {"gpu": {"resourceName": "gpu"}}}, "resourceName"),
        ({"storage": {"resources": {"limits": {"memory": "4 GB"}}}}, "memory"),
        ({"s3": {"endpoint": "https://s3.example"}}, "endpoint"),
        ({"s3": {"endpoint": "s3.example:443000"}}, "endpoint"),
        ({"s3": {"bucket": "ab"}}, "bucket"),
        ({"s3": {"bucket": "atlas-"}}, "bucket"),
        ({"s3": {"bucket": "a" * 64}}, "bucket"),
        ({"triton": {"autoscaling": {"volumesPerPod": 1000000}}}, "volumesPerPod"),
        ({"triton": {"autoscaling": {"cooldownSeconds": 3601}}}, "cooldownSeconds"),
    ],
)
def test_what_is_misspelt_or_out_of_bounds_is_refused_by_name(values: Values, named: str) -> None:
    with pytest.raises(helm_python.HelmError, match=named):
        manifests(merged(profile("production"), values))


def test_no_number_of_the_chart_s_own_is_so_large_that_helm_prints_it_with_an_exponent() -> None:
    nodes = {path: _node(path) for path in PATHS}
    whole = {path: node["maximum"] for path, node in nodes.items() if node.get("type") == "integer"}
    assert len(whole) > 30
    assert max(whole.values()) < 10**6


def test_a_large_number_reaches_the_service_as_it_was_written() -> None:
    """Helm holds numbers as floats, which print as 8.589934592e+09."""
    values = merged(profile("production"), {"storage": {"settings": {"max_object_bytes": 8589934592}}})
    assert '_MAX_OBJECT_BYTES, value: "8589934592"' in texts(values)["storage/deployment.yaml"]


def _digest(values: Values) -> str:
    return _digest_of(json.dumps(values, sort_keys=True))


@cache
def _digest_of(values: str) -> str:
    found = texts(json.loads(values))
    del found["evaluation/secret.yaml"]  # drawn anew at every rendering
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def _at(values: Values, path: str) -> Any:
    found: Any = values
    for key in path.split("."):
        found = found[key]
    return found


def _nested(path: str, value: Any) -> Values:
    for key in reversed(path.split(".")):
        value = {key: value}
    return dict(value)
