"""How one merge is done: the choices of `type.v1.MergePolicy` without the message."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from services.core.organs import Step, organ


class Overwrite(IntEnum):
    """Values of `MergePolicy.Overwrite`."""

    KEEP = 1
    CLEAR = 2
    REASSIGN = 3


class Fusion(IntEnum):
    """Values of `MergePolicy.Fusion`."""

    MEAN = 1
    MAJORITY = 2
    WEIGHTED = 3
    STAPLE = 4


class Readers(IntEnum):
    """Values of `MergePolicy.Readers`."""

    LATEST = 1
    MAJORITY = 2
    STAPLE = 3
    ADJUDICATED = 4


@dataclass(frozen=True)
class Policy:
    """One policy. `reliabilities` are DSC by (model, organ), `steps` by organ; the organ "" stands for all others."""

    overwrite: Overwrite = Overwrite.KEEP
    fusion: Fusion = Fusion.MEAN
    readers: Readers = Readers.LATEST
    adjudicator: str = ""
    reliabilities: Mapping[tuple[str, str], float] = field(default_factory=dict)
    steps: Mapping[str, tuple[Step, ...]] = field(default_factory=dict)

    def steps_of(self, name: str) -> tuple[Step, ...]:
        """The steps that an organ's AI mask goes through, in order."""
        for asked in (name, ""):
            if asked in self.steps:
                return self.steps[asked]
        return organ(name).steps

    def reliability(self, model: str, name: str) -> float | None:
        """DSC of "models/{model}/versions/{version}" for an organ, by the most particular entry; None without one."""
        family = model.partition("/versions/")[0]
        keys = [(model, name), (family, name), (model, ""), (family, "")]
        return next((self.reliabilities[key] for key in keys if key in self.reliabilities), None)
