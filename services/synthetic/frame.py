"""The body's frame: skin, fat, muscle, spine, ribs, pelvis, diaphragm and lungs, computed for whole volumes at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.synthetic.populations import Population
from services.synthetic.tissues import Tissue

Array = NDArray[np.float32]
Mask = NDArray[np.bool_]

SPINE_FRONT_MM = -28.0
_SPINE_Y = -46.0
_CANAL_Y = -71.0
_VERTEBRA_MM = 36.0
_RIB_MM = 27.0


@dataclass(frozen=True)
class Frame:
    """Measures of one trunk in mm; `dome_*` are the heights of the diaphragm above the first lumbar vertebra."""

    half_width: float
    half_depth: float
    muscle: float
    side_fat: float
    front_fat: float
    back_fat: float
    dome_right: float
    dome_left: float
    rib_phase: float
    disc_phase: float
    table_gap: float

    @staticmethod
    def draw(rng: np.random.Generator, population: Population) -> "Frame":
        """Draw a trunk between lean and stout."""
        stout = rng.beta(*population.stout)
        return Frame(
            half_width=rng.normal(124, 4),
            half_depth=rng.normal(82, 3) + 10 * stout,
            muscle=rng.uniform(7, 12),
            side_fat=5 + 28 * stout * rng.uniform(0.7, 1.2),
            front_fat=5 + 32 * stout * rng.uniform(0.6, 1.2),
            back_fat=6 + 20 * stout * rng.uniform(0.7, 1.2),
            dome_right=rng.normal(100, 5),
            dome_left=rng.normal(90, 5),
            rib_phase=rng.uniform(0, _RIB_MM),
            disc_phase=rng.uniform(0, _VERTEBRA_MM),
            table_gap=rng.uniform(3, 12),
        )

    @property
    def centre_y(self) -> float:
        """The cavity's axis."""
        return self.half_depth - 74

    def wall(self, x: Array, y: Array, outwards_mm: float = 0.0) -> Array:
        """The inner wall's level set, moved outwards: below 1 inside (dimensionless, to the power 2.4)."""
        return _oval(x, y - np.float32(self.centre_y), self.half_width + outwards_mm, self.half_depth + outwards_mm)

    def skin(self, x: Array, y: Array) -> Array:
        """The skin's level set: below 1 inside."""
        front = self.centre_y + self.half_depth + self.muscle + self.front_fat
        back = -102 - self.back_fat
        width = self.half_width + self.muscle + self.side_fat + 3
        return _oval(x, y - np.float32((front + back) / 2), width, (front - back) / 2)

    def diaphragm(self, x: Array, y: Array) -> Array:
        """Height of the diaphragm in mm over (x, y): two domes and a saddle between them."""
        ahead = y - np.float32(self.centre_y)
        right = self.dome_right - 85 * (((x - 68) / 72) ** 2 + (ahead / 88) ** 2)
        left = self.dome_left - 85 * (((x + 70) / 72) ** 2 + (ahead / 88) ** 2)
        saddle = self.dome_left - 12 - 70 * (x / 70) ** 2 - 60 * (np.minimum(ahead + 5, 0) / 60) ** 2
        return np.asarray(np.maximum(np.maximum(right, left), saddle), np.float32)


def _oval(x: Array, y: Array, half_width: float, half_depth: float) -> Array:
    u, v = np.abs(x) / np.float32(half_width), np.abs(y) / np.float32(half_depth)
    return np.asarray(u * u * np.sqrt(u) + v * v * np.sqrt(v), np.float32)


def _saw(z: Array, phase: float, period: float) -> Array:
    """Distance in mm to the nearest of planes `period` apart."""
    return np.asarray(np.abs((z + np.float32(phase)) % np.float32(period) - np.float32(period / 2)), np.float32)


def paint_frame(frame: Frame, x: Array, y: Array, z: Array, bumps: Array) -> tuple[NDArray[np.uint8], Mask]:
    """Paint everything but the viscera; return the tissue map and the abdominal cavity under the diaphragm."""
    tissues = np.full(x.shape, Tissue.AIR, np.uint8)
    skin = frame.skin(x, y) + bumps * np.float32(0.012)
    tissues[skin < 1.04] = Tissue.SKIN
    body = skin < 1.0
    tissues[body] = Tissue.FAT
    inner = frame.wall(x, y) + bumps * np.float32(0.02)
    outer = frame.wall(x, y, frame.muscle)
    inside = inner < 1
    tissues[(outer < 1) & ~inside & body] = Tissue.MUSCLE
    tissues[inside] = Tissue.MESENTERY
    height = z - frame.diaphragm(x, y) + 2 * bumps
    chest = inside & (height > 0)
    side = np.abs(x)
    medial = side + 7 * bumps
    lung = chest & (height > 3) & ((medial > 30 + 0.12 * (y - SPINE_FRONT_MM)) | (y > 75))
    tissues[chest & (height < 3)] = Tissue.MUSCLE
    tissues[lung] = Tissue.LUNG
    _paint_ribs(frame, tissues, x, y, z, inner, outer)
    _paint_back(tissues, side, y, z, body)
    _paint_spine(frame, tissues, x, y, z)
    _paint_table(frame, tissues, x, y, skin)
    return tissues, inside & (height < -1.5)


def _paint_ribs(
    frame: Frame, tissues: NDArray[np.uint8], x: Array, y: Array, z: Array, inner: Array, outer: Array
) -> None:
    shell = (inner > 0.97) & (outer < 1.02)
    level = z + 0.55 * (y + 60)
    margin = 0.95 * np.maximum(y, -60) + 30
    near = _saw(level, frame.rib_phase, _RIB_MM)
    ribs = shell & (near < 5.5) & (z > margin - 40) & (np.abs(x) > 25)
    tissues[ribs] = Tissue.CORTICAL_BONE
    tissues[ribs & (near < 2.5) & (inner > 1.02) & (outer < 0.98)] = Tissue.SPONGIOSA
    tissues[ribs & (y > 55)] = Tissue.CARTILAGE
    tissues[shell & (np.abs(x) < 16) & (y > 0) & (z > 75)] = Tissue.SPONGIOSA


def _paint_back(tissues: NDArray[np.uint8], side: Array, y: Array, z: Array, body: Mask) -> None:
    erector = ((side - 32) / 29) ** 2 + ((y + 84) / 19) ** 2 < 1
    growth = np.clip((25 - z) / 110, 0, 1)
    psoas = ((side - 33 - 12 * growth) / (5 + 19 * growth)) ** 2 + ((y + 43 - 5 * growth) / (6 + 18 * growth)) ** 2 < 1
    quadratus = (((side - 66) / 20) ** 2 + ((y + 62) / 11) ** 2 < 1) & (z < 5)
    crura = (((side - 14) / 9) ** 2 + ((y + 24) / 13) ** 2 < 1) & (z > 0) & (z < 75)
    tissues[(erector | psoas | quadratus | crura) & body] = Tissue.MUSCLE


def _paint_spine(frame: Frame, tissues: NDArray[np.uint8], x: Array, y: Array, z: Array) -> None:
    side, level = np.abs(x), _saw(z, frame.disc_phase, _VERTEBRA_MM)
    column = np.sqrt((x / 22) ** 2 + ((y - _SPINE_Y) / 17.5) ** 2)
    arch = np.sqrt((x / 17) ** 2 + ((y - _CANAL_Y) / 14) ** 2)
    at_pedicle = level < 10
    bone = (column < 1) | ((arch < 1.15) & at_pedicle) | ((side < 4) & (y < -78) & (y > -104) & (level < 13))
    bone |= (side < 40) & (np.abs(y + 70) < 4.5) & (level < 6)
    tissues[bone] = Tissue.CORTICAL_BONE
    tissues[(column < 0.88) & (level < 14)] = Tissue.SPONGIOSA
    tissues[(column < 1) & (level > 15.2)] = Tissue.DISC
    tissues[(side < 2.2) & (y < -82) & (y > -101) & (level < 11)] = Tissue.SPONGIOSA
    tissues[arch < 0.62] = Tissue.CANAL


def _paint_table(frame: Frame, tissues: NDArray[np.uint8], x: Array, y: Array, skin: Array) -> None:
    top = -102 - frame.back_fat - frame.table_gap + np.float32(9e-4) * x * x
    slab = (y < top) & (y > top - 4) & (np.abs(x) < 200) & (skin > 1.04)
    tissues[slab] = Tissue.TABLE
