"""One synthetic patient: everything that does not depend on the scanner."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.synthetic import bowel, organs
from services.synthetic.fields import SmoothField
from services.synthetic.frame import Frame
from services.synthetic.layers import Layer
from services.synthetic.populations import GENERAL, Population
from services.synthetic.shapes import rotation
from services.synthetic.tissues import Phase, draw_hounsfield

BEND_MM = 3.2
_MOST_BENDS = 4.0


@dataclass(frozen=True)
class Patient:
    """A body in patient space and how it lies in the world.

    World RAS mm = `turn` @ (`size` * patient mm), bent by three smooth fields of standard deviation `BEND_MM`. `mean`
    and `texture` are HU by tissue value; `bumps` roughens the surfaces.
    """

    frame: Frame
    layers: tuple[Layer, ...]
    phase: Phase
    mean: NDArray[np.float32]
    texture: NDArray[np.float32]
    turn: NDArray[np.float64]
    size: NDArray[np.float64]
    bends: tuple[SmoothField, SmoothField, SmoothField]
    bumps: SmoothField

    @staticmethod
    def draw(rng: np.random.Generator, population: Population = GENERAL) -> "Patient":
        """Draw a patient."""
        frame = Frame.draw(rng, population)
        phase, mean, texture = draw_hounsfield(rng, population)
        layers = (
            *bowel.chest_and_glands(rng),
            *bowel.small_bowel(rng),
            *bowel.colon(rng),
            *organs.liver(rng, population),
            *organs.spleen(rng),
            *organs.stomach(rng),
            *bowel.duodenum(rng),
            *organs.pancreas(rng),
            *organs.kidney(rng, "left"),
            *organs.kidney(rng, "right"),
            *organs.gall_bladder(rng, population),
            *bowel.vessels(rng),
            *organs.postcava(rng),
            *organs.aorta(rng),
        )
        whole = rng.normal(population.size, 0.05)
        return Patient(
            frame=frame,
            layers=layers,
            phase=phase,
            mean=mean,
            texture=texture,
            turn=rotation(*rng.normal(0, 2.5, 3)),
            size=np.clip(whole * np.exp(rng.normal(0, 0.03, 3)), 0.85 * population.size, 1.18 * population.size),
            bends=(SmoothField.draw(rng, 70.0), SmoothField.draw(rng, 70.0), SmoothField.draw(rng, 70.0)),
            bumps=SmoothField.draw(rng, 24.0),
        )

    @property
    def reach_mm(self) -> float:
        """The furthest that bending may carry a point, for bounding boxes."""
        return BEND_MM * _MOST_BENDS
