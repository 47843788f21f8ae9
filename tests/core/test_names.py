"""A name can neither climb out of a folder nor be taken for another."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.core import names
from services.core.errors import AtlasError


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "../x", "a..b", ".hidden", "-x", "a" * 64, "ä", "a\n", "a b"])
def test_what_is_no_id_is_refused(value: str) -> None:
    with pytest.raises(AtlasError) as caught:
        names.require_id(value, "volume_id")
    assert caught.value.field == "volume_id"


def test_a_name_gives_the_ids_in_it() -> None:
    assert names.parse("volumes/BDMAP_1/labels/0f", "volumes/*/labels/*", "name") == ("BDMAP_1", "0f")


@pytest.mark.parametrize("name", ["", "volumes", "volumes/a/labels", "volume/a/labels/b", "volumes/../labels/b"])
def test_a_name_of_another_kind_is_refused(name: str) -> None:
    with pytest.raises(AtlasError):
        names.parse(name, "volumes/*/labels/*", "name")


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_different_parts_have_different_content_ids(first: list[str], second: list[str]) -> None:
    assert (names.content_id(*first) == names.content_id(*second)) == (first == second)
