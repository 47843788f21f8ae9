"""Training cases rendered once: CT and labels of synthetic patients on the networks' working grid."""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.synthetic import make_case


def render_cache(folder: Path, seeds: range, workers: int) -> list[Path]:
    """Render the cases of `seeds` that are missing in `folder` and return all their files.

    Each file holds `ct` int16 HU and `label` uint8 (0 or 1 + index of the organ), both (z, y, x) at 3 mm.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(partial(_render, folder), seeds, chunksize=4))


def _render(folder: Path, seed: int) -> Path:
    path = folder / f"case_{seed:07d}.npz"
    if not path.exists():
        case = make_case(seed, profile="training")
        label = np.zeros(case.ct.shape, np.uint8)
        for index, mask in enumerate(case.masks.values()):
            label[mask] = index + 1
        partial_file = path.with_suffix(".tmp.npz")
        np.savez(partial_file, ct=case.ct, label=label)
        partial_file.rename(path)
    return path


def load_case(path: Path) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Read one cached case: (ct, label)."""
    with np.load(path) as data:
        return data["ct"], data["label"]
