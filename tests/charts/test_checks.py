"""Combinations that cannot work, or leave a door open, are refused with a sentence that names the value."""

import helm_python
import pytest

from tests.charts.rendering import Values, manifests, merged, profile

REFUSED: list[tuple[str, Values, str]] = [
    ("production", {"tls": {"mode": "none"}}, "without TLS"),
    ("production", {"auth": {"issuer": ""}}, "auth.issuer is empty"),
    ("production", {"auth": {"audience": ""}}, "auth.audience is empty"),
    ("production", {"auth": {"jwksUrl": ""}}, "no token could be checked"),
    ("production", {"auth": {"jwks": {"name": "keys"}}}, "both given"),
    ("production", {"metrics": {"token": {"name": ""}}}, "metrics.token.name is empty"),
    ("production", {"tls": {"issuer": {"name": ""}}}, "tls.issuer.name is empty"),
    ("production", {"tls": {"mode": "existing"}}, "tls.existingSecrets.merging is empty"),
    ("production", {"insecure": True, "tls": {"mode": "none"}}, "Use kubectl port-forward"),
    ("evaluation", {"tls": {"mode": "certManager", "issuer": {"name": "ca"}}}, "tls.mode is not none"),
    ("smallest", {"scheduler": {"replicas": 2}}, "scheduler.replicas is 2"),
    ("smallest", {"storage": {"replicas": 3}}, "storage.replicas is 3"),
    ("production", {"evaluation": {"enabled": True}}, "leave one of them out"),
    ("production", {"storage": {"objects": {"kind": "folder"}}}, "storage.replicas is 2"),
    ("production", {"storage": {"database": {"existingSecret": {"name": ""}}}}, "storage.database.existingSecret.name"),
    ("production", {"scheduler": {"database": {"existingSecret": {"name": ""}}}}, "scheduler.database.existingSecret"),
    ("production", {"s3": {"bucket": ""}}, "s3.bucket is empty"),
    ("production", {"s3": {"endpoint": ""}}, "s3.endpoint is empty"),
    ("production", {"s3": {"existingSecret": {"name": ""}}}, "s3.existingSecret.name is empty"),
    ("production", {"triton": {"models": {"load": []}}}, "serve nothing"),
    (
        "production",
        {"triton": {"autoscaling": {"minReplicas": 9}}},
        r"\(9\) is more than maxReplicas \(4\)",
    ),
    ("production", {"triton": {"autoscaling": {"keda": {"prometheusAddress": ""}}}}, "could not see the backlog"),
    ("production", {"expose": {"gateway": {"parentRefs": []}}}, "name the Gateway"),
    ("production", {"expose": {"ingress": {"enabled": True}}}, "host and tlsSecret"),
]


@pytest.mark.parametrize(("name", "values", "message"), REFUSED)
def test_it_is_refused(name: str, values: Values, message: str) -> None:
    with pytest.raises(helm_python.HelmError, match=message):
        manifests(merged(profile(name), values))


def test_all_faults_are_told_at_once() -> None:
    """Whoever installs it with no values at all learns everything that is needed from one answer."""
    with pytest.raises(helm_python.HelmError) as caught:
        manifests({})
    for word in ("auth.issuer", "metrics.token", "tls.issuer", "storage.database", "scheduler.database", "s3.bucket"):
        assert word in str(caught.value)
