"""Tables as people send them: what can be read is, and what cannot is refused by name, whoever reads it."""

from pathlib import Path

import pytest

from services.cli import csvtable
from services.cli.comparison.cases import read_metadata
from services.cli.conversion.cases import read_cases
from services.cli.ingest.case_table import read_table
from services.core import datasets
from services.core.errors import AtlasError, Reason

LONG = 'case,split\n"' + "x" * 131_073 + '",test\n'


def refusal(action: object, *given: object) -> AtlasError:
    with pytest.raises(AtlasError) as caught:
        action(*given)  # type: ignore[operator]
    assert caught.value.reason == Reason.FIELD_INVALID
    assert caught.value.remedy
    return caught.value


def test_short_and_long_rows_and_a_mark_of_byte_order(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfcase,split\r\n1\r\n\r\n2,test,more\r\n")
    assert csvtable.read(tmp_path / "t.csv") == [{"case": "1", "split": ""}, {"case": "2", "split": "test"}]
    assert csvtable.parse("", "t") == []
    assert csvtable.parse("\ufeffcase;split\n1;a,b\n", "t", separator=";") == [{"case": "1", "split": "a,b"}]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (LONG.encode(), "131072"),
        ("case,split\nZürich,test\n".encode("latin-1"), "UTF-8"),
    ],
)
def test_what_is_no_table_is_refused_with_its_path(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "metadata.csv"
    path.write_bytes(data)
    for action, given in (
        (csvtable.read, path),
        (read_metadata, path),
        (read_cases, tmp_path),
        (lambda path: read_table(tmp_path, datasets.load("btcv"), path), path),
    ):
        error = refusal(action, given)
        assert error.field == str(path)
        assert said in error.message + error.remedy


def test_a_row_without_its_case_does_not_break_a_comparison(tmp_path: Path) -> None:
    """The column of cases may be the last, and a row too short for it."""
    (tmp_path / "facts.csv").write_text("phase,case\nportal\narterial,c1\n")
    assert read_metadata(tmp_path / "facts.csv")["c1"] == {"phase": "arterial"}


def test_a_class_map_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "class_map.yaml").write_bytes("name: Zürich\n".encode("latin-1"))
    assert refusal(read_cases, tmp_path).field == "class_map.yaml"
