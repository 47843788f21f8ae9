"""What Triton says about a model, and what a caller must know of it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from services.core import classmaps
from services.core.errors import AtlasError, Reason
from services.core.names import content_id

MIN_SPACING_MM, MAX_SPACING_MM = 0.25, 10.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Card:
    """The facts in the `parameters` of a model's config.pbtxt."""

    architecture: str
    organs: tuple[str, ...]
    """In channel order."""
    class_map: str
    spacing_mm: float
    """Voxel edge of the grid on which it takes a CT and answers."""
    weights_sha256: str
    digest: str
    """Follows from all parameters but `dsc`: the same weights give other answers under another window or overlap."""
    dsc: Mapping[str, float] = field(default_factory=dict)
    """Measured, by organ; those that were not are left out."""


@dataclass(frozen=True)
class Model:
    """One version of a model that Triton knows. It is ready if it has a card; otherwise `fault` says why not."""

    model: str
    version: str
    card: Card | None = None
    fault: AtlasError | None = None
    superseded: bool = False
    """Whether a newer version is ready too."""

    @property
    def name(self) -> str:
        """Resource name."""
        return f"models/{self.model}/versions/{self.version}"

    def require_card(self) -> Card:
        """The card of a model that is ready. Raises `fault` (MODEL_CARD_INVALID or MODEL_NOT_READY) otherwise."""
        if self.card is None:
            raise self.fault or AtlasError(
                Reason.MODEL_NOT_READY,
                f"{self.name} is not ready.",
                field="model",
                remedy="Wait until Triton has loaded it.",
            )
        return self.card


def of_version(parameters: Mapping[str, str], version: str) -> dict[str, str]:
    """The parameters of one version: the common ones, and over them its own, such as "2/weights_sha256"."""
    own = {key.removeprefix(f"{version}/"): value for key, value in parameters.items() if key.startswith(f"{version}/")}
    return {key: value for key, value in parameters.items() if "/" not in key} | own


def card(parameters: Mapping[str, str], model: str) -> Card:
    """The card in a model's configuration parameters. Raises MODEL_CARD_INVALID, naming the parameter."""

    def need(key: str) -> str:
        value = parameters.get(key, "").strip()
        if not value:
            raise _invalid(model, key, "is missing")
        return value

    try:
        class_map = classmaps.load(need("class_map"))
    except AtlasError as error:
        raise (
            error if error.reason is Reason.MODEL_CARD_INVALID else _invalid(model, "class_map", "is not known")
        ) from error
    organs = tuple(organ.strip() for organ in need("organs").split(","))
    unknown = sorted(set(organs) - set(class_map.organs))
    if unknown:
        raise _invalid(model, "organs", f"names {', '.join(unknown)!r}, which {class_map.name} does not know")
    if len(set(organs)) != len(organs):
        raise _invalid(model, "organs", "names an organ twice")
    weights = need("weights_sha256")
    if not _SHA256.fullmatch(weights):
        raise _invalid(model, "weights_sha256", "is not a SHA-256 in lower-case hex")
    spacing_mm = _spacing(need("grid_spacing_mm"), model)
    answers = sorted((key, value) for key, value in parameters.items() if key != "dsc")
    digest = content_id(*(part for item in answers for part in item))
    dsc = _dsc(parameters.get("dsc", ""), model)
    return Card(need("architecture"), organs, class_map.name, spacing_mm, weights, digest, dsc)


def _dsc(text: str, model: str) -> dict[str, float]:
    """The numbers of "liver=0.96,spleen=0.9"."""
    found = {}
    for entry in filter(None, text.split(",")):
        organ, _, value = entry.partition("=")
        try:
            found[organ.strip()] = float(value)
        except ValueError:
            found[organ.strip()] = math.nan
        if not 0 <= found[organ.strip()] <= 1:
            raise _invalid(model, "dsc", "must be numbers from 0 to 1 by organ")
    return found


def _spacing(text: str, model: str) -> float:
    try:
        spacing = float(text)
    except ValueError:
        spacing = math.nan
    if not MIN_SPACING_MM <= spacing <= MAX_SPACING_MM:
        raise _invalid(model, "grid_spacing_mm", f"must be a number from {MIN_SPACING_MM} to {MAX_SPACING_MM}")
    return spacing


def _invalid(model: str, key: str, fault: str) -> AtlasError:
    return AtlasError(
        Reason.MODEL_CARD_INVALID,
        f"The parameter {key} of model {model} {fault}.",
        field=f"{model}/config.pbtxt",
        remedy="Mend the parameters in the model's config.pbtxt and load it again.",
    )
