"""The constants of the calibrated profile: where doubt begins, and how evidence turns into a probability of error.

They were fitted on planted and real errors of ensembles (docs/attention.md) and lie in calibration.yaml.
"""

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from hashlib import sha256
from math import ceil, exp, floor
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field

_FILE = Path(__file__).with_name("calibration.yaml")

FEATURES = (
    "log_ml",
    "flip",
    "disagreement",
    "log_depth",
    "log_band",
    "contact_add",
    "contact_remove",
    "contact_overlap",
    "add",
    "overlap",
    "foreign_add",
    "foreign_remove",
    "core",
    "log_share",
    "log_gap",
    "found",
    "log_rank",
    "log_crowd",
    "log_case_crowd",
)


TISSUE_FEATURES = ("evidence", "side", "likeness", "odd", "log_tissue_crowd")
"""What the CT adds to `FEATURES`."""


class Family(StrEnum):
    """The kinds of candidate regions that have weights of their own."""

    DOUBT = "doubt"
    """What the models or another organ's label speak against, without a CT."""
    DOUBT_WITH_CT = "doubt_with_ct"
    LIKE = "like"
    """Tissue outside the label that looks like the organ."""
    UNLIKE = "unlike"
    """Tissue of the label that does not."""

    @property
    def features(self) -> tuple[str, ...]:
        """Those that have a weight, in a fixed order."""
        return FEATURES if self is Family.DOUBT else FEATURES + TISSUE_FEATURES


class TissueConstants(BaseModel):
    """How the CT is asked: lengths in mm, volumes in mm^3; a voxel speaks against its label from `least_nats` on.

    `average_mm` is the radius of the box that HU are averaged over, `core_mm` how far inside and outside the border the
    organ and its surroundings begin, `reach_mm` how far from the label these and its missing parts are looked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    average_mm: float = Field(ge=0, le=5)
    core_mm: float = Field(gt=0, le=10)
    reach_mm: float = Field(gt=0, le=40)
    least_nats: float = Field(gt=0, lt=4)
    least_core_mm3: float = Field(gt=0)
    least_mm3: float = Field(ge=0)


class Calibration(BaseModel):
    """Lengths in mm, volumes in mm^3; `weak`, `strong` and `core` are shares of the full sum of the models.

    With N models a voxel is strongly doubted from min(`strong`, `dissenter` / N) on. `weights` has, for each family of
    regions, an `intercept` and a weight for each of its features; `findings` the probability of error of each
    anatomical rule's findings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    open_mm: float = Field(gt=0, le=20)
    grow_mm: float = Field(ge=0, le=20)
    weak: float = Field(gt=0, lt=0.5)
    strong: float = Field(gt=0, lt=0.5)
    dissenter: float = Field(gt=0, le=1)
    core: float = Field(gt=0, lt=1)
    least_mm3: float = Field(ge=0)
    least_probability: float = Field(gt=0, lt=1)
    tissue: TissueConstants
    weights: Mapping[Family, Mapping[str, float]]
    findings: Mapping[str, float]

    def model_post_init(self, context: object) -> None:
        """Raise ValueError unless every feature has a weight and every probability is one."""
        for family in Family:
            if set(self.weights.get(family, ())) != {"intercept", *family.features}:
                raise ValueError(f"weights of {family} are expected of intercept, {', '.join(family.features)}")
        if not all(0 <= probability <= 1 for probability in self.findings.values()):
            raise ValueError("probabilities of findings lie between 0 and 1")

    def weak_sum(self, models: int) -> int:
        """From which sum of uint8 probabilities on a voxel is doubted at all."""
        return ceil(self.weak * 255 * models)

    def strong_sum(self, models: int) -> int:
        """From which sum on it is strongly doubted: by one model of few, or by some of many."""
        return ceil(min(self.strong, self.dissenter / models) * 255 * models)

    def core_sum(self, models: int) -> int:
        """From which sum on the ensemble is nearly undecided."""
        return ceil(self.core * 255 * models)

    def probability(self, family: Family, features: Mapping[str, float]) -> float:
        """That the label is wrong in a region of these features: a logistic regression."""
        weights = self.weights[family]
        logit = weights["intercept"] + sum(weights[name] * features[name] for name in family.features)
        return 1 / (1 + exp(-min(max(logit, -700.0), 700.0)))


def radii(spacing_mm: tuple[float, float, float], mm: float) -> tuple[int, int, int]:
    """Radius in voxels along k, j and i of a box of `mm`; spacing along k, j and i."""
    k, j, i = (floor(mm / spacing + 0.25) for spacing in spacing_mm)
    return k, j, i


@cache
def digest() -> str:
    """Short digest of the calibration that ships: maps of another one are other maps."""
    return sha256(_FILE.read_bytes()).hexdigest()[:12]


@cache
def load() -> Calibration:
    """The calibration that ships."""
    return Calibration.model_validate(yaml.safe_load(_FILE.read_text()))
