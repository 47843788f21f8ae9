"""PostgreSQL has room for all pods: the figure in docs/install.md follows from the settings and the values."""

import re
from pathlib import Path

import yaml

from services.core.rpc.settings import ServiceSettings
from services.scheduler.settings import Settings as SchedulerSettings
from services.storage.settings import Settings as StorageSettings
from tests.charts.rendering import CHART, merged, profile

INSTALL = Path(__file__).parents[2] / "docs" / "install.md"
SUPERUSERS = 3
"""What PostgreSQL keeps for them by default (superuser_reserved_connections)."""


def test_the_room_that_the_page_asks_for_holds_all_pods_of_the_example_during_an_upgrade() -> None:
    """Then pods of storage that end stand beside as many new ones; a scheduler's ends before it is made anew."""
    values = merged(yaml.safe_load((CHART / "values.yaml").read_text()), profile("production"))
    scheduler, storage = values["scheduler"], values["storage"]
    jobs, served = SchedulerSettings(**scheduler["settings"]), StorageSettings(**storage["settings"])
    needed = (
        scheduler["replicas"] * (_fixed(jobs) + 2 * jobs.concurrency)
        + 2 * storage["replicas"] * (_fixed(served) + 2 * (served.concurrent_streams + served.concurrent_ingests))
        + SUPERUSERS
    )
    (told,) = re.findall(r"`max_connections`[^.]*values-production.yaml[^.]* (\d+)", INSTALL.read_text())
    assert int(told) == needed


def _fixed(settings: ServiceSettings) -> int:
    description = type(settings).model_fields["database_url"].description or ""
    (told,) = re.findall(r"opens at most (\d+) connections and two for every one", " ".join(description.split()))
    return int(told)
