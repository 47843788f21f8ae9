"""Whether two CTs show the same scan, although one was cropped, flipped, moved, windowed or compressed again.

The exact answer is a digest of the voxels in canonical order. The near one compares *profiles*: how many mm^2 of four
kinds of tissue the body holds, every 2 mm from feet to head. Areas in mm^2 do not change when air is cropped away, when
a header moves or mirrors the image, or when its planes are resampled; a crop along the axis is a piece of the profile.
Two patients differ in it everywhere, and so do two phases of one, which are two scans. A crop in the plane that cuts
into the body is not found.
"""

import hashlib
import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from numba import njit

from services.core.geometry import Geometry

STEP_MM = 2.0
"""Distance between samples of a profile."""
KNOTS_HU = (0, 50, 100, 150, 240)
"""Each tissue lies around a knot, the last from there on: soft without contrast, soft with it, vessels, bone. A voxel
counts for the two knots beside it in proportion to its HU. Below the first lie air, fat, table and blankets, which
croppings change; above the last, what a window of -175..250 HU takes away. A constant added to all HU moves them:
each HU makes 0.01 to 0.02 of difference, so copies are found up to 2 HU off."""
LOWEST_HU = -160
"""What is lower counts as this, as does what is above the last knot: an abdominal window takes away more seldom."""
BLOCK_MM = 4.0
"""Voxels are averaged over blocks of this size in the plane first, so that noise and compression matter little."""
NEAR = 0.06
"""Profiles that differ by less than this share are of one scan. Different patients were not seen below 0.11."""
SURE_OVERLAP_MM = 120.0
"""With less of the body in common the profiles must agree better: the limit shrinks in proportion."""
LEAST_OVERLAP_MM = 56.0
"""With less in common nothing is said."""
_CLIP_HU = (-1024, 3071)
_LEAST_MM2 = 500.0
"""A mean area of tissue below this shows no body, and what shows none is like everything else that shows none."""

Profile = npt.NDArray[np.float32]
"""Shape (samples, tissues), mm^2, from feet to head."""


@dataclass(frozen=True)
class Match:
    """How two profiles of one scan lie to each other.

    `difference` is the sum of absolute differences over the mean sum: 0 if they are equal. `overlap_mm` is the length
    of body that both show. The first sample of the second profile lies `offset_mm` above the first sample of the first.
    `is_reversed` tells that one of them runs from head to feet, as a wrong header makes it.
    """

    difference: float
    overlap_mm: float
    offset_mm: float
    is_reversed: bool


def canonical_digest(voxels: npt.NDArray[np.int16], geometry: Geometry) -> str:
    """SHA-256 of a CT's voxels (k, j, i), HU, in the order of the nearest RAS+ axes, with spacing to 1 um; hex.

    Equal for files that differ in the order of axes, origin, compression, type of number, or padding below -1024 HU.
    """
    canonical, spacing = _canonical(voxels, geometry)
    digest = hashlib.sha256(struct.pack("<3q3d", *canonical.shape, *(round(mm, 3) for mm in spacing)))
    for plane in canonical:
        digest.update(np.ascontiguousarray(np.clip(plane, *_CLIP_HU)).astype("<i2", copy=False).data)
    return digest.hexdigest()


def profile(voxels: npt.NDArray[np.int16], geometry: Geometry) -> Profile:
    """The profile of a CT, voxels (k, j, i) in HU; one sample at least."""
    canonical, (z_mm, y_mm, x_mm) = _canonical(voxels, geometry)
    block = (max(1, round(BLOCK_MM / y_mm)), max(1, round(BLOCK_MM / x_mm)))
    counts = _histograms(canonical, KNOTS_HU[-1], block)
    areas = counts @ _weights() * (y_mm * x_mm * block[0] * block[1])
    # Integrated and cut anew every 2 mm, so that the thickness of slices does not matter.
    edges = np.arange(len(areas) + 1) * z_mm
    volumes = np.vstack([np.zeros(areas.shape[1]), np.cumsum(areas * z_mm, axis=0)])
    cuts = np.arange(max(1, int(edges[-1] / STEP_MM + 1e-6)) + 1) * STEP_MM
    cut = np.stack([np.interp(cuts, edges, tissue) for tissue in volumes.T], axis=1)
    return (np.diff(cut, axis=0) / STEP_MM).astype(np.float32)


def tissue_mm3(found: Profile) -> list[float]:
    """Volumes of the four kinds of tissue that a profile tells of: a histogram of the body's HU with four bins."""
    return [float(volume) for volume in found.sum(axis=0, dtype=np.float64) * STEP_MM]


@dataclass(frozen=True)
class Sought:
    """A profile, made ready to be looked for in many others: as it is and reversed, each also half a sample on.

    Half a sample, because a crop need not begin at a multiple of 2 mm.
    """

    turns: tuple[tuple[bool, float, Profile, npt.NDArray[np.float64]], ...]

    @classmethod
    def of(cls, profile: Profile) -> "Sought":
        """Make a profile ready."""
        turns = []
        for is_reversed in (False, True):
            turned = np.ascontiguousarray(profile[::-1]) if is_reversed else profile
            for shift, samples in ((0.0, turned), (0.5, (turned[1:] + turned[:-1]) / 2)):
                turns.append((is_reversed, shift, samples, sums(samples)))
        return cls(tuple(turns))

    def within(self, first: Profile, first_sums: npt.NDArray[np.float64]) -> Match | None:
        """How the profile agrees with another one where they agree best, or None if they are not of one scan."""
        found: Match | None = None
        for is_reversed, shift, samples, of_samples in self.turns:
            limit = found.difference if found else NEAR
            difference, common, offset = _agreement(first, samples, first_sums, of_samples, limit)
            if difference < limit:
                found = Match(difference, common * STEP_MM, (offset - shift) * STEP_MM, is_reversed)
        return found


def sums(of: Profile) -> npt.NDArray[np.float64]:
    """Area of all tissues in the samples before each one, and at the end in all."""
    return np.concatenate([[0.0], np.cumsum(of.sum(axis=1, dtype=np.float64))])


def _canonical(
    voxels: npt.NDArray[np.int16], geometry: Geometry
) -> tuple[npt.NDArray[np.int16], tuple[float, float, float]]:
    """A view of (k, j, i) voxels as (z, y, x), all growing as RAS+ does, and its spacing in that order."""
    code = geometry.orientation
    axes = [next(2 - axis for axis, letter in enumerate(code) if letter in pair) for pair in ("SI", "AP", "RL")]
    turns = tuple(slice(None, None, 1 if code[2 - axis] in "RAS" else -1) for axis in axes)
    z, y, x = (geometry.spacing_mm[2 - axis] for axis in axes)
    return voxels.transpose(axes)[turns], (z, y, x)


def _weights() -> npt.NDArray[np.float64]:
    """How much a block of every whole HU from 0 to the last knot counts for each tissue, shape (HU, tissues)."""
    hu = np.arange(KNOTS_HU[-1] + 1)
    return np.stack([np.interp(hu, KNOTS_HU, np.arange(len(KNOTS_HU)) == n) for n in range(1, len(KNOTS_HU))], axis=1)


@njit(nogil=True, cache=True)
def _histograms(voxels, highest, block):  # type: ignore[no-untyped-def]
    """Per plane, how many blocks have which mean HU, clipped to 0..highest."""
    depth, height, width = voxels.shape
    rows, columns = block
    counts = np.zeros((depth, highest + 1), np.float64)
    sums = np.empty(width // columns, np.int64)
    for z in range(depth):
        for top in range(0, height - rows + 1, rows):
            sums[:] = 0
            for y in range(top, top + rows):
                for b in range(len(sums)):
                    for x in range(b * columns, (b + 1) * columns):
                        sums[b] += max(LOWEST_HU, min(highest, voxels[z, y, x]))
            for b in range(len(sums)):
                counts[z, max(0, min(highest, sums[b] // (rows * columns)))] += 1
    return counts


@njit(nogil=True, cache=True)
def _agreement(first, second, first_sums, second_sums, most):  # type: ignore[no-untyped-def]
    """(difference, samples in common, sample of the first at which the second begins) where it is least.

    The difference is 2 where it is not below `most` and the limit for short overlaps.
    """
    least = int(LEAST_OVERLAP_MM / STEP_MM)
    best, best_samples, best_offset = 2.0, 0, 0
    for offset in range(least - len(second), len(first) - least + 1):
        low, high = max(0, offset), min(len(first), offset + len(second))
        samples = high - low
        if samples < least:
            continue
        total = first_sums[high] - first_sums[low] + second_sums[high - offset] - second_sums[low - offset]
        if total / 2 < _LEAST_MM2 * samples:
            continue
        limit = min(best, most, NEAR * min(1.0, samples * STEP_MM / SURE_OVERLAP_MM)) * total / 2
        apart = 0.0
        for sample in range(low, high):
            for tissue in range(first.shape[1]):
                apart += abs(first[sample, tissue] - second[sample - offset, tissue])
            if apart >= limit:
                break
        if apart < limit:
            best, best_samples, best_offset = apart / (total / 2), samples, offset
    return best, best_samples, best_offset
