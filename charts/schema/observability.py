"""What the installation tells about itself: metrics, alerts, a dashboard."""

from typing import Annotated

from pydantic import Field

from charts.schema.base import Count, KeyOf, Texts, Values


class ServiceMonitor(Values):
    """A ServiceMonitor of the Prometheus operator."""

    enabled: bool = False
    """Whether there is one."""
    interval: str = Field("30s", pattern=r"^[0-9]+s$")
    """How often metrics are read."""
    labels: Texts = Field(default_factory=dict)
    """Labels by which Prometheus finds it."""


class Alerts(Values):
    """A PrometheusRule with alerts."""

    enabled: bool = False
    """Whether there is one."""
    labels: Texts = Field(default_factory=dict)
    """Labels by which Prometheus finds it."""
    reviewAgeHours: Count = 72
    """How long a review may wait for somebody to claim it."""
    errorRatio: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Which share of a service's calls may fail."""
    stalledMinutes: Annotated[Count, Field(ge=5)] = 60
    """How long there may be a backlog of which no volume gets done."""


class Dashboard(Values):
    """A ConfigMap with a dashboard that Grafana's sidecar finds."""

    enabled: bool = False
    """Whether there is one."""
    labels: Texts = Field({"grafana_dashboard": "1"})
    """Labels by which the sidecar finds it."""


class Metrics(Values):
    """Metrics of the services and of Triton."""

    token: KeyOf = KeyOf(key="token")
    """Secret with the bearer token that a reader of metrics must bring; needed unless `insecure`."""
    serviceMonitor: ServiceMonitor = ServiceMonitor()
    """How Prometheus finds them."""
    alerts: Alerts = Alerts()
    """What is worth waking somebody for."""
    dashboard: Dashboard = Dashboard()
    """What is worth looking at."""
