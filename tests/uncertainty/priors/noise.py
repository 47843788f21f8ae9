"""The worst input for a check: nine organs of noise, of shells inside each other, and of stripes."""

import numpy as np

from services.core import arrayfile, classmaps
from services.core.geometry import Geometry
from services.uncertainty.checking import boxes
from services.uncertainty.memory import needed_to_check_bytes
from services.uncertainty.messages import finding_message
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.check import check
from services.uncertainty.warm import warm

GRID = Geometry((150, 150, 150), (3.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 3.0, 0.0))
ORGANS = classmaps.load().organs


def prepare() -> arrayfile.ArrayFile:
    """The label version's masks, with all kernels compiled."""
    warm()
    rng, writer = np.random.default_rng(0), arrayfile.Writer(ORGANS, "uint8", GRID)
    k, j, i = np.indices(GRID.array_shape)
    middle = np.maximum(np.maximum(abs(k - 75), abs(j - 75)), abs(i - 75))
    for organ in ORGANS:
        if organ in ("liver", "spleen"):
            mask = (middle % 4 == 0) & (middle < 74)
        elif organ == "stomach":
            mask = i % 2 == 0
        else:
            mask = rng.random(GRID.array_shape) > 0.5
        writer.write(organ, mask.astype(np.uint8))
    return arrayfile.decode(writer.finish())


def work(masks: arrayfile.ArrayFile) -> int:
    """Check as the service does."""
    anatomy = Anatomy.of(boxes(masks, lambda *_: None), masks.geometry)
    said = [finding_message(finding) for finding in check(anatomy)]
    assert said
    return needed_to_check_bytes(GRID, organs=len(ORGANS), compressed_bytes=0)
