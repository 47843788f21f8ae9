"""Converted networks go to a folder of the test's own."""

from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A session long: the server of one test reads what importing converted."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ATLAS_SERVING_CACHE", str(tmp_path_factory.mktemp("converted")))
        yield
