"""Shapes that organs do not have: flat cuts, blobs that hang on a bridge, ragged surfaces."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from services.core.boxes import Boxed, Mask
from services.core.components import components
from services.uncertainty.priors.anatomy import ML_MM3, MOST_PIECES, Anatomy, Organ, joined, shared
from services.uncertainty.priors.findings import Severity, Sign

SOLID = frozenset(
    {"bladder", "gall_bladder", "kidney_left", "kidney_right", "liver", "pancreas", "prostate", "spleen", "stomach"}
)
"""Organs with rounded ends. Vessels and bowel end where somebody decided that they end."""

CUT_MM2 = 150.0
CUT_SHARE = 0.25
_SIDES = (("I", "S"), ("P", "A"), ("L", "R"))

BRIDGE_MM = 13.0
LEAK_ML = 1.0
_COMPACT = SOLID - {"pancreas"}

RAGGED = {"bladder": 5.0, "gall_bladder": 7.0, "pancreas": 25.0, "stomach": 10.0}
_RAGGED_ELSE = 8.0
_LEAST_VOXELS = 500


def flat(anatomy: Anatomy) -> Iterator[Sign]:
    """A surface that jumps in one plane of the grid: a missing end or lobe, missing slices, slices out of place.

    The surface of a rounded organ is spread over the planes between voxels. In every plane the area that looks along
    one axis is compared with twice that of the planes around it; faces of the field of view do not count.
    """
    for organ in anatomy.present(SOLID):
        jumps = [_largest_jump(organ, axis) for axis in range(3)]
        area, share, axis, plane = max(jumps)
        # Of an organ that the field of view cuts, the rest may be small and blunt.
        least_mm2, least_share = (4 * CUT_MM2, 2 * CUT_SHARE) if organ.cut_at else (CUT_MM2, CUT_SHARE)
        if area > least_mm2 and share > max(least_share, _round_end(organ, axis)):
            yield Sign(
                (organ.name,),
                Severity.WARNING,
                f"{organ.name} is cut straight across {area / 100:.0f} cm2, inside the field of view.",
                {"flat_mm2": area, "flat_share": share},
                _slab(organ, axis, plane),
            )


def leaking(anatomy: Anatomy) -> Iterator[Sign]:
    """A part that hangs on the rest by a bridge thinner than `BRIDGE_MM`, as where a mask leaks into a neighbour."""
    for whole in anatomy.present(_COMPACT):
        organ = whole.pieces[0]
        core = _eroded(organ.blocks.solid, BRIDGE_MM / 2, organ.blocks.edges_mm)
        block_ml = float(np.prod(organ.blocks.edges_mm)) / ML_MM3
        others = components(core, least_voxels=max(1, int(np.ceil(LEAK_ML / block_ml))), most=MOST_PIECES)[1:]
        # Where the field of view cuts the part, the bridge may be thick beyond it.
        parts = [part for part in (_regrown(organ, part) for part in others) if not organ.part(part).cut_at]
        if not parts:
            continue
        volume = sum(part.count for part in parts) * anatomy.grid.voxel_volume_mm3 / ML_MM3
        yield Sign(
            (organ.name,),
            Severity.WARNING,
            f"{volume:.0f} ml of {organ.name} hang on the rest by a bridge of less than {BRIDGE_MM:.0f} mm.",
            {"leak_ml": volume, "bridge_below_mm": BRIDGE_MM},
            joined(parts),
        )


def ragged(anatomy: Anatomy) -> Iterator[Sign]:
    """A surface far too large for the volume.

    Its measure is area^3 / (36 pi volume^2), 1 for a ball; the area is that of the voxel faces divided by 1.5, which is
    right on average over all directions.
    """
    for organ in anatomy.present(SOLID):
        if organ.cut_at or organ.voxels < _LEAST_VOXELS:
            continue
        area = sum(float(planes.sum()) for planes in organ.faces_mm2) / 1.5
        ratio = area**3 / (36 * np.pi * (organ.volume_ml * ML_MM3) ** 2)
        limit = RAGGED.get(organ.name, _RAGGED_ELSE)
        if ratio > limit:
            yield Sign(
                (organ.name,),
                Severity.NOTICE,
                f"{organ.name} has a ragged surface of {area / 100:.0f} cm2 around {organ.volume_ml:.0f} ml.",
                {"roughness_ratio": ratio, "limit_ratio": limit, "surface_mm2": area},
                organ.mask,
            )


def _largest_jump(organ: Organ, axis: int) -> tuple[float, float, int, int]:
    """Area in mm^2 beyond what its surroundings explain, its share of the organ's largest section, axis and plane."""
    low, high = _SIDES[axis]
    area = organ.faces_mm2[axis].copy()
    if low in organ.cut_at:
        area[0] = 0
    if high in organ.cut_at:
        area[-1] = 0
    around = np.lib.stride_tricks.sliding_window_view(np.pad(area, 3), 7)[:, [0, 1, 2, 4, 5, 6]]
    # The second largest: a jump may have a twin beside it, where a single slice is out of place.
    jump = area - 2 * np.sort(around, axis=1)[:, -2]
    plane = int(jump.argmax())
    section = float(organ.plane_counts[axis].max() * organ.face_mm2[axis])
    return float(jump[plane]), float(jump[plane]) / section, axis, plane


def _round_end(organ: Organ, axis: int) -> float:
    """The share of its largest section that a rounded end may have in its last plane, where planes are thick.

    A cap of height h of an ellipsoid of length L has 4 h / L of its largest section; half as much again is let pass.
    """
    return 1.5 * 4 / organ.mask.voxels.shape[axis]


def _slab(organ: Organ, axis: int, plane: int) -> Boxed:
    """The organ within about 3 mm of one plane of its box."""
    reach = max(1, round(3.0 / organ.grid.spacing_mm[2 - axis]))
    low, high = max(0, plane - reach), min(organ.mask.voxels.shape[axis], plane + reach)
    part: list[slice] = [slice(None)] * 3
    part[axis] = slice(low, high)
    corner = list(organ.mask.corner)
    corner[axis] += low
    return Boxed((corner[0], corner[1], corner[2]), organ.mask.voxels[tuple(part)])


def _ball(radius_mm: float, edges_mm: tuple[float, float, float]) -> npt.NDArray[np.int64]:
    """Steps in blocks (n, 3) from the middle of a ball to all blocks in it."""
    reach = [int(radius_mm // edge) for edge in edges_mm]
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(steps[((steps * edges_mm) ** 2).sum(axis=1) <= radius_mm**2 + 1e-6])


def _eroded(solid: Mask, radius_mm: float, edges_mm: tuple[float, float, float]) -> Mask:
    """Where a ball fits; outside the array is 0."""
    steps = _ball(radius_mm, edges_mm)
    pad = np.abs(steps).max(axis=0)
    padded, result = np.pad(solid, [(n, n) for n in pad]), solid.copy()
    for step in steps:
        k, j, i = (slice(p + s, p + s + n) for p, s, n in zip(pad, step, solid.shape, strict=True))
        result &= padded[k, j, i]
    return result


def _regrown(organ: Organ, part: Boxed) -> Boxed:
    """The voxels of an organ around a part of its eroded blocks."""
    blocks = organ.blocks
    steps = _ball(BRIDGE_MM / 2 + max(blocks.edges_mm), blocks.edges_mm)
    grown = np.zeros_like(blocks.solid)
    seeds = np.argwhere(part.voxels) + part.corner
    for step in steps:
        at = seeds + step
        at = at[((at >= 0) & (at < grown.shape)).all(axis=1)]
        grown[at[:, 0], at[:, 1], at[:, 2]] = 1
    return shared(blocks.region(grown), organ.mask)
