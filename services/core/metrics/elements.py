"""Area of the surface that passes between the eight voxels around a grid corner.

A surface point is a corner where eight voxels meet that are not all alike. Marching cubes puts a few flat patches
there; this is the sum of their areas, so that a surface is as large as it is and not as many voxels as it crosses. The
patches are those of google-deepmind's surface-distance, so that both give the same numbers.
"""

from functools import lru_cache
from itertools import permutations, product

import numpy as np
import numpy.typing as npt

from services.core.geometry import Triple

_Corner = tuple[int, int, int]
_CORNERS: tuple[_Corner, ...] = tuple(product((0, 1), repeat=3))  # type: ignore[arg-type]

# Voxels that are set around a corner, and the patches between them and the others: their area vectors in eighths of a
# voxel face. Turned, mirrored and with set and unset exchanged, these are all 256 neighbourhoods.
_PATTERNS: tuple[tuple[str, tuple[_Corner, ...]], ...] = (
    ("000", ((1, 1, 1),)),
    ("000 001", ((2, 2, 0), (2, 2, 0))),
    ("001 010", ((1, 1, 1), (1, 1, 1))),
    ("000 111", ((1, 1, 1), (1, 1, 1))),
    ("000 001 010", ((4, 0, 0), (2, 2, 2), (1, 1, 1))),
    ("000 001 110", ((2, 2, 0), (2, 2, 0), (1, 1, 1))),
    ("001 010 100", ((1, 1, 1), (1, 1, 1), (1, 1, 1))),
    ("000 001 010 011", ((4, 0, 0), (4, 0, 0))),
    ("000 001 010 100", ((1, 1, 1), (2, 2, 2), (2, 2, 2), (1, 1, 1))),
    ("000 001 010 111", ((4, 0, 0), (2, 2, 2), (1, 1, 1), (1, 1, 1))),
    ("000 001 110 111", ((2, 2, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0))),
    ("000 001 011 111", ((1, 1, 1), (3, 3, 3), (0, 2, 2), (2, 2, 0))),
    ("000 011 101 110", ((1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1))),
)


def element_areas_mm2(spacing_mm: Triple) -> npt.NDArray[np.float64]:
    """Area by neighbourhood, float64 (256,); `spacing_mm` along i, j and k.

    Bit `4 a + 2 b + c` of a neighbourhood is the voxel at (k, j, i) = (a, b, c) of the eight.
    """
    return _areas(spacing_mm).copy()


@lru_cache(maxsize=64)
def _areas(spacing_mm: Triple) -> npt.NDArray[np.float64]:
    i, j, k = spacing_mm
    faces_mm2 = np.array([i * j, i * k, j * k])
    areas = np.zeros(256)
    for voxels, patches in _PATTERNS:
        corners = [tuple(map(int, corner)) for corner in voxels.split()]
        for order in permutations(range(3)):
            area = np.linalg.norm(np.array(patches)[:, list(order)] / 8 * faces_mm2, axis=1).sum()
            for flip in _CORNERS:
                turned = (tuple(c[axis] ^ f for axis, f in zip(order, flip, strict=True)) for c in corners)
                code = sum(1 << 4 * a + 2 * b + c for a, b, c in turned)
                areas[[code, 255 - code]] = area
    return areas
