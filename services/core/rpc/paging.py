"""Pages of lists. A token says where the last page ended and is bound to the method and filters that made it."""

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from services.core.errors import AtlasError, Reason

DEFAULT_SIZE, MAX_SIZE = 100, 1000

Row = TypeVar("Row")
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Page:
    """What a List request asks for: `size` rows after the one with the key `after`, which is None on the first page.

    Fetch one row more than `size`; `cut` then tells whether another page follows.
    """

    size: int
    after: Key | None
    _bound_to: tuple[Any, ...]

    @classmethod
    def of(cls, page_size: int, page_token: str, method: str, kinds: Sequence[type], *filters: Any) -> "Page":
        """The page of a request whose rows have keys of `kinds`, such as (int, str).

        0 asks for 100 rows, and more than 1000 is 1000. Raises FIELD_INVALID or PAGE_TOKEN_INVALID.
        """
        if page_size < 0:
            raise AtlasError(
                Reason.FIELD_INVALID,
                f"A page cannot have {page_size} entries.",
                field="page_size",
                remedy=f"Use 0 for {DEFAULT_SIZE}, or 1 to {MAX_SIZE}.",
            )
        bound_to = (method, *filters)
        after = _key(page_token, bound_to, kinds) if page_token else None
        return cls(min(page_size or DEFAULT_SIZE, MAX_SIZE), after, bound_to)

    def cut(self, rows: Sequence[Row], key: Callable[[Row], Key]) -> tuple[Sequence[Row], str]:
        """The rows of this page out of up to `size` + 1, and the token of the next page, "" if there is none."""
        if len(rows) <= self.size:
            return rows, ""
        place = [*self._bound_to, *key(rows[self.size - 1])]
        return rows[: self.size], base64.urlsafe_b64encode(json.dumps(place).encode()).decode()


def _key(token: str, bound_to: Key, kinds: Sequence[type]) -> Key:
    try:
        place = json.loads(base64.b64decode(token.encode(), altchars=b"-_", validate=True))
        key = tuple(place[len(bound_to) :])
        fits = tuple(place[: len(bound_to)]) == bound_to and [*map(type, key)] == [*kinds]
    except (ValueError, TypeError, binascii.Error):
        fits = False
    if not fits:
        raise AtlasError(
            Reason.PAGE_TOKEN_INVALID,
            f"{bound_to[0]} made no such token with these filters.",
            field="page_token",
            remedy="Use next_page_token of the last response with the same filters, or none.",
        )
    return key
