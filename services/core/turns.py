"""Of identical work that is asked for at once, one is done and the others find its result."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """One caller at a time per key. Who comes second looks, when its turn comes, for what the first has recorded."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._taken: set[str] = set()

    @contextmanager
    def of(self, key: str) -> Iterator[None]:
        """Wait until nobody else has `key`, and have it."""
        with self._changed:
            self._changed.wait_for(lambda: key not in self._taken)
            self._taken.add(key)
        try:
            yield
        finally:
            with self._changed:
                self._taken.remove(key)
                self._changed.notify_all()
