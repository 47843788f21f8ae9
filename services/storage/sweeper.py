"""Looks after what nobody waits for, now and then: uploads given up or forgotten, volumes without a fingerprint."""

import threading
from collections.abc import Callable

import structlog

from services.core.errors import AtlasError

log = structlog.get_logger()


class Sweeper:
    """A thread that does its jobs every `seconds` until it is stopped."""

    def __init__(self, jobs: tuple[Callable[[], None], ...], seconds: float) -> None:
        self._jobs, self._seconds = jobs, seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Begin, with a sweep at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the sweep in hand."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            for job in self._jobs:
                try:
                    job()
                except AtlasError as error:
                    log.warning("sweep", message=error.message, field=error.field)
                except Exception:
                    # The thread must outlive whatever a store or database comes up with; the next sweep tries again.
                    log.exception("sweep")
            self._stop.wait(self._seconds)
