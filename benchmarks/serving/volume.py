"""The volume that is predicted: a synthetic patient in the middle of 250 x 250 x 300 voxels of 1.5 mm."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from services.core.geometry import Geometry, network_grid
from services.core.resample import to_grid
from services.synthetic import make_case

SHAPE = (300, 250, 250)
_SEED = 77
_AIR_HU = -1024


def volume(folder: Path) -> NDArray[np.int16]:
    """int16 HU (z, y, x) on the grid of `grid_of`; generated once into `folder`."""
    path = folder / "ct.npy"
    if not path.exists():
        case = make_case(_SEED, profile="clinical")
        ct = to_grid(case.ct, case.geometry, network_grid(case.geometry))
        whole = np.full(SHAPE, _AIR_HU, np.int16)
        source, target = zip(*(_middle(n, m) for n, m in zip(ct.shape, SHAPE, strict=True)), strict=True)
        whole[target] = ct[source]
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, whole)
    stored: NDArray[np.int16] = np.load(path)
    return stored


def grid_of(ct: NDArray[np.int16]) -> Geometry:
    """Where the volume lies: voxels of 1.5 mm."""
    depth, height, width = ct.shape
    return Geometry.from_matrix((width, height, depth), np.diag([1.5, 1.5, 1.5, 1.0]))


def _middle(length: int, room: int) -> tuple[slice, slice]:
    """Where the middle of `length` voxels lies in the middle of `room`: (of those taken, of those filled)."""
    size = min(length, room)
    return slice((length - size) // 2, (length - size) // 2 + size), slice(
        (room - size) // 2, (room - size) // 2 + size
    )
