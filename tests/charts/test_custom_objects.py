"""Objects of add-ons (cert-manager, Gateway API, KEDA, Prometheus operator) have the fields that those take.

`crds/` describes as much of each kind as the chart uses: what it does not name is refused, as a misspelt field would be
dropped in silence by a cluster.
"""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.charts.rendering import PROFILES, Manifest, Values, manifests, merged, one, profile

METADATA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "namespace", "labels"],
    "properties": {
        "name": {"type": "string", "maxLength": 63},
        "namespace": {"type": "string"},
        "labels": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 63}},
        "annotations": {"type": "object", "additionalProperties": {"type": "string"}},
    },
}
DESCRIBED = [yaml.safe_load(path.read_text()) for path in sorted((Path(__file__).parent / "crds").glob("*.yaml"))]
OWN_GROUPS = ("apps", "batch", "policy", "autoscaling", "networking.k8s.io", "rbac.authorization.k8s.io")
WAYS: list[Values] = [
    {},
    {"tls": {"issuer": {"kind": "ClusterIssuer"}, "serviceSan": "{service}.atlas.example"}},
    {"triton": {"autoscaling": {"keda": {"authentication": "prometheus"}}}},
    {"expose": {"gateway": {"parentRefs": [{"name": "a", "sectionName": "grpc"}], "hostnames": [], "backendCa": ""}}},
    {"metrics": {"serviceMonitor": {"labels": {"release": "a"}}, "alerts": {"labels": {"release": "a"}}}},
]


def _schema(described: Values) -> Values:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["apiVersion", "kind", "metadata", "spec"],
        "properties": {
            "apiVersion": {"const": described["apiVersion"]},
            "kind": {"const": described["kind"]},
            "metadata": METADATA,
            "spec": described["spec"],
        },
    }


SCHEMAS = {(described["apiVersion"], described["kind"]): _schema(described) for described in DESCRIBED}


def _custom(found: list[Manifest]) -> list[Manifest]:
    return [m for m in found if "/" in m["apiVersion"] and m["apiVersion"].split("/")[0] not in OWN_GROUPS]


def _validate(manifest: Manifest) -> None:
    jsonschema.validate(manifest, SCHEMAS[manifest["apiVersion"], manifest["kind"]])


@pytest.mark.parametrize("name", PROFILES)
def test_custom_objects_have_the_fields_of_their_kinds(name: str) -> None:
    for manifest in _custom(manifests(profile(name))):
        _validate(manifest)


@pytest.mark.parametrize("values", WAYS)
def test_so_they_have_with_other_values(values: Values) -> None:
    found = _custom(manifests(merged(profile("production"), values)))
    wanted = {kind for _, kind in SCHEMAS} - ({"BackendTLSPolicy"} if "expose" in values else set())
    assert {manifest["kind"] for manifest in found} == wanted
    for manifest in found:
        _validate(manifest)


WRONG: list[tuple[str, str, str, Any]] = [
    ("GRPCRoute", "", "hostname", ["atlas.hospital.example"]),
    ("GRPCRoute", "", "rules.0.matches.0.method.type", "Prefix"),
    ("BackendTLSPolicy", "-storage", "validation.hostName", "a"),
    ("ScaledObject", "-triton", "triggers.0.metadata.threshold", 20),
    ("ScaledObject", "-triton", "triggers.0.metadata.ignoreNulls", "false"),
    ("ServiceMonitor", "-storage", "endpoints.0.bearerToken", "a"),
    ("PrometheusRule", "", "groups.0.rules.0.severity", "critical"),
    ("Certificate", "-storage", "duration", "90d"),
]


@pytest.mark.parametrize(("kind", "name", "path", "value"), WRONG)
def test_what_an_add_on_would_not_take_is_found(kind: str, name: str, path: str, value: Any) -> None:
    manifest = one(manifests(profile("production")), kind, name)
    _validate(manifest)
    *way, last = path.split(".")
    node: Any = manifest["spec"]
    for step in way:
        node = node[int(step) if step.isdigit() else step]
    node[last] = value
    with pytest.raises(jsonschema.ValidationError):
        _validate(manifest)


def test_the_descriptions_name_every_field() -> None:
    """An object without `additionalProperties` would let anything through."""
    objects = [node for schema in SCHEMAS.values() for node in _nodes(schema) if node.get("type") == "object"]
    assert len(objects) > 20
    assert all("additionalProperties" in node for node in objects)
    for schema in SCHEMAS.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def _nodes(node: Any) -> list[Values]:
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [*([node] if isinstance(node, dict) else []), *(found for child in children for found in _nodes(child))]
