"""Pages of lists. A token says where the last page ended and is bound to the method and its filters."""

import base64
import binascii

from services.core.errors import AtlasError, Reason
from services.core.names import content_id

DEFAULT_SIZE, MAX_SIZE = 100, 1000
_BINDING_CHARACTERS = 16


def size(page_size: int) -> int:
    """How many entries a page has. Raises FIELD_INVALID for a negative number; more than the most means the most."""
    if page_size < 0:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"A page cannot have {page_size} entries.",
            field="page_size",
            remedy=f"Use 0 for {DEFAULT_SIZE}, or 1 to {MAX_SIZE}.",
        )
    return min(page_size or DEFAULT_SIZE, MAX_SIZE)


def token(after: str, method: str, *filters: str) -> str:
    """The token of the page that begins after the entry `after`."""
    return base64.urlsafe_b64encode(f"{_binding(after, method, *filters)}{after}".encode()).decode()


def after(page_token: str, method: str, *filters: str) -> str:
    """Where the page of a token begins; "" for no token. Raises PAGE_TOKEN_INVALID."""
    if not page_token:
        return ""
    try:
        text = base64.b64decode(page_token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise _invalid(method) from error
    binding, place = text[:_BINDING_CHARACTERS], text[_BINDING_CHARACTERS:]
    if binding != _binding(place, method, *filters):
        raise _invalid(method)
    return place


def _binding(after: str, method: str, *filters: str) -> str:
    return content_id(method, *filters, after)[:_BINDING_CHARACTERS]


def _invalid(method: str) -> AtlasError:
    return AtlasError(
        Reason.PAGE_TOKEN_INVALID,
        f"{method} made no such token with these filters.",
        field="page_token",
        remedy="Use next_page_token of the last response with the same filters, or none.",
    )
