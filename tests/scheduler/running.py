"""A scheduler in a process of its own, to call, to stop and to kill."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import grpc

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from abdomenatlas.scheduler.v1.scheduler_pb2_grpc import SchedulerServiceStub
from services.core.rpc.client import connect
from tests.components.processes import free_port

REPOSITORY = Path(__file__).parents[2]


class Scheduler:
    """`python -m services.scheduler`, with everything at `workers` (one address for all four services)."""

    def __init__(self, database: str, workers: str, folder: Path, executor: str = "one", **settings: object) -> None:
        self.log = folder / f"scheduler-{executor}.log"
        self.port, self.metrics_port = free_port(), free_port()
        given = {
            "database_url": database,
            "executor_id": executor,
            "port": self.port,
            "metrics_port": self.metrics_port,
            "poll_seconds": 0.1,
            "sweep_seconds": 0.5,
            "dead_seconds": 3,
            "drain_seconds": 1,
            **dict.fromkeys(("storage", "inference", "uncertainty", "merging"), workers),
            **settings,
        }
        ours = {f"ATLAS_SCHEDULER_{name.upper()}": str(value) for name, value in given.items()}
        self._environment = os.environ | ours
        self._environment["PYTHONPATH"] = f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'gen'}"
        self._channel: grpc.Channel | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *failure: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and wait until it serves."""
        already = len(self.lines("serving"))
        with self.log.open("ab") as output:
            command = [sys.executable, "-m", "services.scheduler"]
            self.process = subprocess.Popen(
                command, env=self._environment, cwd=REPOSITORY, stderr=output, stdout=output
            )
        deadline = time.monotonic() + 60
        while len(self.lines("serving")) == already:
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)
        self._channel = connect(f"127.0.0.1:{self.port}")
        self.rpc = SchedulerServiceStub(self._channel)

    def stop(self) -> int:
        """Send SIGTERM and wait; the exit status."""
        return self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL and wait."""
        self._end(signal.SIGKILL)

    def lines(self, event: str) -> list[dict[str, object]]:
        """The log lines that tell of an event."""
        text = self.log.read_text() if self.log.exists() else ""
        parsed = [json.loads(line) for line in text.splitlines() if line.startswith("{") and line.endswith("}")]
        return [line for line in parsed if line.get("event") == event]

    def create(self, name: str, volumes: list[str], **fields: Any) -> pb.Campaign:
        """Create a campaign over volume ids."""
        request = pb.CreateCampaignRequest(
            campaign_id=name, volumes=[f"volumes/{volume}" for volume in volumes], **fields
        )
        return self.rpc.CreateCampaign(request).campaign

    def campaign(self, name: str) -> pb.Campaign:
        """Read a campaign."""
        return self.rpc.GetCampaign(pb.GetCampaignRequest(name=f"campaigns/{name}")).campaign

    def rest(self, name: str, after: int = 0) -> list[pb.CampaignEvent]:
        """Follow a campaign until it rests; its events."""
        request = pb.WatchCampaignRequest(name=f"campaigns/{name}", after_sequence=after)
        return [message.event for message in self.rpc.WatchCampaign(request, timeout=120)]

    def items(self, name: str) -> dict[str, pb.CampaignItem]:
        """All items of a campaign by volume id, in the order of the list."""
        found = self.rpc.ListItems(pb.ListItemsRequest(parent=f"campaigns/{name}", page_size=1000)).items
        return {item.volume.removeprefix("volumes/"): item for item in found}

    def reviews(self, name: str) -> list[pb.Review]:
        """All reviews of a campaign."""
        return list(self.rpc.ListReviews(pb.ListReviewsRequest(parent=f"campaigns/{name}")).reviews)

    def _end(self, signum: int) -> int:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self.process.poll() is None:
            self.process.send_signal(signum)
        return self.process.wait(30)


def claim(scheduler: Scheduler, review: pb.Review, reviewer: str = "ann") -> int:
    """Claim a review; the fencing token."""
    return scheduler.rpc.ClaimReview(pb.ClaimReviewRequest(name=review.name, reviewer=reviewer)).fencing_token
