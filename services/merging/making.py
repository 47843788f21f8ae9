"""From the masks of a volume's organs to the arrays of its label version, without storage."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.core.arrayfile import Writer
from services.core.classmaps import ClassMap
from services.core.geometry import Geometry
from services.merging.combined import paint_ranked, ranks
from services.merging.layers import Layers
from services.merging.overwriting import OVERWRITERS
from services.merging.policy import Policy
from services.merging.postprocess import process
from services.merging.precedence import Choice
from services.merging.sources import Counts, Source, sources, to_source_map

COMBINED, SOURCES = "combined_labels", "sources"


@dataclass(frozen=True)
class Made:
    """The organs as they are now, the array files of masks and of combined labels with their source map, and what the
    values of that map mean and how many voxels have them.
    """

    layers: Layers
    masks: bytes
    combined: bytes
    sources: dict[Source, int]
    voxels: Counts


def make(layers: Layers, choices: Sequence[Choice], policy: Policy, class_map: ClassMap, grid: Geometry) -> Made:
    """Post-process what comes from AI, settle who gets a voxel, and paint.

    `choices` are those of the `layers`, in their order.
    """
    done = OVERWRITERS[policy.overwrite](process(layers, policy, grid), grid)
    masks = Writer(list(done), "uint8", grid)
    labels = np.zeros(grid.array_shape, np.uint8)
    table = ranks(choices, class_map)
    for organ, layer in done.items():
        mask = layer.mask.mask
        masks.write(organ, mask.voxels, mask.corner)
        paint_ranked(labels, mask, class_map.id_of(organ), table)
    combined = Writer([COMBINED, SOURCES], "uint8", grid)
    combined.write(COMBINED, labels)
    values = sources(choices, done)
    voxels = to_source_map(labels, choices, done, values, class_map)
    combined.write(SOURCES, labels)
    return Made(done, masks.finish(), combined.finish(), values, voxels)
