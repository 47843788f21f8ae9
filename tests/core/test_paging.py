"""Pages cover a list once, and a token works only where it was made."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core.errors import AtlasError, Reason
from services.core.rpc.paging import Page


@given(st.lists(st.integers(0, 50), unique=True), st.integers(1, 7))
def test_pages_cover_a_list_once(rows: list[int], size: int) -> None:
    rows, token = sorted(rows), ""
    seen: list[int] = []
    while True:
        page = Page.of(size, token, "ListThings", (int,), "filter")
        left = [row for row in rows if page.after is None or (row,) > page.after]
        shown, token = page.cut(left[: page.size + 1], lambda row: (row,))
        seen += shown
        if not token:
            break
    assert seen == rows


@pytest.mark.parametrize(("asked", "given_size"), [(0, 100), (1, 1), (1000, 1000), (5000, 1000)])
def test_sizes(asked: int, given_size: int) -> None:
    assert Page.of(asked, "", "ListThings", ()).size == given_size


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(AtlasError) as caught:
        Page.of(-1, "", "ListThings", ())
    assert caught.value.reason == Reason.FIELD_INVALID


def foreign_tokens() -> list[str]:
    def token(method: str, *filters: str) -> str:
        return Page.of(1, "", method, (int,), *filters).cut([1, 2], lambda row: (row,))[1]

    good = token("ListThings", "amos")
    return [token("ListOthers", "amos"), token("ListThings", "btcv"), token("ListThings"), good[:-4], "x", "ä", "W10="]


@pytest.mark.parametrize("token", foreign_tokens())
def test_a_token_from_elsewhere_is_refused(token: str) -> None:
    with pytest.raises(AtlasError) as caught:
        Page.of(1, token, "ListThings", (int,), "amos")
    assert caught.value.reason == Reason.PAGE_TOKEN_INVALID


def test_a_key_of_other_types_is_refused() -> None:
    token = Page.of(1, "", "ListThings", (str,)).cut(["a", "b"], lambda row: (row,))[1]
    with pytest.raises(AtlasError):
        Page.of(1, token, "ListThings", (int,))
