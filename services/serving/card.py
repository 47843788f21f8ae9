"""A model's card (`model.yaml`): what it is, what it takes, what it was trained on and what it reaches."""

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.core import classmaps
from services.core.errors import AtlasError, Reason
from services.serving.disk import write_whole

CARD_FILE = "model.yaml"
Triple = tuple[int, int, int]
Edge = Annotated[float, Field(ge=0.25, le=10)]
_MAX_SIDE = 512
AXIS = {"R": 0, "L": 0, "A": 1, "P": 1, "S": 2, "I": 2}
"""Along which axis of RAS+ space a letter of `axes` points."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Architecture = Literal[
    "swinunetr",
    "unetr",
    "unet",
    "segresnet",
    "genesis_unet",
    "prompted_swinunetr",
    "prompted_unet",
    "plain_conv_unet",
    "residual_encoder_unet",
]
_PLANNED = ("plain_conv_unet", "residual_encoder_unet")
"""Those whose windows follow from a plan of their own, not from halving four times."""
_HALVED_FIVE_TIMES = ("swinunetr", "prompted_swinunetr")


class Network(_Strict):
    """A network and the arguments that differ from what the card says anyway (channels, window)."""

    architecture: Architecture
    arguments: dict[str, Any] = {}


class Weights(_Strict):
    """The file with the weights, beside the card, and what it must hash to."""

    file: str = Field(pattern=r"^[0-9]+/[a-z0-9_.]+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Outputs(_Strict):
    """What the network's channels are, where they are not simply one sigmoid an organ.

    `channels` names the channels (from 0) of each organ; several are one organ's parts and add up, which only softmax
    allows. Under softmax the other channels are what is no organ of the card: background, and what is not served.
    """

    activation: Literal["sigmoid", "softmax"]
    count: int = Field(ge=1, le=1024)
    channels: dict[str, tuple[int, ...]]

    @model_validator(mode="after")
    def _consistent(self) -> "Outputs":
        taken = [channel for channels in self.channels.values() for channel in channels]
        if not all(self.channels.values()) or len(set(taken)) != len(taken):
            raise ValueError("every organ needs channels of its own")
        if any(not 0 <= channel < self.count for channel in taken):
            raise ValueError(f"channels go from 0 to {self.count - 1}")
        if self.activation == "sigmoid" and len(taken) != len(self.channels):
            raise ValueError("a sigmoid organ has one channel")
        if self.activation == "softmax" and len(taken) == self.count:
            raise ValueError("under softmax a channel must be left for the background")
        return self


class Origin(_Strict):
    """Where imported weights come from: the layout, the file's name, and what the file hashes to."""

    layout: str
    file: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Agreement(_Strict):
    """DSC by organ against a reference; organs that the reference does not have are left out of the mean."""

    reference: str
    cases: int
    mean_dsc: float
    dsc: dict[str, float]


class Card(_Strict):
    """One model.

    The network sees the network grid (`grid_spacing_mm`) averaged over `working_factor`^3 voxels, or interpolated to
    voxels of `working_spacing_mm` (z, y, x) where it was trained on others than the grid's; HU mapped from
    `hu_window` to `intensity`, in windows of `window` (z, y, x) working voxels that overlap by the share `overlap` and
    count by a gaussian of `gaussian_sigma` sides. `axes` says where the network's own three axes point, as nibabel's
    axcodes do: SAR is ours, (z, y, x) on RAS+; a network that was trained on MONAI's RAS arrays takes RAS. Where there
    is no GPU, `cpu_runtime` computes it; on one, torch does, compiled by its inductor or, as `gpu_runtime` may say, as
    it is.
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
    working_spacing_mm: tuple[Edge, Edge, Edge] | None = None
    hu_window: tuple[float, float]
    intensity: tuple[float, float] = (0.0, 1.0)
    axes: str = "SAR"
    window: Triple
    overlap: float = Field(ge=0, le=0.9)
    gaussian_sigma: float = Field(default=0.25, ge=0.05, le=1)
    outputs: Outputs | None = None
    cpu_runtime: Literal["openvino", "torch"] = "openvino"
    gpu_runtime: Literal["inductor", "eager"] = "inductor"
    weights: Weights | None = None
    licence: str | None = None
    origin: Origin | None = None
    trained_on: dict[str, Any] | None = None
    reaches: tuple[Agreement, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> "Card":
        if self.hu_window[0] >= self.hu_window[1]:
            raise ValueError("hu_window must rise")
        if self.working_spacing_mm and self.working_factor != 1:
            raise ValueError("working_factor must be 1 where working_spacing_mm is given")
        if self.intensity[0] >= self.intensity[1]:
            raise ValueError("intensity must rise")
        if sorted(AXIS.get(letter, -1) for letter in self.axes) != [0, 1, 2]:
            raise ValueError("axes must be three letters such as SAR or RAS, one for each direction of the body")
        if max(self.window) > _MAX_SIDE:
            raise ValueError(f"no side of window may be longer than {_MAX_SIDE}")
        architecture = self.network.architecture
        step = 32 if architecture in _HALVED_FIVE_TIMES else 16
        if architecture not in _PLANNED and any(side < step or side % step for side in self.window):
            raise ValueError(f"every side of {architecture}'s window must be a multiple of {step}")
        if self.outputs and tuple(self.outputs.channels) != self.organs:
            raise ValueError("outputs.channels must name the organs, in their order")
        classmaps.load(self.class_map).require(self.organs)
        return self

    @property
    def is_softmax(self) -> bool:
        """Whether the network's channels exclude each other."""
        return self.outputs is not None and self.outputs.activation == "softmax"

    @property
    def working_factors(self) -> tuple[float, float, float]:
        """The edges (z, y, x) of the network's voxels in voxels of the grid."""
        if self.working_spacing_mm is None:
            return (self.working_factor,) * 3
        z, y, x = (edge / self.grid_spacing_mm for edge in self.working_spacing_mm)
        return z, y, x

    @property
    def channels(self) -> dict[str, tuple[int, ...]]:
        """The network's channels (from 0) of each organ."""
        return self.outputs.channels if self.outputs else {organ: (i,) for i, organ in enumerate(self.organs)}

    @property
    def channel_count(self) -> int:
        """How many channels the network itself has."""
        return self.outputs.count if self.outputs else len(self.organs)


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


def load_version(folder: Path, number: int, name: str | None = None) -> Card:
    """The card of one version of the model in `folder`: its own, or for want of one that of the model."""
    own = folder / str(number)
    return load_card(own if (own / CARD_FILE).exists() else folder, name or folder.name)


def save_card(folder: Path, card: Card) -> None:
    """Write a model folder's card, whole or not at all. Raises DISK_FULL."""
    data = card.model_dump(mode="json", exclude_none=True)
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110, default_flow_style=None)
    write_whole(folder / CARD_FILE, text.encode(), "Make room.")


def weights_path(folder: Path, card: Card) -> Path:
    """The file with the weights, its digest checked. Raises MODEL_CARD_INVALID if it is missing or another one."""
    if card.weights is None:
        raise _invalid(
            folder, "This model has no weights yet.", remedy="Train it: python -m services.serving.training train."
        )
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
