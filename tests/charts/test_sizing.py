"""The figures by which a hospital orders GPUs follow from a formula and from what was measured, from nothing else."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def sizing() -> Any:
    """docs/sizing.py, which is no module of a package."""
    spec = importlib.util.spec_from_file_location("sizing", DOCS / "sizing.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("volumes", "seconds", "wanted"),
    [(1, 1, 1), (86400, 1, 1), (86401, 1, 2), (5000, 20, 2), (20000, 60, 14), (10000, 22.5, 3)],
)
def test_pods_are_volumes_times_seconds_in_a_day(sizing: Any, volumes: int, seconds: float, wanted: int) -> None:
    assert sizing.pods(volumes, seconds) == wanted
    assert (wanted - 1) * 86400 < volumes * seconds <= wanted * 86400


def test_the_seconds_are_those_that_were_measured(sizing: Any) -> None:
    """All rows of the benchmark's table, its sum included: a row that was lost would show."""
    (*networks, (name, together)) = sizing.measured()
    assert len(networks) == len(list((DOCS.parent / "models").glob("*/model.yaml")))
    assert name == "all four"
    assert sum(seconds for *_, seconds in networks) == pytest.approx(together, abs=0.2)


def test_another_table_of_seconds_is_not_taken_for_volumes(
    sizing: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "performance.md"
    before, mark, after = sizing.PERFORMANCE.read_text().partition("\n## Serving\n")
    serving, rest = after.split("\n## ", 1) if "\n## " in after else (after, "")
    page.write_text(f"{before}{mark}{serving}\n\n| start | time |\n|---|--:|\n| of Triton | 9.5 s |\n\n## {rest}")
    known = sizing.measured()
    monkeypatch.setattr(sizing, "PERFORMANCE", page)
    assert sizing.measured() == known


def test_the_page_has_every_load_and_says_what_was_not_measured(sizing: Any) -> None:
    page = sizing.sizing_page()
    assert "| volumes a day | 1 s a volume | 5 s a volume | 20 s a volume | 60 s a volume |" in page
    assert "| 20000 | 1 | 2 | 5 | 14 |" in page
    assert "not a measurement" in page
