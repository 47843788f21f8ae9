"""The errors that networks and people make, planted into true masks: seeded, of known kind, place and size.

Each maker takes the random generator, the true masks and an organ and returns the wrong masks by organ, or None if the
anatomy does not allow this error there. Masks are boolean (k, j, i) on an axis-aligned RAS grid with `spacing`
(k, j, i) in mm.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from scipy import ndimage

from benchmarks.error_detection.cases import Array, Mask, smooth_field
from services.core.boxes import crop

Spacing = tuple[float, float, float]
Masks = Mapping[str, Mask]
Maker = Callable[[np.random.Generator, Masks, str, Spacing], dict[str, Mask] | None]


@dataclass(frozen=True)
class Planted:
    """One planted error: its kind, the models (by number) that make it, and their wrong masks by organ."""

    kind: str
    models: tuple[int, ...]
    wrong: Mapping[str, Mask]


def box_of(mask: Mask, spacing: Spacing, margin_mm: float) -> tuple[slice, ...]:
    """The box of a mask with a margin, as far as the grid goes. Raises ValueError if it is empty."""
    found = crop(mask.view(np.uint8))
    if not found.voxels.size:
        raise ValueError("an empty mask has no box")
    return tuple(
        slice(max(0, s.start - int(margin_mm / d) - 1), min(n, s.stop + int(margin_mm / d) + 2))
        for s, d, n in zip(found.slices, spacing, mask.shape, strict=True)
    )


def signed_distance(mask: Mask, spacing: Spacing) -> Array:
    """Signed distance to the border in mm, positive inside, float32."""
    inside = ndimage.distance_transform_edt(mask, spacing)
    outside = ndimage.distance_transform_edt(~mask, spacing)
    return np.where(mask, inside, -outside).astype(np.float32)


def _surface_point(rng: np.random.Generator, mask: Mask) -> Array:
    shell = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    return cast(Array, shell[rng.integers(len(shell))])


def ball(shape: tuple[int, ...], centre: Sequence[float], radii_mm: Sequence[float], spacing: Spacing) -> Mask:
    """An ellipsoid along the axes; `centre` in voxels."""
    total = np.zeros(shape, np.float32)
    for axis in range(3):
        u = (np.arange(shape[axis]) - centre[axis]) * spacing[axis] / radii_mm[axis]
        total = total + (u.astype(np.float32) ** 2).reshape([-1 if a == axis else 1 for a in range(3)])
    return total < 1


def swapped(rng: np.random.Generator, truth: Masks, organ: str, spacing: Spacing) -> dict[str, Mask] | None:
    """The two kidneys under each other's name."""
    if organ != "kidney_left" or not {"kidney_left", "kidney_right"} <= truth.keys():
        return None
    return {"kidney_left": truth["kidney_right"], "kidney_right": truth["kidney_left"]}


def truncated(rng: np.random.Generator, truth: Masks, organ: str, spacing: Spacing) -> dict[str, Mask] | None:
    """A vessel that ends too early above or below, by 12 to 45 % of its length."""
    if organ not in ("aorta", "postcava"):
        return None
    slices = np.flatnonzero(truth[organ].any(axis=(1, 2)))
    cut = round(len(slices) * rng.uniform(0.12, 0.45))
    wrong = truth[organ].copy()
    wrong[slices[-cut:] if rng.random() < 0.6 else slices[:cut]] = False
    return {organ: wrong}


def lobe(rng: np.random.Generator, truth: Masks, organ: str, spacing: Spacing) -> dict[str, Mask] | None:
    """A part of 8 to 35 % missing behind a plane, or behind a bent surface."""
    if organ in ("aorta", "postcava"):
        return None
    mask = truth[organ]
    at = np.argwhere(mask) * np.array(spacing)
    direction = rng.normal(size=3)
    along = at @ (direction / np.linalg.norm(direction))
    if rng.random() < 0.5:
        bend = smooth_field(rng, mask.shape, spacing, 40.0)[mask]
        along = along + 4 * bend
    wrong = mask.copy()
    wrong[mask] = along < np.quantile(along, 1 - rng.uniform(0.08, 0.35))
    return {organ: wrong}


def leaked(rng: np.random.Generator, truth: Masks, organ: str, spacing: Spacing) -> dict[str, Mask] | None:
    """The organ flows out over its border: a ball, or a winding tube that begins at the border."""
    mask = truth[organ]
    point = _surface_point(rng, mask).astype(float)
    step = np.array(spacing)
    centre = np.argwhere(mask).mean(axis=0)
    away = (point - centre) * step
    away /= np.linalg.norm(away) + 1e-6
    leak = np.zeros_like(mask)
    radius = rng.uniform(6, 14)
    if rng.random() < 0.4:
        middle = point + away * radius * rng.uniform(0.2, 0.8) / step
        leak |= ball(mask.shape, middle.tolist(), (radius * rng.uniform(0.7, 1.4, 3)).tolist(), spacing)
    else:
        for _ in range(rng.integers(3, 9)):
            leak |= ball(mask.shape, point.tolist(), [radius * rng.uniform(0.7, 1.0)] * 3, spacing)
            away += rng.normal(0, 0.5, 3)
            away /= np.linalg.norm(away) + 1e-6
            point = point + away * radius * 0.8 / step
    return {organ: mask | leak}


def extra(rng: np.random.Generator, truth: Masks, organ: str, spacing: Spacing) -> dict[str, Mask] | None:
    """A piece that does not belong to it, 8 to 40 mm off; as large as the organ itself where the organ is small."""
    mask = truth[organ]
    step = np.array(spacing)
    radii = rng.uniform(5, 16) * rng.uniform(0.7, 1.3, 3)
    for _ in range(20):
        direction = rng.normal(size=3)
        off = direction / np.linalg.norm(direction) * (rng.uniform(8, 40) + radii.max())
        centre = _surface_point(rng, mask) + off / step
        if not all(0 <= c < n for c, n in zip(centre, mask.shape, strict=True)):
            continue
        piece = ball(mask.shape, centre.tolist(), radii.tolist(), spacing)
        if piece.any() and not (ndimage.binary_dilation(piece, iterations=2) & mask).any():
            return {organ: mask | piece}
    return None


def astray(rng: np.random.Generator, truth: Masks, organ: str, spacing: Spacing) -> dict[str, Mask] | None:
    """A piece 40 to 160 mm away from it, as when a bladder is taken for liver; smaller than the organ."""
    mask = truth[organ]
    step = np.array(spacing)
    most = float(np.cbrt(0.8 * np.count_nonzero(mask) * np.prod(step) * 3 / (4 * np.pi)))
    radius = rng.uniform(8, 40)
    radii = min(radius, most) * rng.uniform(0.8, 1.25, 3)
    low, high = (np.array(end) * step for end in (np.argwhere(mask).min(axis=0), np.argwhere(mask).max(axis=0)))
    for _ in range(40):
        centre = rng.uniform(0, mask.shape, 3)
        gap = np.linalg.norm(np.maximum(0, np.maximum(low - centre * step, centre * step - high))) - radii.max()
        piece = ball(mask.shape, centre.tolist(), radii.tolist(), spacing) if 40 <= gap <= 160 else None
        if piece is not None and piece.any():
            return {organ: mask | piece}
    return None


def missing(rng: np.random.Generator, truth: Masks, organ: str, spacing: Spacing) -> dict[str, Mask] | None:
    """The whole organ is not there."""
    return {organ: np.zeros_like(truth[organ])}


def severed(rng: np.random.Generator, truth: Masks, organ: str, spacing: Spacing) -> dict[str, Mask] | None:
    """A gap of 5 to 9 mm across the organ, so that the largest component leaves out the smaller part."""
    mask = truth[organ]
    at = np.argwhere(mask) * np.array(spacing)
    _, axes = np.linalg.eigh(np.cov(at.T))
    along = at @ (axes[:, -1] + rng.normal(0, 0.15, 3))
    middle = np.quantile(along, rng.choice([rng.uniform(0.15, 0.4), rng.uniform(0.6, 0.85)]))
    wrong = mask.copy()
    wrong[mask] = np.abs(along - middle) > rng.uniform(2.5, 4.5)
    return {organ: wrong}


def merged(rng: np.random.Generator, truth: Masks, organ: str, spacing: Spacing) -> dict[str, Mask] | None:
    """The organ takes over what of a neighbour lies within 8 to 30 mm of it; the neighbour keeps it or loses it."""
    mask = truth[organ]
    box = box_of(mask, spacing, 32.0)
    distance = ndimage.distance_transform_edt(~mask[box], spacing)
    near = [
        other
        for other, theirs in truth.items()
        if other != organ and np.count_nonzero(theirs[box] & (distance < 4)) > 30
    ]
    if not near:
        return None
    other = str(rng.choice(near))
    taken = np.zeros_like(mask)
    taken[box] = truth[other][box] & (distance < rng.uniform(8, 30))
    wrong = {organ: mask | taken}
    if rng.random() < 0.4:
        wrong[other] = truth[other] & ~taken
    return wrong


def _moved(
    rng: np.random.Generator, truth: Masks, organ: str, spacing: Spacing, amounts: tuple[float, float]
) -> dict[str, Mask]:
    mask = truth[organ]
    box = box_of(mask, spacing, 12.0)
    distance = signed_distance(mask[box], spacing)
    point = _surface_point(rng, mask[box])
    reach = rng.uniform(18, 45)
    window = np.zeros(distance.shape, np.float32)
    for axis in range(3):
        u = (np.arange(window.shape[axis]) - point[axis]) * spacing[axis] / reach
        window = window + (u.astype(np.float32) ** 2).reshape([-1 if a == axis else 1 for a in range(3)])
    window = np.clip(2 * (1 - window), 0, 1)
    wrong = mask.copy()
    wrong[box] = distance + window * np.float32(rng.uniform(*amounts)) > 0
    return {organ: wrong}


def shifted(rng: np.random.Generator, truth: Masks, organ: str, spacing: Spacing) -> dict[str, Mask] | None:
    """Part of the border drawn 4 to 8 mm too far out."""
    return _moved(rng, truth, organ, spacing, (4.0, 8.0))


def eroded(rng: np.random.Generator, truth: Masks, organ: str, spacing: Spacing) -> dict[str, Mask] | None:
    """Part of the border drawn 4 to 9 mm too far in."""
    return _moved(rng, truth, organ, spacing, (-9.0, -4.0))


KINDS: dict[str, Maker] = {
    "swapped": swapped,
    "truncated": truncated,
    "lobe": lobe,
    "leaked": leaked,
    "extra": extra,
    "astray": astray,
    "missing": missing,
    "severed": severed,
    "merged": merged,
    "shifted": shifted,
    "eroded": eroded,
}
_WEIGHTS = {
    "swapped": 0.5, "truncated": 1.0, "lobe": 1.5, "leaked": 1.5, "extra": 0.8, "astray": 0.7,
    "missing": 0.3, "severed": 0.7, "merged": 1.0, "shifted": 1.3, "eroded": 1.3,
}  # fmt: skip


def plant(
    rng: np.random.Generator, truth: Masks, spacing: Spacing, *, models: int, errors: int, common: float = 1 / 3
) -> list[Planted]:
    """Up to `errors` errors, at most one an organ; the share `common` in all models alike, the others in one or two."""
    free = [organ for organ, mask in truth.items() if np.count_nonzero(mask) * np.prod(spacing) > 1500]
    planted: list[Planted] = []
    for _ in range(8 * errors):
        if len(planted) == errors or not free:
            break
        kinds = list(KINDS)
        weights = np.array([_WEIGHTS[kind] for kind in kinds])
        kind = str(rng.choice(kinds, p=weights / weights.sum()))
        organ = "kidney_left" if kind == "swapped" else str(rng.choice(free))
        if organ not in free:
            continue
        wrong = KINDS[kind](rng, truth, organ, spacing)
        if wrong is None or not set(wrong) <= set(free):
            continue
        if models == 1 or rng.random() < common:
            who = tuple(range(models))
        else:
            who = tuple(int(n) for n in rng.permutation(models)[: rng.integers(1, min(3, models))])
        planted.append(Planted(kind, tuple(sorted(who)), wrong))
        free = [name for name in free if name not in wrong]
    return planted
