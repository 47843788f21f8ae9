"""Connections: closed, but for those that the services need, which are open at both ends."""

import pytest

from tests.charts.rendering import PROFILES, SERVICES, Manifest, manifests, merged, one, pod_of, profile

CALLS = {
    ("inference", "storage"),
    ("uncertainty", "storage"),
    ("merging", "storage"),
    ("scheduler", "storage"),
    ("scheduler", "inference"),
    ("scheduler", "uncertainty"),
    ("scheduler", "merging"),
    ("inference", "triton"),
}
STORES = {
    ("storage", "evaluation-postgresql"),
    ("scheduler", "evaluation-postgresql"),
    ("migrations", "evaluation-postgresql"),
    ("storage", "evaluation-s3"),
}
TEST = {("test", "storage"), ("test", "inference")}
ONLY = {"evaluation": STORES, "production-otherwise": {("triton", "storage"), ("training", "storage")}}
"""What only some profiles allow: where the stores run too, where models come from storage, where trainings are."""


@pytest.mark.parametrize("name", PROFILES)
def test_calls_of_the_product_are_allowed_at_both_ends_and_no_others(name: str) -> None:
    policies = [m for m in manifests(profile(name)) if m["kind"] == "NetworkPolicy"]
    leaving = {(who, to) for policy in policies for who in _who(policy) for to in _components(policy, "egress", "to")}
    entering = {
        (who, to) for policy in policies for to in _who(policy) for who in _components(policy, "ingress", "from")
    }
    assert leaving == CALLS | TEST | ONLY.get(name, set())
    assert leaving - TEST == entering - {("test", service) for service in SERVICES}


def test_triton_reaches_storage_only_where_its_models_come_from_there() -> None:
    values = merged(profile("production"), {"triton": {"models": {"source": "storage"}}})
    policies = [m for m in manifests(values) if m["kind"] == "NetworkPolicy"]
    assert _components(one(policies, "NetworkPolicy", "-triton"), "egress", "to") == {"storage"}
    assert ("triton", "mutual") in _let_in(one(policies, "NetworkPolicy", "-storage"))
    pod = pod_of(manifests(values), "triton")
    (server,) = pod["spec"]["containers"]
    assert "tls" in {volume["name"] for volume in pod["spec"]["volumes"]}
    # Inference's certificate, which the init container shows, is not for Triton itself.
    assert "tls" not in {mount["name"] for mount in server["volumeMounts"]}


def test_what_no_policy_speaks_of_is_closed() -> None:
    everything = manifests(profile("production"))
    deny = one(everything, "NetworkPolicy", "-default-deny")["spec"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in deny
    assert "egress" not in deny
    for service in (*SERVICES, "triton"):
        labels = pod_of(everything, service)["metadata"]["labels"]
        assert deny["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("name", PROFILES)
def test_a_call_goes_where_its_address_points(name: str) -> None:
    """Addresses in the environment name a headless Service, its port, and a port that the policy lets in."""
    everything = manifests(profile(name))
    for caller, callee in CALLS:
        (container,) = pod_of(everything, caller)["spec"]["containers"]
        (address,) = (e["value"] for e in container["env"] if e["name"] == f"ATLAS_{caller}_{callee}".upper())
        scheme, _, place = address.partition(":///")
        host, _, port = place.partition(":")
        service = one(everything, "Service", host.split(".")[0])
        assert scheme == "dns"
        assert host == f"{service['metadata']['name']}.imaging.svc.cluster.local"
        assert service["spec"]["clusterIP"] == "None", "a ClusterIP would keep all calls at one pod"
        (port_name,) = (p["name"] for p in service["spec"]["ports"] if str(p["port"]) == port)
        ports = {p["name"] for p in pod_of(everything, callee)["spec"]["containers"][0]["ports"]}
        assert port_name in ports
        assert service["spec"]["selector"].items() <= pod_of(everything, callee)["metadata"]["labels"].items()
        assert (caller, port_name) in _let_in(one(everything, "NetworkPolicy", f"-{callee}"))


def test_only_storage_and_scheduler_leave_the_release() -> None:
    policies = [m for m in manifests(profile("production-airgapped")) if m["kind"] == "NetworkPolicy"]
    outside = {
        who: sorted(port["port"] for rule in _to_outside(policy) for port in rule["ports"])
        for policy in policies
        for who in _who(policy)
        if _to_outside(policy)
    }
    assert outside == {"storage": [443, 5432], "scheduler": [443, 5432, 6443], "migrations": [5432]}


def test_certificates_hold_the_names_that_clients_dial_and_the_service_s_identity() -> None:
    everything = manifests(profile("production"))
    for service in SERVICES:
        spec = one(everything, "Certificate", f"-{service}")["spec"]
        assert f"atlas-abdomenatlas-{service}.imaging.svc.cluster.local" in spec["dnsNames"]
        assert spec["uris"] == [f"spiffe://abdomenatlas/{service}"]
        assert {"server auth", "client auth"} <= set(spec["usages"])
        volumes = {v["name"]: v for v in pod_of(everything, service)["spec"]["volumes"]}
        assert volumes["tls"]["secret"]["secretName"] == spec["secretName"]


@pytest.mark.parametrize(("mode", "has_token"), [("none", False), ("keda", False), ("scheduler", True)])
def test_only_a_scheduler_that_scales_may_call_kubernetes(mode: str, has_token: bool) -> None:
    everything = manifests(merged(profile("production"), {"triton": {"autoscaling": {"mode": mode}}}))
    for component in (*SERVICES, "triton"):
        mounts = pod_of(everything, component)["spec"]["automountServiceAccountToken"]
        assert mounts == (has_token and component == "scheduler")
    assert any(manifest["kind"] in ("Role", "ClusterRole") for manifest in everything) == has_token


def _who(policy: Manifest) -> list[str]:
    component = policy["spec"]["podSelector"]["matchLabels"].get("app.kubernetes.io/component")
    return [component] if component else []


def _components(policy: Manifest, direction: str, peers: str) -> set[str]:
    rules = policy["spec"].get(direction, [])
    selectors = [peer["podSelector"] for rule in rules for peer in rule.get(peers, []) if "podSelector" in peer]
    return {selector["matchLabels"]["app.kubernetes.io/component"] for selector in selectors}


def _let_in(policy: Manifest) -> set[tuple[str, str]]:
    return {
        (peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"], port["port"])
        for rule in policy["spec"]["ingress"]
        for peer in rule["from"]
        if "podSelector" in peer
        for port in rule["ports"]
    }


def _to_outside(policy: Manifest) -> list[Manifest]:
    rules = policy["spec"].get("egress", [])
    return [rule for rule in rules if not any("podSelector" in peer for peer in rule.get("to", []))
            and all(port["port"] != 53 for port in rule["ports"])]  # fmt: skip
