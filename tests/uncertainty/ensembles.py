"""Small ensembles for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from services.core import arrayfile
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.uncertainty.attention import OrganAttention

Array = npt.NDArray[Any]
Model = Mapping[str, Array]


def grid(shape: tuple[int, ...], spacing_mm: float = 1.5) -> Geometry:
    """The grid of an array of `shape` (k, j, i)."""
    k, j, i = shape
    return Geometry.from_matrix((i, j, k), np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0]))


def ensemble(models: Sequence[Model], geometry: Geometry | None = None) -> Ensemble:
    """The ensemble of models given as arrays per organ, through array files; on grids of 1.5 mm unless given one."""
    return Ensemble(
        tuple(
            arrayfile.decode(
                arrayfile.encode(list(model), list(model.values()), geometry or grid(next(iter(model.values())).shape))
            )
            for model in models
        )
    )


def whole(organ: OrganAttention, shape: tuple[int, ...]) -> Array:
    """The heat of an organ on the whole grid."""
    heat = np.zeros(shape, np.uint8)
    heat[organ.heat.slices] = organ.heat.voxels
    return heat


def blobs(
    seed: int, organs: Sequence[str], *, models: int, shape: tuple[int, int, int] = (40, 36, 44), noise: float = 0.25
) -> list[dict[str, Array]]:
    """Models that share smooth random shapes per organ and differ by smooth noise: soft borders, strays, contacts."""
    rng = np.random.default_rng(seed)

    def smooth(sigma: float) -> Array:
        field: Array = ndimage.gaussian_filter(rng.normal(size=shape), sigma)
        return field / float(field.std())

    shapes = {organ: smooth(4.0) - 1.2 for organ in organs}
    return [
        {
            organ: np.floor(255 / (1 + np.exp(-6 * (field + noise * smooth(2.5))))).astype(np.uint8)
            for organ, field in shapes.items()
        }
        for _ in range(models)
    ]
