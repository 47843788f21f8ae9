"""How long and how often a step is repeated while what it needs is down."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from services.core.errors import AtlasError

T = TypeVar("T")


class Interrupted(BaseException):
    """The process is stopping. Not an `Exception`, so that nothing records it as the outcome of the work."""


@dataclass(frozen=True)
class Patience:
    """Wait min(first * 2**n, most) seconds after the n-th failure, give or take a fifth.

    Nothing is begun again once `total` seconds have passed since the first failure; what was done before it is not
    counted, however long it took.
    """

    total_seconds: float
    first_seconds: float = 0.5
    most_seconds: float = 30.0

    def delay(self, failures: int) -> float:
        """Seconds to wait after `failures` failures (from 0), without the jitter."""
        return float(min(self.first_seconds * 2.0 ** min(failures, 30), self.most_seconds))

    def persist(
        self,
        action: Callable[[], T],
        sleep: Callable[[float], None],
        clock: Callable[[], float] = time.monotonic,
        on_failure: Callable[[AtlasError, float], None] = lambda error, seconds: None,
    ) -> T:
        """`action()`, repeated while it fails with an error that may pass.

        Raises the last error when it does not pass or when waiting for it again would go beyond `total_seconds` after
        the first.
        """
        failures = 0
        first_failed: float | None = None
        while True:
            try:
                return action()
            except AtlasError as error:
                # Many volumes fail at the same moment when a service goes away; they should not all come back at once.
                delay = self.delay(failures) * random.uniform(0.8, 1.2)
                if first_failed is None:
                    first_failed = clock()
                if not error.is_passing or clock() - first_failed + delay > self.total_seconds:
                    raise
                on_failure(error, delay)
            failures += 1
            sleep(delay)
