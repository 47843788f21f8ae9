"""The priors that this service knows."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.core.errors import AtlasError, Reason
from services.uncertainty.priors.findings import Rule, Severity
from services.uncertainty.priors.rules import sides


@dataclass(frozen=True)
class Prior:
    """A rule with what people must know of it: what a finding says, from when on, and where that comes from."""

    name: str
    severity: Severity
    says: str
    threshold: str
    source: str
    rule: Rule


PRIORS = (
    Prior(
        "sides_swapped",
        Severity.ERROR,
        "A left organ (kidney, adrenal gland, lung, femur) lies nearer to the liver than its right twin.",
        f"nearer along the left-right axis by more than {sides.SWAP_MM:g} mm",
        "AbdomenAtlas-8K",
        sides.swapped,
    ),
    Prior(
        "twins_overlap",
        Severity.ERROR,
        "A left organ and its right twin share voxels.",
        "any",
        "AbdomenAtlas-8K",
        sides.overlapping,
    ),
)


def find(names: Sequence[str]) -> tuple[Prior, ...]:
    """The priors of these names in the catalog's order, all if none is named. Raises RULE_UNKNOWN."""
    unknown = sorted(set(names) - {prior.name for prior in PRIORS})
    if unknown:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"There is no rule {', '.join(repr(name[:64]) for name in unknown[:8])}.",
            field="rules",
            remedy=f"Known: {', '.join(prior.name for prior in PRIORS)}.",
        )
    return tuple(prior for prior in PRIORS if prior.name in names or not names)
