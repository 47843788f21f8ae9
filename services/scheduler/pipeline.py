"""What is done with one volume, and with one decision of a reviewer, step by step.

A step makes one call to another service, or one change of our tables, and gives back JSON. The workflow engine keeps
what a step gave back and never runs it again; a step that a crash cut off is run again, and all of them may be.
This module knows neither the engine nor SQL.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import structlog

from abdomenatlas.storage.v1.storage_pb2 import LabelVersion
from services.core.errors import AtlasError, Reason
from services.core.rpc import request_id
from services.scheduler import decisions, desk, facts, items, journal
from services.scheduler.campaigns import Kind
from services.scheduler.clock import Clock
from services.scheduler.database import Database
from services.scheduler.decisions import Submission
from services.scheduler.items import Outcome, Work
from services.scheduler.metrics import IN_FLIGHT, STEP_FAILURES
from services.scheduler.retry import Patience
from services.scheduler.workers import Workers

log = structlog.get_logger()

Run = Callable[[str, Callable[[], Any]], Any]
"""Runs a named step, or gives back what it gave back before a crash."""


class StepError(Exception):
    """A step gave up. The text tells the step, the reason and the remedy."""


class Pipeline:
    """The steps, on the services and tables that they need."""

    def __init__(self, database: Database, workers: Workers, patience: Patience, clock: Clock) -> None:
        self._database, self._workers, self._patience, self._clock = database, workers, patience, clock

    def volume(self, run: Run, work: Work) -> None:
        """Predict with every model, score, merge, record. A failure is recorded too, and the other volumes go on."""
        with self._about(work.campaign, work.volume):
            try:
                self._volume(run, work)
            except StepError as failure:
                error = str(failure)
                self._step(run, "record failure", lambda: self._failed(work, error))

    def decision(self, run: Run, submission: Submission) -> None:
        """Merge a volume again with the revision that a review decided on."""
        key = submission.key
        with self._about(key.campaign, key.review):
            try:
                plan = self._step(run, "plan", lambda: self._plan_decision(submission))
                with request_id.bound(plan["trace"]):
                    merged = self._step(run, "merge", lambda: self._merge(plan))
                    revised_mm3 = self._measured(run, plan, merged)
                    self._step(run, "record", lambda: self._decided(submission, merged, revised_mm3))
            except StepError as failure:
                error = str(failure)
                self._step(run, "record failure", lambda: self._undecided(submission, error))

    def _volume(self, run: Run, work: Work) -> None:
        plan = self._step(run, "plan", lambda: self._plan(work))
        if plan is None:
            return
        with request_id.bound(plan["trace"]):
            self._follow(run, work, plan)

    def _follow(self, run: Run, work: Work, plan: dict[str, Any]) -> None:
        predictions = []
        for model in plan["models"]:
            name = self._step(run, f"predict {model}", partial(self._predict, work, plan, model))
            predictions.append(name)
            if name is None:
                return
        plan = plan | {"predictions": predictions}
        score = {"attention_map": "", "priority": 0, "organs": [], "facts": {}}
        if plan["unlabelled"]:
            score = self._step(run, "score", lambda: self._score(work, plan))
        if score is None:
            return
        merged = self._step(run, "merge", lambda: self._merge(plan))
        self._step(run, "record", lambda: self._ready(work, plan, score, merged))

    def _plan(self, work: Work) -> dict[str, Any] | None:
        """Everything that the volume's steps depend on, decided once; None if there is nothing to do any more."""
        with self._database.change() as session:
            campaign = items.begin(session, work, self._clock())
            if campaign is None:
                return None
            plan: dict[str, Any] = {
                "volume": f"volumes/{work.volume}",
                "models": campaign.models,
                "profile": campaign.profile,
                "merge_policy": campaign.merge_policy,
                "trace": campaign.trace_id,
            }
            organs, class_map = list(campaign.organs), campaign.class_map
            revisions = decisions.revisions(session, work.volume)
        with request_id.bound(plan["trace"]):
            volume = self._workers.volume(plan["volume"])
            sources = self._workers.source_labels(plan["volume"], class_map)
            revised = [self._workers.label_version(name) for name in revisions]
        imported = f"Import its labels by {class_map} too, use models of theirs, or leave the volume out."
        _require_class_map(sources, class_map, imported)
        # Refused, not left out: the round would drop a person's work in silence.
        _require_class_map(revised, class_map, "Use models of its class map, or leave the volume out.")
        labelled = {organ.organ for version in sources for organ in version.organs}
        by_people = {organ.organ for version in sources + revised for organ in version.organs}
        unlabelled = [organ for organ in organs if organ not in by_people]
        return plan | {
            # Where people have labelled every organ, a prediction would be looked at by nobody.
            "models": plan["models"] if unlabelled else [],
            "label_versions": [version.name for version in sources + revised],
            "source_organs": [organ for organ in organs if organ in labelled] + sorted(labelled - set(organs)),
            "unlabelled": unlabelled,
            "facts": facts.of_volume(volume),
        }

    def _predict(self, work: Work, plan: dict[str, Any], model: str) -> str | None:
        name = self._workers.predict(plan["volume"], model)
        with self._database.change() as session:
            told = items.tell(session, work, Kind.PREDICTED, name, self._clock(), message=f"By {model}.")
            return name if told else None

    def _score(self, work: Work, plan: dict[str, Any]) -> dict[str, Any] | None:
        attention = self._workers.score(plan["volume"], plan["predictions"], plan["profile"], plan["unlabelled"])
        score = {
            "attention_map": attention.name,
            "priority": attention.priority,
            "organs": [organ.organ for organ in attention.organs],
            "facts": facts.of_attention(attention),
        }
        with self._database.change() as session:
            return score if items.tell(session, work, Kind.SCORED, attention.name, self._clock()) else None

    def _merge(self, plan: dict[str, Any]) -> dict[str, Any]:
        # A plan from before policies takes the defaults.
        policy = plan.get("merge_policy", {})
        labels = self._workers.merge(plan["volume"], plan["predictions"], plan["label_versions"], policy)
        return {"label_version": labels.name, "facts": facts.of_labels(labels)}

    def _ready(self, work: Work, plan: dict[str, Any], score: dict[str, Any], merged: dict[str, Any]) -> None:
        outcome = Outcome(
            predictions=plan["predictions"],
            label_version=merged["label_version"],
            source_organs=plan["source_organs"],
            attention_map=score["attention_map"],
            priority=score["priority"],
            organs=score["organs"],
            facts=plan["facts"] | score["facts"] | merged["facts"],
        )
        with self._database.change() as session:
            items.ready(session, work, outcome, self._clock())

    def _failed(self, work: Work, error: str) -> None:
        with self._database.change() as session:
            items.failed(session, work, error, self._clock())

    def _plan_decision(self, submission: Submission) -> dict[str, Any]:
        with self._database.read() as session:
            review = desk.find(session, submission.key)
            campaign = journal.find(session, submission.key.campaign)
            plan: dict[str, Any] = {
                "volume": f"volumes/{review.volume}",
                "trace": review.trace_id,
                "predictions": review.predictions,
                "before": review.label_version,
                "revision": review.revision,
                "merge_policy": campaign.merge_policy,
            }
            class_map = campaign.class_map
            # Of two campaigns that reviewed the volume at once, the other's models may have had another class map.
            revisions = decisions.revisions(session, review.volume, class_map)
        with request_id.bound(plan["trace"]):
            sources = self._workers.source_labels(plan["volume"], class_map)
        return plan | {"label_versions": [version.name for version in sources] + revisions}

    def _measured(self, run: Run, plan: dict[str, Any], merged: dict[str, Any]) -> float | None:
        """Tissue whose label the revision changed, in mm^3. None if nobody can tell: the decision stands without it."""
        try:
            measured: float = self._step(run, "measure", lambda: self._measure(plan, merged))
        except StepError:
            return None
        return measured

    def _measure(self, plan: dict[str, Any], merged: dict[str, Any]) -> float:
        before = {organ.organ for organ in self._workers.label_version(plan["before"]).organs}
        revised = [organ.organ for organ in self._workers.label_version(plan["revision"]).organs]
        known = [organ for organ in revised if organ in before]
        tissue = merged["facts"]["organs_mm3"]
        new_mm3: float = sum(tissue[organ] for organ in revised if organ not in before)
        if not known:
            return new_mm3
        return new_mm3 + self._workers.differing_mm3(plan["before"], merged["label_version"], known)

    def _decided(self, submission: Submission, merged: dict[str, Any], revised_mm3: float | None) -> None:
        with self._database.change() as session:
            decisions.merged(session, submission, merged["label_version"], revised_mm3, self._clock())

    def _undecided(self, submission: Submission, error: str) -> None:
        with self._database.change() as session:
            decisions.unmergeable(session, submission, error, self._clock())

    def _step(self, run: Run, name: str, action: Callable[[], Any]) -> Any:
        """What the step gave back. Raises StepError."""
        outcome = run(name, lambda: self._outcome(name, action))
        if "error" in outcome:
            raise StepError(outcome["error"])
        return outcome["value"]

    def _outcome(self, name: str, action: Callable[[], Any]) -> dict[str, Any]:
        """A failure is an outcome like any other: the engine gives it back after a crash as it was."""

        def waits(error: AtlasError, seconds: float) -> None:
            log.warning("step waits", step=name, error=str(error), seconds=round(seconds, 1))

        try:
            return {"value": self._patience.persist(action, self._workers.sleep, on_failure=waits)}
        except AtlasError as error:
            log.warning("step failed", step=name, reason=error.reason.value, error=str(error))
            _count_failure(name, error.reason)
            return {"error": f"{name}: {error.reason.value}: {error}"}
        except Exception:
            # A process that stops closes what its steps stand on; that is no fault of theirs.
            self._workers.sleep(0)
            log.exception("step failed", step=name)
            _count_failure(name, Reason.INTERNAL)
            remedy = f"The scheduler's log has the details under request id {request_id.current()}."
            return {"error": f"{name}: {Reason.INTERNAL.value}: The step failed. {remedy}"}

    @contextmanager
    def _about(self, campaign: str, subject: str) -> Iterator[None]:
        with structlog.contextvars.bound_contextvars(campaign=campaign, subject=subject), IN_FLIGHT.track_inprogress():
            yield


def _count_failure(step: str, reason: Reason) -> None:
    # Without the model's name: a label of a metric must not take ever new values.
    STEP_FAILURES.labels(step.split()[0], reason.value).inc()


def _require_class_map(versions: Iterable[LabelVersion], class_map: str, remedy: str) -> None:
    """Raise CLASS_MAP_MISMATCH unless the merge will take all `versions`; asked before predictions are paid for."""
    for version in versions:
        if version.class_map != class_map:
            raise AtlasError(
                Reason.CLASS_MAP_MISMATCH,
                f"{version.name} speaks of {version.class_map}, the campaign of {class_map}.",
                field="volume",
                remedy=remedy,
            )
