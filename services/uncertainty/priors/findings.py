"""What a prior has to say."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from services.core.boxes import Boxed
from services.core.geometry import Triple
from services.uncertainty.priors.anatomy import Anatomy


class Severity(IntEnum):
    """How sure a finding is to be an error."""

    NOTICE = 1
    """Rare in patients but possible, such as a kidney three times as large as the other."""
    WARNING = 2
    """Hardly ever right."""
    ERROR = 3
    """Impossible in a patient, such as a left kidney that lies on the right."""


@dataclass(frozen=True)
class Sign:
    """What a rule noticed, in the frame of its `Anatomy`.

    `evidence` holds numbers whose names end in their unit ("volume_ml", "gap_mm", "missing_share"). `region` is 1 where
    to look; it is EMPTY if an organ is missing and its usual place is outside the field of view or taken by others.
    """

    organs: tuple[str, ...]
    severity: Severity
    message: str
    evidence: Mapping[str, float]
    region: Boxed


Rule = Callable[[Anatomy], Iterator[Sign]]
"""A prior: the signs of error that it sees, in a fixed order. Pure."""


@dataclass(frozen=True)
class Finding:
    """A sign, the name of its rule, and where it lies on the grid of the labels.

    `region` is 1 where to look, (k, j, i) on that grid; `centre_mm` is its middle in RAS+ mm, None if it is empty;
    `volume_mm3` is that of its voxels.
    """

    rule: str
    organs: tuple[str, ...]
    severity: Severity
    message: str
    evidence: Mapping[str, float]
    # An array has no truth of being equal; place and volume tell regions apart.
    region: Boxed = field(compare=False)
    centre_mm: Triple | None
    volume_mm3: float
