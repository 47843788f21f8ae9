"""Following a campaign, over dropped connections."""

import time
from collections import deque
from collections.abc import Iterator

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.scheduler.v1.scheduler_pb2_grpc import SchedulerServiceStub
from services.core.errors import AtlasError

RESTING = (
    sched.Campaign.STATE_IN_REVIEW,
    sched.Campaign.STATE_ROUND_DONE,
    sched.Campaign.STATE_CANCELLED,
    sched.Campaign.STATE_FINISHED,
)
"""States in which a campaign waits for people, or for nobody."""


def follow(
    scheduler: SchedulerServiceStub, name: str, *, after: int = 0, patience_seconds: float = 300.0
) -> Iterator[sched.WatchCampaignResponse]:
    """Events of a campaign after event `after`, each once, until the campaign rests.

    A connection that drops is made again where it stopped. Raises DEPENDENCY_UNAVAILABLE if the scheduler stays away
    for `patience_seconds`.
    """
    failing_since: float | None = None
    while True:
        try:
            for message in scheduler.WatchCampaign(sched.WatchCampaignRequest(name=name, after_sequence=after)):
                after = max(after, message.event.sequence)
                failing_since = None
                yield message
            # A server that drains ends the stream too: only a campaign that rests is followed to its end.
            if scheduler.GetCampaign(sched.GetCampaignRequest(name=name)).campaign.state in RESTING:
                return
        except AtlasError as error:
            now = time.monotonic()
            failing_since = failing_since or now
            if not error.is_passing or now - failing_since > patience_seconds:
                raise
        time.sleep(1)


class Tally:
    """Counts of the round that runs, and its last events."""

    def __init__(self) -> None:
        self.campaign = sched.Campaign()
        self.predicted: set[str] = set()
        self.scored: set[str] = set()
        self.merged: set[str] = set()
        self.failed: set[str] = set()
        self.last: deque[sched.CampaignEvent] = deque(maxlen=6)

    def add(self, message: sched.WatchCampaignResponse) -> None:
        """Take one message in; a new round starts the counts anew."""
        event = message.event
        self.campaign.CopyFrom(message.campaign)
        self.last.append(event)
        kinds = sched.CampaignEvent
        if event.kind == kinds.KIND_ROUND_STARTED:
            for counted in (self.predicted, self.scored, self.merged, self.failed):
                counted.clear()
        # Sets of names: a volume that was done twice, after a crash, counts once.
        elif event.kind == kinds.KIND_PREDICTED:
            self.predicted.add(event.resource or f"{event.volume}#{event.sequence}")
        elif event.kind == kinds.KIND_SCORED:
            self.scored.add(event.volume)
        elif event.kind == kinds.KIND_MERGED:
            self.merged.add(event.volume)
        elif event.kind == kinds.KIND_FAILED:
            self.failed.add(event.volume)

    def stages(self) -> list[tuple[str, int, int]]:
        """(stage, done, of) in the order in which a volume goes through them."""
        volumes = self.campaign.volume_count
        return [
            ("predicted", len(self.predicted), volumes * len(self.campaign.models)),
            ("scored", len(self.scored), volumes),
            ("merged", len(self.merged), volumes),
        ]


def describe(event: sched.CampaignEvent) -> str:
    """One event in a line: time, what, which volume, and the message."""
    what = sched.CampaignEvent.Kind.Name(event.kind).removeprefix("KIND_").lower().replace("_", " ")
    when = event.time.ToDatetime().strftime("%H:%M:%S")
    parts = [what, event.volume.removeprefix("volumes/"), event.message, f"by {event.actor}" if event.actor else ""]
    return f"{when}  {'  '.join(filter(None, parts))}"
