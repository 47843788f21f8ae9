"""What lies around the organs and looks like them: bowel, vessels, heart, adrenals."""

import numpy as np

from services.synthetic.layers import Layer, ellipsoid, near, tube
from services.synthetic.shapes import Tube
from services.synthetic.tissues import Tissue

_CONTENTS = (Tissue.BOWEL_FLUID, Tissue.BOWEL_CONTRAST, Tissue.BOWEL_WALL, Tissue.FAECES)


def colon(rng: np.random.Generator) -> list[Layer]:
    """Ascending, transverse and descending colon with faeces and gas in changing share."""
    width = float(rng.uniform(0.8, 1.15))
    paths: list[tuple[list[tuple[float, float, float]], float]] = [
        ([(92, -2, -190), (96, -6, -100), (92, 2, -62), (88, 22, -46)], 21),
        ([(88, 24, -46), (58, 66, -52), (5, 74, -62), (-55, 66, -30), (-92, 20, 6)], 18),
        ([(-94, 16, 8), (-104, -14, -22), (-102, -22, -80), (-96, -10, -190)], 14),
    ]
    layers = []
    for line, radius in paths:
        tract = tube(rng, line, [radius * width] * len(line), move_mm=6, scale=0.1)
        haustra = tract.radii * (1 + 0.14 * np.sin(np.arange(len(tract.radii)) * 2.1 + rng.uniform(0, 6)))
        content = (Tissue.FAECES, Tissue.BOWEL_FLUID, Tissue.BOWEL_CONTRAST)[rng.choice(3, p=[0.65, 0.2, 0.15])]
        gas = (float(tract.points[:, 1].mean() + rng.uniform(-12, 18)), Tissue.BOWEL_GAS)
        fill = ((0.0, Tissue.BOWEL_WALL), (3.0, content))
        layers.append(Layer(Tube(tract.points, haustra), fill, 1.5, 2.0, gas_above=gas, in_cavity=True))
    return layers


def small_bowel(rng: np.random.Generator) -> list[Layer]:
    """Random loops in the lower abdomen and some in the left upper one, where they pass for stomach or pancreas."""
    layers = []
    for _ in range(rng.integers(20, 30)):
        home = (-45, 30, 0) if rng.random() < 0.25 else (0, 36, -85)
        start = np.asarray(home) + rng.uniform(-1, 1, 3) * ((28, 25, 22) if home[0] else (75, 38, 65))
        line = start + np.cumsum(rng.normal(0, 17, (4, 3)), axis=0) - 17
        line = np.clip(line, (-88, 0, -230), (88, 82, 18))
        radius = rng.uniform(8, 14)
        content = _CONTENTS[rng.choice(4, p=[0.45, 0.15, 0.3, 0.1])]
        gas = (float(line[:, 1].mean() + rng.uniform(0, 25)), Tissue.BOWEL_GAS)
        loop = Tube.through(line.tolist(), [radius] * 4)
        layers.append(Layer(loop, ((0, Tissue.BOWEL_WALL), (2.5, content)), 1.2, 1.5, gas_above=gas, in_cavity=True))
    return layers


def duodenum(rng: np.random.Generator) -> list[Layer]:
    """From the pylorus around the head of the pancreas and back across the midline."""
    line = [(24, 44, 4), (42, 36, 8), (56, 20, -12), (56, 8, -42), (36, 4, -64), (0, 12, -66), (-28, 18, -44)]
    tract = tube(rng, line, [11, 11, 12, 12, 11, 10, 10], move_mm=3)
    content = (Tissue.BOWEL_FLUID, Tissue.BOWEL_CONTRAST, Tissue.BOWEL_WALL)[rng.choice(3, p=[0.55, 0.1, 0.35])]
    return [Layer(tract, ((0, Tissue.BOWEL_WALL), (3, content)), 1.0, 1.2)]


def vessels(rng: np.random.Generator) -> list[Layer]:
    """Coeliac trunk, mesenteric, portal, splenic and renal vessels: bright neighbours that belong to no organ here."""
    arteries = [
        ([(-8, -6, 26), (-7, 12, 28), (-40, 2, 42), (-82, -20, 48)], [4, 3.5, 3, 2.5]),
        ([(-8, -6, 6), (-6, 16, -8), (-6, 24, -60), (0, 30, -130)], [4.5, 4, 3.5, 3]),
        ([(-9, -10, -8), (-40, -26, -8)], [3.5, 3]),
        ([(-9, -10, -14), (38, -26, -24)], [3.5, 3]),
    ]
    veins = [
        ([(6, 28, -130), (8, 24, -60), (9, 20, -14), (14, 18, 4), (30, 14, 20), (42, 14, 32)], [5, 5.5, 6, 7, 7.5, 7]),
        ([(12, 16, 4), (-20, 8, 14), (-50, -14, 26), (-82, -24, 36)], [5.5, 4.5, 4.5, 4]),
        ([(20, -4, -6), (-8, 4, -6), (-42, -24, -6)], [5, 4.5, 4.5]),
        ([(24, -6, -22), (42, -24, -22)], [5, 4.5]),
    ]
    layers = [Layer(tube(rng, line, radii, move_mm=2), ((0, Tissue.VEIN),), 0.6) for line, radii in veins]
    return layers + [Layer(tube(rng, line, radii, move_mm=2), ((0, Tissue.ARTERY),), 0.6) for line, radii in arteries]


def chest_and_glands(rng: np.random.Generator) -> list[Layer]:
    """Heart, gullet, lung vessels and adrenals."""
    heart = ellipsoid(rng, (-22, 38, 128), (58, 42, 42), (0, 25, 20))
    gullet = tube(rng, [(-6, -14, 260), (-8, -12, 130), (-14, 0, 90), (-34, 4, 76)], [7, 7, 7, 8])
    not_abdomen = (Tissue.LUNG, Tissue.MESENTERY, Tissue.MUSCLE)
    layers = [
        Layer(heart, ((0, Tissue.MUSCLE), (7, Tissue.HEART)), 2.0, 1.0, only_over=(Tissue.LUNG, Tissue.MESENTERY))
    ]
    layers.append(Layer(gullet, ((0, Tissue.BOWEL_WALL),), 1.0, only_over=not_abdomen))
    for sign in (-1, 1):
        for _ in range(12):
            end = near(rng, (sign * 78, -8, 110), 34)
            root = (sign * 34.0, 0.0, 165.0)
            bend = (np.asarray(root) + end) / 2 + rng.normal(0, 8, 3)
            vessel = Tube.through([root, bend.tolist(), end.tolist()], [5, 3, 1.2], 24.0)
            layers.append(Layer(vessel, ((0, Tissue.LUNG_VESSEL),), only_over=(Tissue.LUNG,)))
        gland = [(sign * 30, -22, 30), (sign * 36, -16, 40), (sign * 44, -26, 26)]
        layers.append(Layer(tube(rng, gland, [2.6, 3.4, 2.6]), ((0, Tissue.ADRENAL),)))
    return layers
