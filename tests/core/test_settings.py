"""Settings come from the environment, secrets from files too, and never show in print."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from services.core.rpc.settings import ServiceSettings


class Trial(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="ATLAS_TRIAL_", frozen=True)
    port: int = 0
    metrics_port: int = 0
    password: SecretStr = SecretStr("")


def test_a_secret_may_lie_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "password").write_text("hush\n")
    monkeypatch.setenv("ATLAS_TRIAL_PASSWORD_FILE", str(tmp_path / "password"))
    settings = Trial()
    assert settings.password.get_secret_value() == "hush"
    assert "hush" not in repr(settings)


def test_a_secret_may_stand_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATLAS_TRIAL_PASSWORD", "hush")
    assert Trial().password.get_secret_value() == "hush"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])
def test_off_loopback_is_refused_unless_told_in_so_many_words(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATLAS_TRIAL_HOST", host)
    with pytest.raises(ValidationError, match="without TLS"):
        Trial()
    monkeypatch.setenv("ATLAS_TRIAL_INSECURE", "true")
    assert Trial().host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_is_open(host: str) -> None:
    assert Trial(host=host).host == host
