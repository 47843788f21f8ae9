"""Pages of the model list. The page token is the name of the last model on the page before."""

from collections.abc import Sequence

from services.core import names
from services.core.errors import AtlasError, Reason
from services.inference.model import Model

DEFAULT_SIZE, MAX_SIZE = 100, 1000


def parse(page_size: int, page_token: str) -> tuple[int, str]:
    """(how many, after which name). Raises FIELD_INVALID or PAGE_TOKEN_INVALID."""
    if not 0 <= page_size <= MAX_SIZE:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"{page_size} models on a page are too many or too few.",
            field="page_size",
            remedy=f"Use 0 to {MAX_SIZE}.",
        )
    if page_token:
        try:
            names.parse(page_token, "models/*/versions/*", "page_token")
        except AtlasError as error:
            raise AtlasError(
                Reason.PAGE_TOKEN_INVALID,
                "This page token was not made by ListModels.",
                field="page_token",
                remedy="Use next_page_token of the last response, or none.",
            ) from error
    return page_size or DEFAULT_SIZE, page_token


def cut(models: Sequence[Model], size: int, after: str) -> tuple[Sequence[Model], str]:
    """The page of `models` (ordered by name) after a name, and the token of the next page, "" if there is none."""
    left = [model for model in models if model.name > after]
    return left[:size], left[size - 1].name if len(left) > size else ""
