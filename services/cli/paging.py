"""Whole lists out of paged ones."""

from collections.abc import Callable, Iterator
from typing import Any


def every(method: Callable[[Any], Any], request: Any, field: str) -> Iterator[Any]:
    """All entries of `field` over all pages of a List method; `request` is changed on the way."""
    request.page_size = 1000
    while True:
        page = method(request)
        yield from getattr(page, field)
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return
