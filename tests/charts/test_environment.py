"""What the chart tells a service is what the service understands."""

import importlib
from pathlib import Path

import pytest
import yaml

from services.core.rpc.settings import ServiceSettings
from tests.charts.rendering import PROFILES, SERVICES, Manifest, Values, manifests, merged, one, pod_of, profile, texts
from tests.security.pki import Authority

URLS = {"storage": "postgresql+psycopg://u:p@db/catalog", "scheduler": "postgresql://u:p@db/scheduler"}


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("service", SERVICES)
def test_a_service_starts_with_the_environment_of_its_pod(
    name: str, service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = pod_of(manifests(profile(name)), service)
    settings = _settings(pod, service, tmp_path, monkeypatch)
    (container,) = pod["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["grpc"] == settings.port
    assert ports["metrics"] == settings.metrics_port
    assert ports["health"] == settings.health_port == container["livenessProbe"]["grpc"]["port"]
    assert ports["mutual"] == settings.mutual_port
    assert settings.host == "0.0.0.0"
    assert settings.insecure == (name == "evaluation")
    assert settings.is_encrypted == (name != "evaluation")


def test_settings_given_as_values_arrive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = merged(profile("production"), {"storage": {"settings": {"concurrent_streams": 7, "sweep_seconds": 3}}})
    settings = _settings(pod_of(manifests(values), "storage"), "storage", tmp_path, monkeypatch)
    assert settings.concurrent_streams == 7  # type: ignore[attr-defined]
    assert settings.sweep_seconds == 3  # type: ignore[attr-defined]


@pytest.mark.parametrize("endpoint", ["s3.example", "rgw_1:7480", "10.0.0.1:9000", "[fd00::1]:9000"])
def test_a_server_that_storage_takes_can_be_named_by_the_values(
    endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = merged(profile("production"), {"s3": {"endpoint": endpoint}})
    settings = _settings(pod_of(manifests(values), "storage"), "storage", tmp_path, monkeypatch)
    assert settings.s3_endpoint == endpoint  # type: ignore[attr-defined]


def test_the_scheduler_takes_no_longer_cooldown_than_the_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    longest: Values = {"triton": {"autoscaling": {"mode": "scheduler", "cooldownSeconds": 3600}}}
    pod = pod_of(manifests(merged(profile("production"), longest)), "scheduler")
    settings = _settings(pod, "scheduler", tmp_path, monkeypatch)
    assert settings.cluster_cooldown_seconds == 3600  # type: ignore[attr-defined]
    monkeypatch.setenv("ATLAS_SCHEDULER_CLUSTER_COOLDOWN_SECONDS", "3601")
    with pytest.raises(SystemExit, match=r"^ATLAS_SCHEDULER_CLUSTER_COOLDOWN_SECONDS: "):
        type(settings).load()


def test_every_scheduler_has_an_executor_id_that_outlives_its_pod() -> None:
    (container,) = pod_of(manifests(profile("production")), "scheduler")["spec"]["containers"]
    (entry,) = (e for e in container["env"] if e["name"] == "ATLAS_SCHEDULER_EXECUTOR_ID")
    assert entry["valueFrom"] == {"fieldRef": {"fieldPath": "metadata.name"}}


def test_no_secret_stands_in_the_environment_or_on_a_command_line() -> None:
    for text in texts(profile("production")).values():
        assert "secretKeyRef" not in text


def test_a_pod_notices_changes_of_those_secrets_alone_that_it_reads_at_its_start() -> None:
    """Triton and trainings read none, so a new metrics token or password need not end what they do."""
    found = manifests(merged(profile("production"), {"training": {"enabled": True}}))
    notes = yaml.safe_load(one(found, "ConfigMap", "-training")["data"]["job.yaml"])["spec"]["template"]["metadata"]
    assert "checksum/secrets" not in notes.get("annotations", {})
    for component in (*SERVICES, "triton"):
        pod = pod_of(found, component)
        read_once = {volume["name"] for volume in pod["spec"]["volumes"] if "secret" in volume} - {"tls", "certificate"}
        assert ("checksum/secrets" in pod["metadata"].get("annotations", {})) == bool(read_once), component


def test_every_mounted_folder_has_its_volume_and_every_file_its_folder() -> None:
    for service in SERVICES:
        pod = pod_of(manifests(profile("production")), service)
        (container,) = pod["spec"]["containers"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted.keys() == {volume["name"] for volume in pod["spec"]["volumes"]}
        for entry in container["env"]:
            value = entry.get("value", "")
            if value.startswith("/"):
                assert any(value.startswith(f"{path}/") for path in mounted.values()), entry


def _settings(pod: Manifest, service: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ServiceSettings:
    """The service's own settings, read from the environment that its pod would have, with files in `folder`."""
    model: type[ServiceSettings] = importlib.import_module(f"services.{service}.settings").Settings
    prefix = model.model_config["env_prefix"]
    (container,) = pod["spec"]["containers"]
    for entry in container["env"]:
        name, value = entry["name"], entry.get("value", "atlas-0")
        assert name == "NUMBA_CACHE_DIR" or name.startswith(("PG", prefix))
        if name.startswith(prefix):
            field = name.removeprefix(prefix).lower()
            assert field.removesuffix("_file") in model.model_fields, f"{service} knows no {name}"
        if name.endswith("_FILE"):
            path = folder / name
            path.write_text(URLS[service] if "DATABASE" in name else "secret")
            value = str(path)
        if name == "ATLAS_STORAGE_S3_CA_BUNDLE":  # settings read this one themselves
            value = str(Authority(folder).ca)
        monkeypatch.setenv(name, value)
    return model()
