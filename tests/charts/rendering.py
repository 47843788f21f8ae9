"""The chart rendered: by Helm 4 inside the process, or by the Helm 3 program."""

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

from tests.charts import tools

CHART = Path(__file__).parents[2] / "charts" / "abdomenatlas"
RELEASE, NAMESPACE = "atlas", "imaging"
SERVICES = ("storage", "inference", "uncertainty", "merging", "scheduler")
PROFILES: dict[str, tuple[str, ...]] = {
    "evaluation": ("evaluation",),
    "production": ("production",),
    "smallest": ("production", "smallest"),
    "production-cpu": ("production", "cpu"),
    "production-airgapped": ("production", "airgapped"),
    "production-otherwise": ("production", "otherwise"),
}
"""The values files of the chart in the combinations that they are meant for, and, last, what none of them shows."""

Manifest = dict[str, Any]
Values = dict[str, Any]


def profile(name: str) -> Values:
    """The values of a profile."""
    return copy.deepcopy(_profile(name))


def values_file(part: str) -> Path:
    """Where a part of a profile stands: in the chart, or here if it is only for tests."""
    places = [folder / f"values-{part}.yaml" for folder in (CHART, Path(__file__).parent)]
    return next(path for path in places if path.exists())


@cache
def _profile(name: str) -> Values:
    values: Values = {}
    for part in PROFILES[name]:
        values = merged(values, yaml.safe_load(values_file(part).read_text()))
    return values


def merged(below: Values, above: Values) -> Values:
    """`above` laid over `below`, as Helm does it."""
    result = copy.deepcopy(below)
    for key, value in above.items():
        is_deep = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if is_deep else copy.deepcopy(value)
    return result


@cache
def _chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def texts(values: Values, release: str = RELEASE, **options: Any) -> dict[str, str]:
    """Every template's text by Helm 4. Raises HelmError where the schema or a check refuses the values."""
    _chart().validate_schema(_chart().merge_values(values))
    rendered = _chart().render(values, name=release, namespace=NAMESPACE, **options)
    return {name.split("/templates/")[-1]: text for name, text in rendered.items()}


def manifests(values: Values, release: str = RELEASE) -> list[Manifest]:
    """Every object that Helm 4 makes of the values."""
    return copy.deepcopy(_manifests(json.dumps(values), release))


@cache
def _manifests(values: str, release: str) -> list[Manifest]:
    rendered = texts(json.loads(values), release).items()
    return [manifest for name, text in rendered if name.endswith(".yaml") for manifest in _parsed(text)]


def _parsed(text: str) -> list[Manifest]:
    return [manifest for manifest in yaml.load_all(text, yaml.CSafeLoader) if manifest]


def manifests_of_helm_3(name: str) -> list[Manifest]:
    """Every object that Helm 3 makes of a profile."""
    files = [argument for part in PROFILES[name] for argument in ("-f", values_file(part))]
    text = tools.run(
        tools.HELM_3, "template", RELEASE, CHART, "--namespace", NAMESPACE, "--kube-version", "1.30.0", *files
    )
    return _parsed(text)


def one(found: list[Manifest], kind: str, name: str) -> Manifest:
    """The object of a kind whose name ends so."""
    (result,) = (m for m in found if m["kind"] == kind and m["metadata"]["name"].endswith(name))
    return result


def job_templates(found: list[Manifest]) -> list[Manifest]:
    """The Jobs that stand in ConfigMaps, for the scheduler to make."""
    written = [m["data"]["job.yaml"] for m in found if m["kind"] == "ConfigMap" and "job.yaml" in m["data"]]
    metadata = {"metadata": {"name": "training", "namespace": NAMESPACE}}
    return [merged(yaml.safe_load(text), metadata) for text in written]


def pods(found: list[Manifest]) -> dict[str, Manifest]:
    """The pod of every object that makes pods, with `metadata` and `spec`, by "Kind/name"; the scheduler's Jobs too."""
    return {
        f"{m['kind']}/{m['metadata']['name']}": m if m["kind"] == "Pod" else m["spec"]["template"]
        for m in [*found, *job_templates(found)]
        if m["kind"] in ("Deployment", "StatefulSet", "Job", "Pod")
    }


def containers(pod: Manifest) -> list[Manifest]:
    """All containers of a pod, the initial ones first."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def pod_of(found: list[Manifest], component: str) -> Manifest:
    """The pod of a component."""
    kind = "StatefulSet" if component == "scheduler" else "Deployment"
    return dict(one(found, kind, f"-{component}")["spec"]["template"])
