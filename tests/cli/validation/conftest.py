"""A release of ours to validate."""

from pathlib import Path

import pytest

from services.cli.release.contents import read_contents
from services.cli.release.writer import write_release
from tests.cli.archive import CAMPAIGN, Archive


@pytest.fixture
def release(archive: Archive, tmp_path: Path) -> Path:
    folder = tmp_path / "release"
    write_release(archive.connection.storage, read_contents(archive.connection, CAMPAIGN), folder)
    return folder
