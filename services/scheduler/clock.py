"""The time as the tables keep it."""

import time
from collections.abc import Callable

Clock = Callable[[], int]


def now() -> int:
    """Microseconds since 1970 UTC."""
    return time.time_ns() // 1000
