"""What happens to a test whose real component is not on this machine."""

import os

import pytest


def require(available: bool, reason: str) -> None:
    """Skip the test with `reason` unless `available`; with ATLAS_REQUIRE_COMPONENTS=1 (as in CI) fail it instead."""
    if available:
        return
    if os.environ.get("ATLAS_REQUIRE_COMPONENTS") == "1":
        pytest.fail(f"{reason} (ATLAS_REQUIRE_COMPONENTS=1 forbids skipping)", pytrace=False)
    pytest.skip(reason)
