"""Cases on this machine's disk, within a bound: the least recently used go first, and damaged ones are made again."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from services.core.errors import AtlasError, Reason
from services.serving.disk import SCRATCH, remove_leftovers, room_for
from services.serving.training.case import Case

_ABOUT = "about.json"
_ARRAYS = ("ct", "bits", "centres")
_OVERHEAD = 4096
"""Bytes of a case's headers and description, at most."""


@dataclass(frozen=True)
class Entry:
    """A case that can be made: `key` follows from what it is made of, `organs` are those that its source looked for."""

    key: str
    organs: tuple[str, ...]
    make: Callable[[], Case]


class CaseCache:
    """A folder of cases, of at most `max_bytes`. Several processes may share it."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._max_bytes = folder, max_bytes
        self._checked: set[str] = set()

    def get(self, entry: Entry) -> Case:
        """The case, whose voxels are read from disk as they are asked for; made if it is missing or damaged.

        Raises VOLUME_TOO_LARGE if it is larger than the whole cache, DISK_FULL, and what making it raises.
        """
        return self._read(entry.key) or self._add(entry.key, entry.make())

    def _read(self, key: str) -> Case | None:
        folder = self._folder / key
        try:
            about = json.loads((folder / _ABOUT).read_text())
            if key not in self._checked and about["sha256"] != {name: _digest(folder, name) for name in _ARRAYS}:
                return None
            os.utime(folder / _ABOUT)
            ct, bits, centres = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS)
        except (OSError, ValueError, KeyError):
            return None
        self._checked.add(key)
        ends = np.cumsum(about["centres"])[:-1]
        return Case(about["name"], ct, bits, tuple(about["organs"]), tuple(np.split(centres, ends)))

    def _add(self, key: str, case: Case) -> Case:
        arrays = (case.ct, case.bits, np.concatenate([*case.centres, np.empty((0, 3), np.int32)]))
        needed = sum(array.nbytes for array in arrays) + _OVERHEAD
        if needed > self._max_bytes:
            raise AtlasError(
                Reason.VOLUME_TOO_LARGE,
                f"{case.name} takes {needed / 2**20:.0f} MiB, the cache {self._max_bytes / 2**20:.0f} MiB.",
                field="cache",
                remedy="Give the cache more with --cache-gib.",
            )
        self._make_room(needed)
        part = Path(tempfile.mkdtemp(dir=self._folder, prefix=SCRATCH))
        try:
            with room_for(self._folder):
                for name, array in zip(_ARRAYS, arrays, strict=True):
                    np.save(part / f"{name}.npy", array)
                about = {
                    "name": case.name,
                    "organs": case.organs,
                    "centres": [len(voxels) for voxels in case.centres],
                    "sha256": {name: _digest(part, name) for name in _ARRAYS},
                }
                (part / _ABOUT).write_text(json.dumps(about))
            shutil.rmtree(self._folder / key, ignore_errors=True)
            try:
                part.rename(self._folder / key)
            except OSError:
                # Another process was quicker with the same case.
                if not (self._folder / key / _ABOUT).exists():
                    raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return case

    def _make_room(self, needed: int) -> None:
        ages: list[tuple[float, int, Path]] = []
        remove_leftovers(self._folder)
        for about in self._folder.glob(f"*/{_ABOUT}"):
            # Somebody is making it.
            if about.parent.name.startswith(SCRATCH):
                continue
            try:
                size = sum(file.stat().st_size for file in about.parent.iterdir())
                ages.append((about.stat().st_mtime, size, about.parent))
            except FileNotFoundError:
                continue
        used = sum(size for _, size, _ in ages)
        for _, size, folder in sorted(ages):
            if used + needed <= self._max_bytes:
                return
            # What another process has mapped stays readable until it lets go.
            shutil.rmtree(folder, ignore_errors=True)
            used -= size


class CachedCases(Sequence[Case]):
    """Cases by number, each read or made when it is asked for."""

    def __init__(self, cache: CaseCache, entries: Sequence[Entry]) -> None:
        self.entries = entries
        self._cache = cache

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, number: int) -> Case:  # type: ignore[override] # nobody asks for slices
        return self._cache.get(self.entries[number])


def _digest(folder: Path, name: str) -> str:
    with (folder / f"{name}.npy").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
