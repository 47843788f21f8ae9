"""The worst input for a merge: nine organs whose ensemble is pure noise, on the very grid of the CT."""

import numpy as np

from services.core import arrayfile, classmaps
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.core.organs import Step
from services.merging.fusion import mean
from services.merging.layers import Layer, Packed
from services.merging.making import make
from services.merging.memory import needed_bytes
from services.merging.policy import Overwrite, Policy
from services.merging.precedence import Choice, Origin
from services.merging.warm import warm

GRID = Geometry((160, 160, 160), (1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0, 0.0, 0.0, 0.0, 1.5, 0.0))
MAP = classmaps.load()


def prepare() -> Ensemble:
    """One model that answers noise, with all kernels compiled."""
    warm()
    rng, writer = np.random.default_rng(0), arrayfile.Writer(MAP.organs, "uint8", GRID)
    for organ in MAP.organs:
        writer.write(organ, rng.integers(0, 256, GRID.array_shape, np.uint8))
    return Ensemble((arrayfile.decode(writer.finish()),))


def work(ensemble: Ensemble) -> int:
    """Merge as the service does, with every step, two organs from the source and what it frees reassigned."""
    choices = [
        Choice(organ, Origin.SOURCE if label in (1, 9) else Origin.AI) for label, organ in MAP.organs_by_id.items()
    ]
    layers = {}
    for choice in choices:
        mask = Packed.of(mean(ensemble, choice.organ, GRID, [1]))
        layers[choice.organ] = Layer(choice.origin, mask)
    noise = layers["aorta"].mask, layers["stomach"].mask
    layers["aorta"], layers["stomach"] = Layer(Origin.SOURCE, *noise), Layer(Origin.SOURCE, *noise[::-1])
    policy = Policy(Overwrite.REASSIGN, steps={"": (Step.SIDES, Step.ISLANDS, Step.PLAUSIBLE, Step.HOLES)})
    made = make(layers, choices, policy, MAP, GRID)
    assert made.layers["liver"].mask.voxels
    return needed_bytes(GRID, GRID, organs=len(choices), compressed_bytes=0)
