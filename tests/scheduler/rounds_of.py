"""Campaigns whose rounds and reviews go by without other services: straight on the tables."""

from dataclasses import replace
from typing import Any

from sqlalchemy import select

from abdomenatlas.scheduler.v1 import scheduler_pb2 as pb
from services.scheduler import decisions, desk, items, journal, reports, rounds, sampling
from services.scheduler.campaigns import Arm
from services.scheduler.database import Database
from services.scheduler.decisions import Submission
from services.scheduler.desk import Key, Revision
from services.scheduler.ensembles import Ensemble
from services.scheduler.items import Outcome
from services.scheduler.reviews import MINUTE, Decision, State
from services.scheduler.rounds import Acquisition, Plan
from services.scheduler.tables import Review

ENSEMBLE = Ensemble(("models/unet/versions/1",), ("liver",), 1.5, "abdomenatlas-1.0")
HOUR = 60 * MINUTE
FACTS: dict[str, Any] = {
    "organs": 1,
    "attention_mm3": 100.0,
    "expected_error_mm3": 100.0,
    "organs_mm3": {"liver": 10_000.0},
    "spacing_mm": [1.0, 1.0, 5.0],
    "extent_mm": [300.0, 300.0, 400.0],
    "hu": [0.4, 0.3, 0.2, 0.1],
    "source": "btcv",
}


class Campaign:
    """A campaign "c" over volumes of given priorities. Volume "v7" has priority 7 unless told otherwise."""

    def __init__(self, database: Database, priorities: dict[str, int], **asked: Any) -> None:
        self.database, self.now = database, 1_000 * HOUR
        self.priorities = priorities
        self.facts: dict[str, dict[str, Any]] = {}
        self.labelled: set[str] = set()
        """Volumes of which people have labelled every organ."""
        self.failing: set[str] = set()
        """Volumes whose work fails."""
        self.name = asked.pop("name", "c")
        policies = asked.pop("policies", {})
        acquisition = replace(Acquisition(), **asked)
        with database.change() as session:
            plan = Plan(self.name, tuple(priorities), ENSEMBLE, "parity", acquisition, "", "f" * 64, "trace", "opal")
            rounds.create(session, replace(plan, **policies), self.now)

    def score(self) -> None:
        """Have the work of the round done."""
        with self.database.change() as session:
            for work in items.to_queue(session, 100_000):
                if work.volume in self.failing:
                    items.failed(session, work, "DEPENDENCY_UNAVAILABLE: Triton is away.", self.now)
                else:
                    items.ready(session, work, self._outcome(work.volume), self.now)

    def open(self) -> list[Review]:
        """Open reviews in the order of the queue."""
        return [review for review in self.all() if review.state == State.OPEN]

    def all(self, arm: Arm | None = None) -> list[Review]:
        """All reviews, of one arm or of all, in the order of the queue."""
        with self.database.read() as session:
            mine = select(Review).where(Review.campaign == self.name).order_by(Review.round, Review.rank)
            found = list(session.scalars(mine))
            # They are looked at after the transaction.
            session.expunge_all()
        return [review for review in found if arm in (None, review.arm)]

    def review(self, review: Review, revised_mm3: float | None = None, minutes: float = 10, known: bool = True) -> None:
        """Look at a case for some minutes, and accept it, or revise so much of it."""
        key, begun = Key(review.campaign, review.id), self.now
        self.now += int(minutes * MINUTE)
        revision = Revision() if revised_mm3 is None else Revision(f"volumes/{review.volume}/labels/r", "ann")
        decision = Decision.ACCEPTED if revised_mm3 is None else Decision.REVISED
        with self.database.change() as session:
            token = desk.claim(session, key, "ann", 24 * HOUR, begun).token
            desk.submit(session, key, token, decision, revision, self.now, "t")
            if revision.name:
                measured = revised_mm3 if known else None
                decisions.merged(session, Submission(key, token), f"{revision.name}2", measured, self.now)

    def next_round(self) -> None:
        """Start the next round and have its work done."""
        with self.database.change() as session:
            rounds.start_next(session, self.name, 0, "", self.now)
        self.score()

    def audit(self, number: int = 0, cases: int = 0, etag: str = "") -> None:
        """Start an audit."""
        with self.database.change() as session:
            sampling.start_audit(session, self.name, number, etag, cases, self.now, "opal")

    def report(self) -> pb.CampaignReport:
        """What its reviews have brought."""
        with self.database.read() as session:
            return reports.report(session, journal.find(session, self.name))

    def state(self) -> int:
        """Where it stands."""
        with self.database.read() as session:
            return journal.find(session, self.name).state

    def messages(self, kind: int) -> list[str]:
        """Of its events of a kind."""
        with self.database.read() as session:
            return [event.message for event in journal.after(session, self.name, 0, 10_000) if event.kind == kind]

    def _outcome(self, volume: str) -> Outcome:
        scored = volume not in self.labelled
        return Outcome(
            predictions=["p"],
            attention_map=f"volumes/{volume}/attentionMaps/a" if scored else "",
            priority=self.priorities[volume] if scored else 0,
            organs=["liver"],
            label_version=f"volumes/{volume}/labels/m",
            source_organs=[],
            facts=FACTS | self.facts.get(volume, {}),
        )


def volumes(count: int) -> dict[str, int]:
    """ "v01" to "v<count>", the last one most urgent."""
    return {f"v{number:02}": number for number in range(1, count + 1)}
