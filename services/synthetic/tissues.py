"""What the synthetic body is made of: for each tissue its organ and its HU in four contrast phases."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from services.synthetic.populations import Population

Phase = Literal["native", "arterial", "portal", "delayed"]
PHASES: tuple[Phase, ...] = ("native", "arterial", "portal", "delayed")


class Tissue(IntEnum):
    """One value per voxel; the order means nothing."""

    AIR = 0
    FAT = 1
    SKIN = 2
    MUSCLE = 3
    LUNG = 4
    LUNG_VESSEL = 5
    HEART = 6
    CORTICAL_BONE = 7
    SPONGIOSA = 8
    DISC = 9
    CANAL = 10
    CARTILAGE = 11
    TABLE = 12
    MESENTERY = 13
    BOWEL_WALL = 14
    BOWEL_FLUID = 15
    BOWEL_CONTRAST = 16
    BOWEL_GAS = 17
    FAECES = 18
    ARTERY = 19
    VEIN = 20
    ADRENAL = 21
    RENAL_SINUS = 22
    LIVER = 23
    LIVER_VESSEL = 24
    LIVER_LESION = 25
    SPLEEN = 26
    STOMACH_WALL = 27
    STOMACH_FLUID = 28
    STOMACH_FOOD = 29
    STOMACH_GAS = 30
    KIDNEY_LEFT_CORTEX = 31
    KIDNEY_LEFT_MEDULLA = 32
    KIDNEY_LEFT_CYST = 33
    KIDNEY_RIGHT_CORTEX = 34
    KIDNEY_RIGHT_MEDULLA = 35
    KIDNEY_RIGHT_CYST = 36
    GALL_BLADDER = 37
    PANCREAS = 38
    AORTA = 39
    AORTA_PLAQUE = 40
    POSTCAVA = 41


ORGAN_TISSUES: dict[str, tuple[Tissue, ...]] = {
    "aorta": (Tissue.AORTA, Tissue.AORTA_PLAQUE),
    "gall_bladder": (Tissue.GALL_BLADDER,),
    "kidney_left": (Tissue.KIDNEY_LEFT_CORTEX, Tissue.KIDNEY_LEFT_MEDULLA, Tissue.KIDNEY_LEFT_CYST),
    "kidney_right": (Tissue.KIDNEY_RIGHT_CORTEX, Tissue.KIDNEY_RIGHT_MEDULLA, Tissue.KIDNEY_RIGHT_CYST),
    "liver": (Tissue.LIVER, Tissue.LIVER_VESSEL, Tissue.LIVER_LESION),
    "pancreas": (Tissue.PANCREAS,),
    "postcava": (Tissue.POSTCAVA,),
    "spleen": (Tissue.SPLEEN,),
    "stomach": (Tissue.STOMACH_WALL, Tissue.STOMACH_FLUID, Tissue.STOMACH_FOOD, Tissue.STOMACH_GAS),
}


@dataclass(frozen=True)
class Look:
    """Mean HU by phase, how far the mean varies between patients, and the texture inside one patient (HU)."""

    native: float
    arterial: float
    portal: float
    delayed: float
    between: float = 4.0
    texture: float = 3.0


def _same(hu: float, between: float = 4.0, texture: float = 3.0) -> Look:
    return Look(hu, hu, hu, hu, between, texture)


_KIDNEY_CORTEX = Look(33, 175, 185, 160, 14, 5)
_KIDNEY_MEDULLA = Look(31, 80, 165, 155, 14, 6)
_CYST = _same(8, 6)

LOOKS: dict[Tissue, Look] = {
    Tissue.AIR: _same(-1000, 0, 1),
    Tissue.FAT: _same(-104, 5, 5),
    Tissue.SKIN: _same(-10, 10),
    Tissue.MUSCLE: Look(52, 57, 63, 60, 6, 7),
    Tissue.LUNG: _same(-850, 35, 25),
    Tissue.LUNG_VESSEL: _same(-180, 60, 20),
    Tissue.HEART: Look(42, 230, 150, 115, 15, 5),
    Tissue.CORTICAL_BONE: _same(480, 90, 60),
    Tissue.SPONGIOSA: _same(190, 45, 35),
    Tissue.DISC: _same(85, 12, 6),
    Tissue.CANAL: _same(25, 8, 4),
    Tissue.CARTILAGE: _same(120, 30, 12),
    Tissue.TABLE: _same(-150, 80, 10),
    Tissue.MESENTERY: _same(-75, 12, 18),
    Tissue.BOWEL_WALL: Look(38, 80, 92, 75, 10, 6),
    Tissue.BOWEL_FLUID: _same(18, 10, 8),
    Tissue.BOWEL_CONTRAST: _same(230, 80, 15),
    Tissue.BOWEL_GAS: _same(-880, 60, 10),
    Tissue.FAECES: _same(-10, 35, 70),
    Tissue.ARTERY: Look(42, 290, 155, 115, 15, 4),
    Tissue.VEIN: Look(42, 80, 170, 118, 12, 4),
    Tissue.ADRENAL: Look(25, 65, 70, 60, 8, 4),
    Tissue.RENAL_SINUS: _same(-55, 25, 15),
    Tissue.LIVER: Look(57, 68, 108, 97, 10, 5),
    Tissue.LIVER_VESSEL: Look(44, 70, 155, 116, 10, 4),
    Tissue.LIVER_LESION: Look(30, 40, 55, 55, 18, 8),
    Tissue.SPLEEN: Look(48, 112, 122, 104, 9, 5),
    Tissue.STOMACH_WALL: Look(40, 78, 90, 78, 8, 7),
    Tissue.STOMACH_FLUID: _same(15, 12, 8),
    Tissue.STOMACH_FOOD: _same(35, 30, 45),
    Tissue.STOMACH_GAS: _same(-920, 40, 8),
    Tissue.KIDNEY_LEFT_CORTEX: _KIDNEY_CORTEX,
    Tissue.KIDNEY_LEFT_MEDULLA: _KIDNEY_MEDULLA,
    Tissue.KIDNEY_LEFT_CYST: _CYST,
    Tissue.KIDNEY_RIGHT_CORTEX: _KIDNEY_CORTEX,
    Tissue.KIDNEY_RIGHT_MEDULLA: _KIDNEY_MEDULLA,
    Tissue.KIDNEY_RIGHT_CYST: _CYST,
    Tissue.GALL_BLADDER: _same(10, 8, 4),
    Tissue.PANCREAS: Look(38, 98, 92, 78, 10, 11),
    Tissue.AORTA: Look(42, 310, 160, 116, 15, 4),
    Tissue.AORTA_PLAQUE: _same(420, 150, 30),
    Tissue.POSTCAVA: Look(41, 75, 140, 116, 15, 6),
}

_TWINS = {
    Tissue.KIDNEY_RIGHT_CORTEX: Tissue.KIDNEY_LEFT_CORTEX,
    Tissue.KIDNEY_RIGHT_MEDULLA: Tissue.KIDNEY_LEFT_MEDULLA,
}


def draw_hounsfield(
    rng: np.random.Generator, population: Population
) -> tuple[Phase, NDArray[np.float32], NDArray[np.float32]]:
    """Draw a patient's contrast phase and per tissue (by value) the mean HU and the texture's standard deviation.

    The means lie between the drawn phase and its neighbour, since no injection is timed twice alike.
    """
    phase = PHASES[rng.choice(4, p=population.phases)]
    towards = PHASES[int(np.clip(PHASES.index(phase) + rng.integers(-1, 2), 0, 3))]
    share = 0.0 if phase == "native" else float(rng.uniform(0, 0.4)) * (towards != "native")
    shifts = {tissue: float(rng.standard_normal()) for tissue in LOOKS}
    shifts |= {twin: shifts[tissue] for twin, tissue in _TWINS.items()}
    mean = np.zeros(len(Tissue), np.float32)
    texture = np.zeros(len(Tissue), np.float32)
    for tissue, look in LOOKS.items():
        mean[tissue] = (
            (1 - share) * getattr(look, phase) + share * getattr(look, towards) + look.between * shifts[tissue]
        )
        texture[tissue] = look.texture
    if rng.random() < population.fatty_liver:  # a fatty liver: darker than the spleen, its vessels stay bright
        mean[Tissue.LIVER] -= rng.uniform(10, 45)
    return phase, mean, texture


def organ_mask(tissues: NDArray[np.uint8], organ: str) -> NDArray[np.bool_]:
    """Boolean mask of one organ in a tissue map."""
    table = np.zeros(256, np.bool_)
    table[list(ORGAN_TISSUES[organ])] = True
    return table[tissues]
