"""Page sizes and tokens."""

import pytest

from services.core.errors import AtlasError, Reason
from services.storage import pages


def test_sizes() -> None:
    assert [pages.size(n) for n in (0, 1, 1000, 5000)] == [100, 1, 1000, 1000]
    with pytest.raises(AtlasError) as caught:
        pages.size(-1)
    assert caught.value.reason == Reason.FIELD_INVALID


def test_a_token_says_where_the_page_begins() -> None:
    assert pages.after(pages.token("BDMAP_1", "ListVolumes", "amos"), "ListVolumes", "amos") == "BDMAP_1"
    assert pages.after("", "ListVolumes") == ""


@pytest.mark.parametrize(
    "token",
    [
        pages.token("a", "ListVolumes", "other"),
        pages.token("a", "ListPredictions", "amos"),
        pages.token("a", "ListVolumes", "amos")[:-4] + "YmI=",
        "garbage",
        "%%%",
        "ä",
        "YWJj",
    ],
)
def test_other_tokens_are_refused(token: str) -> None:
    with pytest.raises(AtlasError) as caught:
        pages.after(token, "ListVolumes", "amos")
    assert caught.value.reason == Reason.PAGE_TOKEN_INVALID
