"""A model's card (`model.yaml`): what it is, what it takes, what it was trained on and what it reaches."""

import hashlib
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.core import classmaps
from services.core.errors import AtlasError, Reason

CARD_FILE = "model.yaml"
Triple = tuple[int, int, int]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Network(_Strict):
    """A MONAI network and the arguments that differ from what the card says anyway (channels, window)."""

    architecture: Literal["swinunetr", "unetr", "unet", "segresnet"]
    arguments: dict[str, Any] = {}


class Weights(_Strict):
    """The file with the weights, beside the card, and what it must hash to."""

    file: str = Field(pattern=r"^[0-9]+/[a-z0-9_.]+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Agreement(_Strict):
    """DSC by organ against a reference; organs that the reference does not have are left out of the mean."""

    reference: str
    cases: int
    mean_dsc: float
    dsc: dict[str, float]


class Card(_Strict):
    """One model.

    The network sees the network grid (`grid_spacing_mm`) averaged over `working_factor`^3 voxels, HU mapped from
    `hu_window` to [0, 1], in windows of `window` (z, y, x) working voxels that overlap by the share `overlap`. Where
    there is no GPU, `cpu_runtime` computes it.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")
    label: str
    summary: str
    intended_use: str
    network: Network
    class_map: str
    organs: tuple[str, ...] = Field(min_length=1)
    grid_spacing_mm: float = Field(gt=0)
    working_factor: int = Field(ge=1, le=4)
    hu_window: tuple[float, float]
    window: Triple
    overlap: float = Field(ge=0, le=0.9)
    cpu_runtime: Literal["openvino", "torch"] = "openvino"
    weights: Weights | None = None
    trained_on: dict[str, Any] | None = None
    reaches: tuple[Agreement, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "Card":
        if self.hu_window[0] >= self.hu_window[1]:
            raise ValueError("hu_window must rise")
        if any(side < 16 or side % 16 for side in self.window):
            raise ValueError("every side of window must be a multiple of 16")
        classmaps.load(self.class_map).require(self.organs)
        return self


def load_card(folder: Path, name: str | None = None) -> Card:
    """Read and check the card of model `name` (None: the folder's name). Raises MODEL_CARD_INVALID naming the entry."""
    path = folder / CARD_FILE
    try:
        card = Card.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise _invalid(folder, f"The card cannot be read: {error.strerror}.") from error
    except yaml.YAMLError as error:
        raise _invalid(folder, "The card is not YAML.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "card"
        raise _invalid(folder, f"{place}: {first['msg']}.") from error
    except AtlasError as error:
        raise _invalid(folder, error.message) from error
    expected = name or folder.name
    if card.name != expected:
        raise _invalid(folder, f"The card is of {card.name!r}, the model is called {expected!r}.")
    return card


def save_card(folder: Path, card: Card) -> None:
    """Write a model folder's card."""
    data = card.model_dump(mode="json", exclude_none=True)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    (folder / CARD_FILE).write_text(text)


def weights_path(folder: Path, card: Card) -> Path:
    """The file with the weights, its digest checked. Raises MODEL_CARD_INVALID if it is missing or another one."""
    if card.weights is None:
        raise _invalid(folder, "This model has no weights yet.", remedy="Train it: python -m services.serving.train.")
    path = folder / card.weights.file
    if not path.is_file():
        raise _invalid(folder, f"The weights {card.weights.file} are missing.")
    found = file_digest(path)
    if found != card.weights.sha256:
        raise _invalid(folder, f"The weights hash to {found[:12]}..., the card says {card.weights.sha256[:12]}....")
    return path


def file_digest(path: Path) -> str:
    """SHA-256 of a file, lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _invalid(folder: Path, message: str, *, remedy: str = "Restore the model folder as it was released.") -> AtlasError:
    return AtlasError(Reason.MODEL_CARD_INVALID, message, field=f"{folder.name}/{CARD_FILE}", remedy=remedy)
