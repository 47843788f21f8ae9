"""Ways in from outside: each gRPC service that asks for a role is routed to its own pods, or named as an exception."""

from pathlib import Path

import pytest

from services.core.access.roles import RULES
from tests.charts.gateway import by_gateway, by_ingress
from tests.charts.rendering import SERVICES, Manifest, manifests, merged, one, pod_of, profile

HEALTH = "/grpc.health.v1.Health/Check"
METHODS = {method.split("/")[1]: method for method in (*RULES, HEALTH)}
"""One method of every gRPC service: a way in leads to a service as a whole."""
OWN = {f"abdomenatlas.{service}.v1.{service.capitalize()}Service": service for service in SERVICES}
AUDIT = "abdomenatlas.audit.v1.AuditService"
KEPT_BY = {AUDIT: {"storage", "scheduler"}}
"""Which components have a service that several share; all, if it is not here."""
NOT_BY_INGRESS = {AUDIT}
INSTALL = Path(__file__).parents[2] / "docs" / "install.md"


@pytest.fixture(scope="module")
def everything() -> list[Manifest]:
    ingress = {"enabled": True, "host": "atlas.example", "tlsSecret": "entry"}
    return manifests(merged(profile("production"), {"expose": {"ingress": ingress}}))


@pytest.mark.parametrize("service", METHODS)
@pytest.mark.parametrize("named", ["", *SERVICES])
def test_a_gateway_sends_every_call_where_it_belongs(everything: list[Manifest], service: str, named: str) -> None:
    """To the service that only one has, whatever the header says; to one that several have, by the header."""
    route = one(everything, "GRPCRoute", "atlas-abdomenatlas")
    if service in OWN:
        expected = OWN[service]
    elif named:
        expected = named if named in KEPT_BY.get(service, SERVICES) else ""
    else:
        expected = "" if service == AUDIT else "scheduler"
    headers = {"x-atlas-service": named} if named else {}
    assert by_gateway(route, METHODS[service], headers) == (_entry(expected) if expected else "")


@pytest.mark.parametrize("service", METHODS)
def test_an_ingress_sends_every_call_where_it_belongs_or_says_that_it_cannot(
    everything: list[Manifest], service: str
) -> None:
    found = by_ingress(one(everything, "Ingress", "atlas-abdomenatlas"), METHODS[service])
    assert found == ("" if service in NOT_BY_INGRESS else _entry(OWN.get(service, "scheduler")))
    if service in NOT_BY_INGRESS:
        assert f"`{service.rpartition('.')[2]}`" in INSTALL.read_text(), "the exception is not documented"


@pytest.mark.parametrize("service", SERVICES)
def test_an_entry_leads_to_the_port_that_asks_for_tokens(everything: list[Manifest], service: str) -> None:
    entry = one(everything, "Service", _entry(service))["spec"]
    pod = pod_of(everything, service)
    assert entry["selector"].items() <= pod["metadata"]["labels"].items()
    (port,) = entry["ports"]
    assert port["targetPort"] == "grpc"
    (route_port,) = {
        backend["port"]
        for rule in one(everything, "GRPCRoute", "atlas-abdomenatlas")["spec"]["rules"]
        for backend in rule["backendRefs"]
        if backend["name"] == _entry(service)
    }
    assert route_port == port["port"]


def test_the_route_fits_the_bounds_of_the_gateway_api(everything: list[Manifest]) -> None:
    """At most 16 rules, and 8 matches in each with the oldest version that has GRPCRoute."""
    rules = one(everything, "GRPCRoute", "atlas-abdomenatlas")["spec"]["rules"]
    assert len(rules) <= 16
    assert max(len(rule["matches"]) for rule in rules) <= 8


def _entry(service: str) -> str:
    return f"atlas-abdomenatlas-{service}-entry"
