"""The cache of cases: within its bound, least recently used first, and never a damaged voxel."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from services.core.errors import AtlasError, Reason
from services.serving.training.cache import CaseCache, Entry
from services.serving.training.case import Case
from tests.serving.training.conftest import SIDE, box_case

SIZE = SIDE**3 * 6 + 2 * 1000 * 12 + 4096
"""Bytes of a box case of two organs: int16 and uint32 a voxel, the centres, and what describes them."""


class Maker:
    """Makes cases, and remembers how often."""

    def __init__(self) -> None:
        self.made: list[int] = []

    def __call__(self, number: int) -> Entry:
        def make() -> Case:
            self.made.append(number)
            return box_case(number, ("liver", "spleen"))

        return Entry(f"case-{number}", ("liver", "spleen"), make)


def test_a_case_is_made_once_and_read_back(tmp_path: Path) -> None:
    """With all that it was, by this cache and by the next process's."""
    entry, original = Maker(), box_case(7, ("liver", "spleen"))
    CaseCache(tmp_path, 10 * SIZE).get(entry(7))
    case = CaseCache(tmp_path, 10 * SIZE).get(entry(7))
    assert entry.made == [7]
    assert (case.name, case.organs) == (original.name, original.organs)
    np.testing.assert_array_equal(case.ct, original.ct)
    np.testing.assert_array_equal(case.bits, original.bits)
    for kept, was in zip(case.centres, original.centres, strict=True):
        np.testing.assert_array_equal(kept, was)


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    entry, cache = Maker(), CaseCache(tmp_path, 3 * SIZE)
    for age, number in enumerate((1, 2, 3)):
        cache.get(entry(number))
        os.utime(tmp_path / f"case-{number}" / "about.json", (age, age))
    cache.get(entry(1))
    cache.get(entry(4))
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) <= 3 * SIZE
    for number in (1, 3, 4):
        cache.get(entry(number))
    assert entry.made == [1, 2, 3, 4]
    cache.get(entry(2))
    assert entry.made == [1, 2, 3, 4, 2]


@pytest.mark.parametrize("damage", ["flip", "cut", "lost"])
def test_a_damaged_case_is_made_again(tmp_path: Path, damage: str) -> None:
    """Whatever happened to its files."""
    entry = Maker()
    CaseCache(tmp_path, 10 * SIZE).get(entry(1))
    path = tmp_path / "case-1" / "bits.npy"
    data = bytearray(path.read_bytes())
    data[5000] ^= 1
    path.unlink()
    if damage != "lost":
        path.write_bytes(data if damage == "flip" else data[:-1000])
    case = CaseCache(tmp_path, 10 * SIZE).get(entry(1))
    assert entry.made == [1, 1]
    np.testing.assert_array_equal(case.bits, box_case(1, ("liver", "spleen")).bits)


def test_a_case_larger_than_the_cache_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=r"case-1 takes .* MiB, the cache .*--cache-gib") as caught:
        CaseCache(tmp_path, 1000).get(Maker()(1))
    assert caught.value.reason is Reason.VOLUME_TOO_LARGE
    assert not list(tmp_path.iterdir())


def test_what_others_make_stays_and_what_the_killed_left_goes(tmp_path: Path) -> None:
    """A case that another process is writing is not evicted, however full it is; one of days ago is removed."""
    entry, cache = Maker(), CaseCache(tmp_path, 2 * SIZE)
    for name in (".new-live", ".new-killed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "about.json").write_text("{}")
    long_ago = time.time() - 2 * 24 * 3600
    os.utime(tmp_path / ".new-killed" / "about.json", (long_ago, long_ago))
    os.utime(tmp_path / ".new-killed", (long_ago, long_ago))
    os.utime(tmp_path / ".new-live", (long_ago, long_ago))
    for number in range(4):
        cache.get(entry(number))
    assert {path.name for path in tmp_path.iterdir()} == {".new-live", "case-2", "case-3"}
