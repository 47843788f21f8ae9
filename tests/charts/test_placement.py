"""Every pod of an installation can be told where to run, hooks and trainings included."""

from typing import Any

import pytest
import yaml

from tests.charts.rendering import CHART, SERVICES, Values, manifests, merged, pod_of, pods, profile

PLACEMENT: Values = {
    "nodeSelector": {"pool": "imaging"},
    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "imaging", "effect": "NoSchedule"}],
    "affinity": {"podAffinity": {}},
    "priorityClassName": "imaging",
}


def _everywhere(values: Values) -> Values:
    """The placement for everything that takes one."""
    found = {key: _everywhere(value) for key, value in values.items() if isinstance(value, dict)}
    own: dict[str, Any] = PLACEMENT if "tolerations" in values else {}
    return {key: value for key, value in found.items() if value} | own


@pytest.mark.parametrize("name", ["production", "evaluation"])
def test_no_pod_stays_pending_where_all_nodes_are_tainted(name: str) -> None:
    """Neither a service, nor a hook of Helm, nor a server of the evaluation, nor a training."""
    chart = yaml.safe_load((CHART / "values.yaml").read_text())
    places = merged(_everywhere(chart), {"training": {"enabled": True}})
    found = pods(manifests(merged(profile(name), places)))
    assert len(found) >= 9
    for pod in found.values():
        for field, value in PLACEMENT.items():
            given = pod["spec"][field]
            assert given == value or value.items() <= given.items(), pod["metadata"]["labels"]


def test_pods_ask_for_nothing_of_the_kind_unless_told() -> None:
    for pod in pods(manifests(profile("evaluation"))).values():
        assert not PLACEMENT.keys() & pod["spec"].keys()


def test_replicas_spread_over_zones_and_nodes() -> None:
    """Without waiting for a zone or node that the cluster does not have."""
    everything = manifests(profile("production"))
    for component in (*SERVICES, "triton"):
        pod = pod_of(everything, component)
        spread = pod["spec"]["topologySpreadConstraints"]
        assert [c["topologyKey"] for c in spread] == ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
        for constraint in spread:
            assert constraint["whenUnsatisfiable"] == "ScheduleAnyway"
            assert constraint["labelSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
