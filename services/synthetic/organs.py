"""The nine organs of one patient, as layers (patient space, RAS mm, origin before the first lumbar vertebra)."""

import numpy as np

from services.synthetic.layers import Layer, ellipsoid, near, tube
from services.synthetic.populations import Population
from services.synthetic.shapes import Blend, Ellipsoid, Tube
from services.synthetic.tissues import ORGAN_TISSUES, Tissue

_LIVER = ORGAN_TISSUES["liver"]


def liver(rng: np.random.Generator, population: Population) -> list[Layer]:
    """A wedge under the right dome reaching across the midline, with vessels and now and then lesions."""
    right = ellipsoid(rng, (74, 2, 40), (62, 78, 72), (0, 8, 0), scale=0.06)
    tip = ellipsoid(rng, (90, 0, -8), (36, 52, 50), scale=0.14)
    left = ellipsoid(rng, (8, 50, 62), (68, 34, 34), (0, -14, 12), scale=0.1)
    caudate = ellipsoid(rng, (22, 2, 48), (18, 18, 26), scale=0.12)
    hollow = ellipsoid(rng, (10, 12, -26), (44, 62, 46), scale=0.06)
    fossa = ellipsoid(rng, (50, -48, -22), (34, 34, 52), scale=0.05)
    layers = [
        Layer(Blend((right, tip, left, caudate), 16, (hollow, fossa)), ((0, Tissue.LIVER),), 1.2, 1.2, in_cavity=True)
    ]
    confluence = near(rng, (30, -6, 84), 3)
    for tip_at in ((95, 10, 55), (60, 45, 60), (5, 50, 62), (100, -25, 40)):
        end = near(rng, tip_at, 7)
        bend = (confluence + end) / 2 + rng.normal(0, 5, 3)
        vein = Tube.through([confluence.tolist(), bend.tolist(), end.tolist()], [5.5, 4, 1.6])
        layers.append(Layer(vein, ((0, Tissue.LIVER_VESSEL),), only_over=_LIVER))
    hilum = near(rng, (42, 14, 32), 3)
    for tip_at in ((95, 5, 25), (85, 35, 50), (15, 45, 58), (90, -35, 35), (75, 30, 10)):
        end = near(rng, tip_at, 7)
        bend = (hilum + end) / 2 + rng.normal(0, 5, 3)
        branch = Tube.through([hilum.tolist(), bend.tolist(), end.tolist()], [6, 4, 1.6])
        layers.append(Layer(branch, ((0, Tissue.LIVER_VESSEL),), only_over=_LIVER))
    for _ in range(rng.choice([0, 1, 3], p=population.liver_lesions)):
        radius = rng.uniform(4, 17)
        ball = ellipsoid(rng, (75, 5, 40), (radius,) * 3, move_mm=26, scale=0.15)
        layers.append(Layer(ball, ((0, Tissue.LIVER_LESION),), bumps_mm=1.5, only_over=_LIVER))
    return layers


def spleen(rng: np.random.Generator) -> list[Layer]:
    """A crescent under the left ribs, hollow towards the stomach."""
    size = float(np.exp(rng.normal(0, 0.1)))
    body = ellipsoid(rng, (-96, -28, 44), (40 * size, 56 * size, 52 * size), (-25, 0, -10), scale=0.06)
    hollow = ellipsoid(rng, (-54, 6, 44), (38, 42, 70), (0, 0, -25), scale=0.05)
    return [Layer(Blend((body,), 1, (hollow,)), ((0, Tissue.SPLEEN),), 1.5, 1.5, in_cavity=True)]


def kidney(rng: np.random.Generator, side: str) -> list[Layer]:
    """A bean beside the psoas, upper pole leaning to the spine; `side` is "left" (patient x < 0) or "right"."""
    left = side == "left"
    sign = -1 if left else 1
    cortex, medulla, cyst = ORGAN_TISSUES[f"kidney_{side}"]
    centre = near(rng, (sign * 60, -36, -4 if left else -24), 4)
    size = float(np.exp(rng.normal(0, 0.06)))
    axes = ellipsoid(
        rng, (0, 0, 0), (27 * size, 25 * size, 53 * size), (12, sign * 12, sign * -22), move_mm=0, scale=0.05
    )
    body = Ellipsoid(centre, axes.radii, axes.axes)
    inwards = centre + np.array([-sign * 22, 9, 0])
    hilum = ellipsoid(rng, tuple(inwards), (15, 9, 15), move_mm=2, scale=0.12)
    bean = Blend((body,), 1, (hilum,))
    layers = [Layer(bean, ((0, cortex),), 2.0, 1.0)]
    for turn in range(6):  # pyramids around the sinus
        angle = turn * np.pi / 3 + rng.uniform(0, 0.5)
        spot = centre + np.array([sign * 6, 0, 0]) + np.array([0, 9 * np.sin(angle), 28 * np.cos(angle)])
        layers.append(Layer(ellipsoid(rng, tuple(spot), (9, 7, 9), move_mm=1), ((0, medulla),), only_over=(cortex,)))
    sinus = Blend((ellipsoid(rng, tuple(centre - np.array([sign * 8, -3, 0])), (13, 8, 24), move_mm=1.5), hilum), 4)
    layers.append(Layer(sinus, ((0, Tissue.RENAL_SINUS),), only_over=(cortex, medulla)))
    ureter = tube(
        rng, [tuple(inwards), (sign * 42, -24, -60), (sign * 36, -18, -110), (sign * 34, -18, -180)], [6, 3.5, 3, 3]
    )
    layers.append(Layer(ureter, ((0, Tissue.CANAL),)))
    if rng.random() < 0.25:
        radius = rng.uniform(4, 16)
        spot = centre + np.array([sign * rng.uniform(8, 22), rng.uniform(-8, 8), rng.uniform(-34, 34)])
        layers.append(Layer(Ellipsoid(spot, np.full(3, radius), np.eye(3)), ((0, cyst),), only_over=(cortex, medulla)))
    return layers


def stomach(rng: np.random.Generator) -> list[Layer]:
    """A J from the left dome to the pylorus, holding gas before fluid, food or both."""
    fill = float(np.clip(rng.normal(1.0, 0.17), 0.65, 1.35))
    line = [(-54, 0, 74), (-56, 22, 54), (-54, 44, 24), (-36, 58, 2), (-8, 58, -6), (20, 47, 2)]
    radii = [28 * fill, 29 * fill, 25 * fill, 20 * fill, 17 * fill, 11]
    tract = tube(rng, line, radii, move_mm=5, scale=0.03)
    gas_level = float(rng.uniform(25, 75))
    content = (Tissue.STOMACH_FLUID, Tissue.STOMACH_FOOD)[int(rng.random() < 0.45)]
    wall = float(rng.uniform(3.5, 6.5))
    inside = ((0.0, Tissue.STOMACH_WALL), (wall, content))
    return [Layer(tract, inside, 1.5, 2.0, gas_above=(gas_level, Tissue.STOMACH_GAS), in_cavity=True)]


def pancreas(rng: np.random.Generator) -> list[Layer]:
    """Head in the duodenal loop, neck before the mesenteric vein, body across the midline, tail towards the spleen."""
    lift = float(rng.normal(0, 6))
    line = [(37, 16, -26), (33, 22, -8), (12, 30, 2), (-18, 26, 12 + lift), (-48, 4, 24 + lift), (-74, -16, 32 + lift)]
    gland = tube(rng, line, [11, 15, 10, 11, 11.5, 8.5], move_mm=3.5, scale=0.12)
    return [Layer(gland, ((0, Tissue.PANCREAS),), 1.0, 2.2)]


def gall_bladder(rng: np.random.Generator, population: Population) -> list[Layer]:
    """A pear under the liver; some patients have none."""
    if rng.random() < population.no_gall_bladder:
        return []
    fill = float(np.exp(rng.normal(0, 0.16)))
    pear = tube(
        rng, [(60, 60, -18), (52, 46, 0), (44, 32, 14), (38, 26, 20)], [13 * fill, 14 * fill, 9 * fill, 4], move_mm=4
    )
    return [Layer(pear, ((0, Tissue.GALL_BLADDER),), 0.8, 0.8)]


def aorta(rng: np.random.Generator) -> list[Layer]:
    """Before the spine, left of the midline, down to its fork; sometimes with plaques."""
    radius = float(np.clip(rng.normal(10.5, 1.4), 8, 15))
    line = [(-24, -34, 260), (-22, -32, 180), (-17, -20, 100), (-9, -11, 40), (-8, -11, -30), (-6, -12, -112)]
    trunk = tube(rng, line, [radius * k for k in (1.2, 1.2, 1.15, 1.05, 0.95, 0.9)], move_mm=2.0, scale=0)
    fork = trunk.points[-1]
    layers = [Layer(trunk, ((0, Tissue.AORTA),), 1.2)]
    for sign in (-1, 1):
        bend, end = fork + np.array([sign * 16, 2, -30]), fork + np.array([sign * 42, -4, -95])
        iliac = Tube.through([fork.tolist(), bend.tolist(), end.tolist()], [6, 6, 5.5])
        layers.insert(0, Layer(iliac, ((0, Tissue.ARTERY),), 0.5))
    for _ in range(rng.choice([0, 4], p=[0.6, 0.4])):
        at = trunk.points[rng.integers(len(trunk.points))] + rng.normal(0, 1, 3) * (radius * 0.7, radius * 0.7, 10)
        layers.append(
            Layer(ellipsoid(rng, tuple(at), (3, 3, 5)), ((0, Tissue.AORTA_PLAQUE),), only_over=(Tissue.AORTA,))
        )
    return layers


def postcava(rng: np.random.Generator) -> list[Layer]:
    """Right of the aorta, through the back of the liver, up to the heart; two tubes make it wider than deep."""
    radius = float(np.clip(rng.normal(9.5, 1.5), 6.5, 13))
    line = [(20, -10, -114), (21, -8, -60), (22, -5, -10), (26, -4, 40), (28, -4, 80), (24, 4, 112)]
    trunk = tube(rng, line, [radius * k for k in (0.95, 0.95, 1, 1.05, 1.15, 1.15)], move_mm=2.0, scale=0)
    apart = np.array([rng.uniform(1, 4), rng.uniform(-1, 1), 0])
    twin = Blend((Tube(trunk.points - apart, trunk.radii), Tube(trunk.points + apart, trunk.radii)), 3)
    layers = [Layer(twin, ((0, Tissue.POSTCAVA),), 1.0)]
    fork = trunk.points[0]
    for sign in (-1, 1):
        bend, end = fork + np.array([sign * 16 - 6, -2, -28]), fork + np.array([sign * 42 - 8, -8, -90])
        iliac = Tube.through([fork.tolist(), bend.tolist(), end.tolist()], [7, 7, 6])
        layers.insert(0, Layer(iliac, ((0, Tissue.VEIN),), 0.5))
    return layers
