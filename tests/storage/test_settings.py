"""Settings: secrets out of files, and what cannot work is refused at the start."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.storage.settings import Settings


def test_secrets_come_from_files_and_are_never_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, secret in (
        ("database_url", "sqlite:///secret-database_url"),
        ("s3_access_key", "secret-s3_access_key"),
        ("s3_secret_key", "secret-s3_secret_key"),
    ):
        (tmp_path / name).write_text(f"{secret}\n")
        monkeypatch.setenv(f"ATLAS_STORAGE_{name.upper()}_FILE", str(tmp_path / name))
    monkeypatch.setenv("ATLAS_STORAGE_OBJECTS", "s3://bucket")
    monkeypatch.setenv("ATLAS_STORAGE_S3_ENDPOINT", "s3.example:9000")
    settings = Settings()
    assert settings.database_url.get_secret_value() == "sqlite:///secret-database_url"
    assert settings.s3_secret_key.get_secret_value() == "secret-s3_secret_key"
    assert "secret-s3" not in repr(settings)


def test_what_is_wrong_is_told_without_secrets() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"objects": "s3://bucket", "s3_secret_key": "secret-word", "port": 10**6})
    assert "secret-word" not in str(caught.value)


@pytest.mark.parametrize("objects", ["s3://bucket", "ftp://x", "folder", "file:", "s3://"])
def test_objects_nobody_can_reach_are_refused(objects: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"objects": objects})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("S3_ENDPOINT", "https://s3.example:9000"),
        ("S3_ENDPOINT", "s3.example/atlas"),
        ("OBJECTS", "s3://at"),
        ("OBJECTS", "s3://Atlas_objects/prefix"),
        ("S3_CA_BUNDLE", "/nowhere/ca.pem"),
        ("S3_CA_BUNDLE", __file__),
    ],
)
def test_what_no_s3_server_is_reached_by_is_told_by_variable(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"OBJECTS": "s3://atlas/prefix", "S3_ENDPOINT": "s3.example:9000", name: value}
    for variable, text in {**given, "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}.items():
        monkeypatch.setenv(f"ATLAS_STORAGE_{variable}", text)
    with pytest.raises(SystemExit, match=f"^ATLAS_STORAGE_{name}: "):
        Settings.load()


@pytest.mark.parametrize("endpoint", ["s3.example", "rgw_1:7480", "10.0.0.1:9000", "[fd00::1]:9000"])
def test_servers_are_named_by_host_and_port(endpoint: str) -> None:
    assert Settings(s3_endpoint=endpoint).s3_endpoint == endpoint
