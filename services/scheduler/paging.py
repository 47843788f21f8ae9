"""Page tokens: where a list goes on, bound to the method and the filters that it was made for."""

import base64
import binascii
import json
from collections.abc import Sequence
from typing import Any

from services.core.errors import AtlasError, Reason

DEFAULT_SIZE, MAX_SIZE = 100, 1000


def size(given: int) -> int:
    """Rows of a page. Raises FIELD_INVALID."""
    if not 0 <= given <= MAX_SIZE:
        raise AtlasError(Reason.FIELD_INVALID, f"A page has 1 to {MAX_SIZE} entries, or 0.", field="page_size")
    return given or DEFAULT_SIZE


def token(method: str, filters: Sequence[Any], more: Sequence[Sequence[Any]]) -> str:
    """A token for the page after the row with the key `more[0]`; "" if there is no such page."""
    if not more:
        return ""
    last = more[0]
    return base64.urlsafe_b64encode(json.dumps([method, list(filters), list(last)]).encode()).decode()


def key(given: str, method: str, filters: Sequence[Any], kinds: Sequence[type]) -> tuple[Any, ...] | None:
    """The key that `token` was made from, or None on the first page. Raises PAGE_TOKEN_INVALID."""
    if not given:
        return None
    try:
        made_by, made_for, last = json.loads(base64.urlsafe_b64decode(given.encode()))
        fits = made_by == method and made_for == list(filters) and list(map(type, last)) == list(kinds)
    except (ValueError, TypeError, binascii.Error):
        fits = False
    if not fits:
        raise AtlasError(
            Reason.PAGE_TOKEN_INVALID,
            "This page token is not from this method with these filters.",
            field="page_token",
            remedy="Start again without one.",
        )
    return tuple(last)
