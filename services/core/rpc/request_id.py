"""The id that follows one request through all services: in gRPC metadata and in every log line."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar

METADATA_KEY = "x-request-id"
_current: ContextVar[str] = ContextVar("request_id", default="")
_VALID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


def current() -> str:
    """The id of the request in hand, or "" outside any."""
    return _current.get()


@contextmanager
def bound(request_id: str) -> Iterator[str]:
    """Make `request_id` the current one; an empty or malformed one is replaced by a new random one."""
    token = _current.set(request_id if _VALID.fullmatch(request_id) else secrets.token_hex(8))
    try:
        yield _current.get()
    finally:
        # A stream that its caller abandons is closed in a context of its own, where there is nothing to take back.
        with suppress(ValueError):
            _current.reset(token)
