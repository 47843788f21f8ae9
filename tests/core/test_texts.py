"""A text of a caller's is one short line that can be printed."""

import pytest

from services.core.errors import AtlasError, Reason
from services.core.texts import require_text


@pytest.mark.parametrize("text", ["", "Dr. Åse Øst", "x" * 128])
def test_a_line_is_taken_as_it_is(text: str) -> None:
    assert require_text(text, "author") == text


@pytest.mark.parametrize("text", ["two\nlines", "nul\0", "\x1b[31mred", "turned \u202e round", "x" * 129])
def test_what_is_no_printable_line_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(AtlasError) as refused:
        require_text(text, "author")
    assert (refused.value.reason, refused.value.field) == (Reason.FIELD_INVALID, "author")
    assert text not in str(refused.value)


def test_a_required_text_is_not_empty() -> None:
    with pytest.raises(AtlasError) as refused:
        require_text("", "author", required=True)
    assert refused.value.reason == Reason.FIELD_REQUIRED
