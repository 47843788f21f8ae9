"""Dashboard, alerts and scaling ask for metrics that there are, and the alerts go off when they should."""

import importlib
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import yaml

from abdomenatlas.inference.v1 import inference_pb2
from abdomenatlas.merging.v1 import merging_pb2
from services.core.errors import Reason
from tests.charts import tools
from tests.charts.rendering import CHART, SERVICES, manifests, merged, one, profile
from tests.components import triton as components
from tests.components.require import require

DASHBOARD: dict[str, Any] = json.loads((CHART / "dashboards" / "abdomenatlas.json").read_text())
GPU_ONLY = {"nv_gpu_utilization", "nv_gpu_memory_used_bytes", "nv_gpu_memory_total_bytes"}
"""Metrics that Triton exports only where it sees a GPU; their names are those of its documentation."""
PROMETHEUS_OWN = {"up"}
MODULES = ("services.core.rpc.interceptor", "services.scheduler.metrics", "services.storage.metrics")

_SELECTOR = re.compile(r"\{[^}]*\}|\[[^]]*\]|\"[^\"]*\"")
_GROUPING = re.compile(r"\b(by|on|without)\s*\([^)]*\)")
_WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\w|\s*\()")


def names_in(expression: str) -> set[str]:
    """The metrics that an expression of PromQL asks for."""
    bare = _GROUPING.sub(" ", _SELECTOR.sub(" ", expression))
    return set(_WORD.findall(bare)) - {"and", "or", "unless", "e6", "bool"}


def _expressions() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$namespace", "imaging")
    for rule in _rules():
        yield rule["alert"], rule["expr"]
    (trigger,) = one(manifests(profile("production")), "ScaledObject", "-triton")["spec"]["triggers"]
    yield "scaling", trigger["metadata"]["query"]


def _rules() -> list[dict[str, Any]]:
    (group,) = one(manifests(profile("production")), "PrometheusRule", "abdomenatlas")["spec"]["groups"]
    return list(group["rules"])


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What the services and a real Triton export."""
    for module in MODULES:
        importlib.import_module(module)
    ours = prometheus_client.generate_latest().decode()
    require(components.is_installed(), "nvidia-pytriton is not installed: make setup")
    with components.triton(tmp_path_factory.mktemp("triton")) as server:
        theirs = urllib.request.urlopen(f"http://{server.metrics}/metrics", timeout=10).read().decode()
    names = set()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", ours + theirs, re.MULTILINE):
        names |= {f"{name}_{end}" for end in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    return names


def test_every_metric_that_is_asked_for_is_exported(exported: set[str]) -> None:
    asked = {title: names_in(expression) for title, expression in _expressions()}
    assert all(asked.values()), "a panel or alert that asks for nothing"
    unknown = {title: names - exported - GPU_ONLY - PROMETHEUS_OWN for title, names in asked.items()}
    assert not any(unknown.values()), unknown


def test_the_lint_would_notice_a_metric_that_is_gone() -> None:
    assert names_in('sum by (pod) (rate(atlas_gone_total{a="b"}[5m])) / 1e6') == {"atlas_gone_total"}


def test_methods_and_reasons_that_are_asked_for_exist() -> None:
    files = (inference_pb2.DESCRIPTOR, merging_pb2.DESCRIPTOR)
    methods = {
        f"{service.name}/{method.name}"
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    }
    text = " ".join(expression for _, expression in _expressions())
    assert set(re.findall(r'method="([^"]+)"', text)) <= methods
    reasons = {reason for value in re.findall(r'reason[!=~]+"([^"]+)"', text) for reason in value.split("|")}
    assert reasons - {"OK", "CANCELLED"} <= {reason.value for reason in Reason}


def test_the_dashboard_shows_what_an_operator_asks() -> None:
    titles = {panel["title"] for panel in DASHBOARD["panels"]}
    wanted = {"GPU use", "Queue", "Backlog", "Volumes per hour", "Errors", "Oldest free review"}
    assert wanted <= titles
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    assert all(panel["description"] for panel in DASHBOARD["panels"] if panel["type"] != "row")


def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{n}", "expr": expression} for n, (_, expression) in enumerate(_expressions())]
    path = tmp_path / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    tools.run("promtool", "check", "rules", path)


OLDEST = 'atlas_scheduler_oldest_open_review_seconds{namespace="imaging"}'
SERVICE = 'namespace="imaging",app_kubernetes_io_component="merging"'
OTHERS = {f'up{{namespace="imaging",app_kubernetes_io_component="{s}"}}': "1x20" for s in SERVICES if s != "merging"}
FAILURES = 'atlas_scheduler_scaling_failures_total{namespace="imaging"}'
CASES = [
    # what is seen every minute; how many alerts of which name go off after how long
    ("AtlasServiceDown", "10m", {**OTHERS, f"up{{{SERVICE}}}": "0x20"}, 1),
    ("AtlasServiceDown", "10m", {**OTHERS, f'up{{{SERVICE},pod="a"}}': "0x20", f'up{{{SERVICE},pod="b"}}': "1x20"}, 0),
    # No pod of it is left, or none of anything: there is nothing to be seen.
    ("AtlasServiceDown", "10m", OTHERS, 1),
    ("AtlasServiceDown", "10m", {}, len(SERVICES)),
    # Its last pod does not answer, then it is gone too: one fault, whose time goes on.
    ("AtlasServiceDown", "7m", {**OTHERS, f"up{{{SERVICE}}}": "1 0 0 0 stale"}, 1),
    ("AtlasScalingFails", "30m", {FAILURES: "0+4x40"}, 1),
    ("AtlasScalingFails", "30m", {FAILURES: "0x20 4x20"}, 0),
    ("AtlasScalingFails", "30m", {FAILURES: "0x40"}, 0),
    ("AtlasCallsFail", "40m", {f'atlas_rpc_calls_total{{{SERVICE},reason="INTERNAL"}}': "0+10x60",
                               f'atlas_rpc_calls_total{{{SERVICE},reason="OK"}}': "0+90x60"}, 1),
    ("AtlasCallsFail", "40m", {f'atlas_rpc_calls_total{{{SERVICE},reason="FIELD_INVALID"}}': "0+10x60",
                               f'atlas_rpc_calls_total{{{SERVICE},reason="OK"}}': "0+90x60"}, 0),
    ("AtlasBacklogStalled", "130m", {'atlas_scheduler_backlog_volumes{namespace="imaging"}': "5x180"}, 1),
    ("AtlasBacklogStalled", "130m", {'atlas_scheduler_backlog_volumes{namespace="imaging"}': "5x180",
        f'atlas_rpc_calls_total{{{SERVICE},method="MergingService/Merge",reason="OK"}}': "0+1x180"}, 0),
    ("AtlasReviewsWait", "40m", {OLDEST: "300000x60"}, 1),
    ("AtlasReviewsWait", "40m", {OLDEST: "200000x60"}, 0),
]  # fmt: skip


@pytest.mark.parametrize(("alert", "after", "series", "firing"), CASES)
def test_an_alert_goes_off_when_it_should(
    alert: str, after: str, series: dict[str, str], firing: int, tmp_path: Path
) -> None:
    rules = one(manifests(profile("production")), "PrometheusRule", "abdomenatlas")["spec"]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rules))
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        # promtool compares whole alerts; whether one goes off at all is asked of Prometheus' own series.
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) or vector(0)',
                "eval_time": after,
                "exp_samples": [{"labels": "{}", "value": firing}],
            }
        ],
    }
    path = tmp_path / "test.yaml"
    path.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    tools.run("promtool", "test", "rules", path)


def test_a_backlog_that_nobody_reports_is_not_taken_for_none() -> None:
    """KEDA holds an empty answer for 0 unless told otherwise, and then never falls back."""
    spec = one(manifests(profile("production")), "ScaledObject", "-triton")["spec"]
    assert spec["fallback"]["replicas"] >= 1
    assert spec["triggers"][0]["metadata"]["ignoreNullValues"] == "false"


def test_thresholds_of_alerts_are_values() -> None:
    values = merged(profile("production"), {"metrics": {"alerts": {"reviewAgeHours": 5}}})
    rules = one(manifests(values), "PrometheusRule", "abdomenatlas")["spec"]["groups"][0]["rules"]
    assert next(rule["expr"] for rule in rules if rule["alert"] == "AtlasReviewsWait").endswith("> 18000")
