"""Keeps as many Triton pods as the backlog needs. Of several schedulers one does it: the first by name that lives."""

import threading
import time
from collections.abc import Callable

import structlog

from services.core.errors import AtlasError, Reason
from services.scheduler import demand, executors
from services.scheduler.clock import Clock
from services.scheduler.cluster.api import Api
from services.scheduler.cluster.scaling import Bounds, Look, justified, recent, wanted
from services.scheduler.database import Database
from services.scheduler.metrics import SCALING_FAILURES, TRITON_PODS
from services.scheduler.reviews import SECOND
from services.scheduler.settings import Settings

_TRIES, _FIRST_PAUSE, _LONGEST_PAUSE = 10, 0.05, 0.5
"""How often a look is repeated after a conflict, and the seconds between, which double. Kubernetes itself makes most of
them: while pods come and go it notes their number in the same object."""

log = structlog.get_logger()


class Scaler:
    """Runs `look` every cluster_look_seconds, in a thread. `monotonic` gives seconds and never goes back."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        api: Api,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._database, self._api = settings, database, api
        self._clock, self._monotonic = clock, monotonic
        self._bounds = Bounds(
            least=settings.cluster_min_pods,
            most=settings.cluster_max_pods,
            volumes_per_pod=settings.cluster_volumes_per_pod,
            cooldown_seconds=settings.cluster_cooldown_seconds,
        )
        self._looks: list[Look] = []
        self._thread = threading.Thread(target=self._loop, name="scaler", daemon=True)
        self._stopping = threading.Event()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the look in hand, and leave the pods as they are."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Compare backlog and pods, and ask for more or fewer. Raises AtlasError."""
        with self._database.read() as session:
            wall = self._clock()
            if executors.first(session, wall - int(self._settings.dead_seconds * SECOND)) != self._settings.executor:
                # What was needed before is not known to a scheduler that begins to lead.
                self._looks.clear()
                TRITON_PODS.set(0)
                return
            backlog = demand.backlog(session, wall)
        now = self._monotonic()
        self._looks = recent([*self._looks, Look(now, justified(backlog, self._bounds))], now, self._bounds)
        TRITON_PODS.set(self._keep(now, backlog))

    def _keep(self, now: float, backlog: int) -> int:
        deployment = self._settings.cluster_deployment
        for attempt in range(_TRIES):
            seen = self._api.scale(deployment)
            pods = wanted(seen.pods, self._looks, now, self._bounds)
            if pods == seen.pods:
                return pods
            try:
                self._api.rescale(deployment, seen, pods)
            except AtlasError as error:
                if error.reason != Reason.ETAG_MISMATCH:
                    raise
                self._stopping.wait(min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE))
                continue
            log.info("scaled", deployment=deployment, pods=pods, before=seen.pods, backlog=backlog)
            return pods
        raise AtlasError(
            Reason.RESOURCE_CONFLICT,
            f"Its scale was changed by somebody else {_TRIES} times in a row.",
            field=deployment,
            remedy="Does another autoscaler have it? Only one can.",
        )

    def _loop(self) -> None:
        while not self._stopping.is_set():
            try:
                self.look()
            except AtlasError as error:
                SCALING_FAILURES.inc()
                log.warning("pods are not scaled", error=str(error))
            except Exception:
                # The next look may do better; without this thread nothing would be scaled.
                SCALING_FAILURES.inc()
                log.exception("pods are not scaled")
            self._stopping.wait(self._settings.cluster_look_seconds)
