"""Versions of the model `threshold` as training leaves them, and a stream of calls to them."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from services.core import modelversions
from services.core.errors import AtlasError
from services.core.geometry import Geometry
from services.inference.model import Model
from services.inference.triton import Triton
from tests.components.processes import wait_until

GRID = Geometry((20, 18, 16), (1.5, 0, 0, -10, 0, 1.5, 0, 20, 0, 0, 1.5, 30))
CT = np.zeros(GRID.array_shape, np.int16)
CANNOT = "raise RuntimeError('no such weights')\n"
"""The code of a version that cannot be loaded."""


def add_version(folder: Path, number: int, *, served: int = 1, promoted: bool = True) -> str:
    """Another version, as training leaves it: with weights of its own, and compared with `served`. Their digest."""
    shutil.copytree(folder / "1", folder / str(number), ignore=shutil.ignore_patterns("__pycache__"))
    comparison = {
        "served": served,
        "promoted": promoted,
        "reasons": [] if promoted else ["liver regresses by 0.1 DSC."],
    }
    (folder / str(number) / "comparison.json").write_text(json.dumps(comparison))
    digest = f"{number:064x}"
    config = (folder / modelversions.CONFIG_FILE).read_text()
    line = f'parameters {{ key: "{number}/weights_sha256" value {{ string_value: "{digest}" }} }}\n'
    modelversions.write_config(folder, config + line)
    return digest


@contextmanager
def calls(address: str, *versions: str) -> Iterator[dict[str, int]]:
    """Calls one after the other to each version ("" for the newest) until the end; none may fail."""
    done, failures, stop = dict.fromkeys(versions, 0), [], threading.Event()

    def call(version: str) -> None:
        triton = Triton(address)
        while not stop.is_set():
            try:
                assert triton.infer(Model("threshold", version), CT, GRID, seconds=120)
                done[version] += 1
            except AtlasError as error:
                failures.append((version, str(error)))
                return

    threads = [threading.Thread(target=call, args=(version,)) for version in versions]
    for thread in threads:
        thread.start()
    try:
        yield done
    finally:
        stop.set()
        for thread in threads:
            thread.join(120)
    assert failures == []


def more(done: dict[str, int]) -> None:
    """Wait until every version has answered some more."""
    before = dict(done)
    wait_until(lambda: all(done[version] > before[version] + 3 for version in done), "more answers", 120)
