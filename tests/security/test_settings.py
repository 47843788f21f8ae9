"""A service that would be open to others does not start, and what is wrong with its settings is said in a sentence."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from services.core.rpc.settings import ServiceSettings
from services.scheduler.settings import Settings as SchedulerSettings
from services.storage.settings import Settings
from tests.security.pki import Authority

OIDC = {"oidc_issuer": "https://id", "oidc_audience": "us", "oidc_jwks": "https://id/keys"}
OPEN: dict[str, Any] = {"host": "0.0.0.0"}
TLS = {"tls_cert": "cert.pem", "tls_key": "key.pem"}
METRICS = {"metrics_token": "word"}


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, "without TLS .* and authentication .* and a token for the metrics"),
        ({**TLS, **METRICS}, "without authentication"),
        ({**OIDC, **METRICS}, "without TLS"),
        ({**TLS, **OIDC}, "without a token for the metrics"),
        ({**TLS, "tls_client_ca": "ca.pem"}, "without a token for the metrics"),
    ],
)
def test_off_loopback_it_takes_tls_and_authentication(given: dict[str, Any], missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        Settings(**OPEN, **given)


@pytest.mark.parametrize(
    "given", [{**TLS, **OIDC, **METRICS}, {**TLS, "tls_client_ca": "ca.pem", **METRICS}, {"insecure": True}]
)
def test_with_both_or_told_in_so_many_words_it_opens(given: dict[str, Any]) -> None:
    assert Settings(**OPEN, **given).host == "0.0.0.0"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tls_cert": "cert.pem"}, "belong together"),
        ({"tls_client_ca": "ca.pem"}, "needs TLS_CERT"),
        ({"oidc_issuer": "https://id"}, "missing: OIDC_AUDIENCE, OIDC_JWKS"),
        ({**OIDC, "oidc_jwks": "http://id.example.org/keys"}, "must be an https URL"),
        ({"service_san": "spiffe://everybody"}, "pattern"),
    ],
)
def test_half_of_a_protection_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Settings(**given)


def started(**environment: str) -> "subprocess.CompletedProcess[str]":
    given = {f"ATLAS_STORAGE_{name}": value for name, value in environment.items()}
    command = [sys.executable, "-m", "services.storage"]
    return subprocess.run(command, env={**os.environ, **given}, capture_output=True, text=True, timeout=60, check=False)


def test_what_is_wrong_is_said_by_variable_and_never_by_value(tmp_path: Path) -> None:
    """A sentence on standard error instead of a traceback."""
    authority = Authority(tmp_path)
    pair, other = authority.service("storage"), authority.service("merging")
    for environment, words in (
        ({"OBJECTS": "secret-word", "PORT": "-1"}, "ATLAS_STORAGE_OBJECTS: "),
        ({"DATABASE_URL_FILE": "/nowhere"}, "ATLAS_STORAGE_DATABASE_URL_FILE: The file it names cannot be read."),
        ({"TLS_CERT": str(pair.cert), "TLS_KEY": str(other.key)}, f"{other.key}: The key does not belong"),
    ):
        done = started(**environment)
        assert done.returncode != 0
        assert words in done.stderr
        assert "Traceback" not in done.stderr
        assert "secret-word" not in done.stderr


@pytest.mark.parametrize("service", [Settings, SchedulerSettings])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://atlas:S3cr@t:Word9@db.example/atlas",
        "postgresql://atlas:S3cr@tWord9@db.example/atlas",
        "postgresql://atlas:S3cr@t/Word9@db.example/atlas",
        "postgresql://atlas:S3cr@t?Word9@db.example/atlas",
        "Word9://atlas@db.example/atlas",
        "atlas:Word9@db.example/atlas",
    ],
)
def test_a_password_that_makes_no_url_is_not_shown(
    service: type[ServiceSettings], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"{service.model_config['env_prefix']}DATABASE_URL"
    monkeypatch.setenv(variable, url)
    with pytest.raises(SystemExit) as ended:
        service.load()
    said = str(ended.value)
    assert said.startswith(f"{variable}: ")
    assert 'Percent-encode "@"' in said
    assert "Word9" not in said
    assert ended.value.__suppress_context__


@pytest.mark.parametrize("service", [Settings, SchedulerSettings])
@pytest.mark.parametrize(
    "url",
    [
        "postgresql://atlas:S3cr%40t%3AWord9@db.example/atlas",
        "postgresql+psycopg://atlas@db.example/atlas",
        "postgresql://atlas:S3cr:t/W@[::1]:5433/atlas?sslmode=require",
        "postgresql://atlas@server:S3cr@db.example/at%40las",
        "sqlite:////home/me@example/atlas.db",
    ],
)
def test_a_url_that_says_one_thing_is_taken(
    service: type[ServiceSettings], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{service.model_config['env_prefix']}DATABASE_URL", url)
    monkeypatch.setenv(f"{service.model_config['env_prefix']}EXECUTOR_ID", "one")
    assert url not in repr(service.load())
