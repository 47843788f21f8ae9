"""The case that is measured: 512x512x300, nine organs, three models; made once and kept in a folder."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from services.core import arrayfile, classmaps
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry, network_grid
from services.core.resample import to_grid
from services.synthetic import make_case

SHAPE = (512, 512, 300)
SPACING_MM = (0.7324, 0.7324, 1.5)
ORGANS = classmaps.load().organs
MODELS = ("segresnet", "swinunetr", "unet")
SMOOTH, NETWORKS = "smooth", "networks"
"""Where probabilities come from: blurred truth, nearly all of it 0 or 255, or the project's own networks."""

_SEED = 100

Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Case:
    """The case in a folder. What is asked for is read, and kept in memory."""

    folder: Path

    @cached_property
    def geometry(self) -> Geometry:
        """The CT's own grid, LPS."""
        return Geometry.from_json((self.folder / "geometry.json").read_text())

    @cached_property
    def grid(self) -> Geometry:
        """The network grid."""
        return network_grid(self.geometry)

    @cached_property
    def ct(self) -> npt.NDArray[np.int16]:
        """HU (z, y, x)."""
        voxels: npt.NDArray[np.int16] = np.load(self.folder / "ct.npy")
        return voxels

    def masks(self, name: str = "truth") -> list[Mask]:
        """One mask (z, y, x) an organ: the "truth", or a "reader" whose outlines differ from it."""
        file = arrayfile.decode((self.folder / f"{name}.b2nd").read_bytes())
        return [np.asarray(file.channel(organ), np.uint8) for organ in ORGANS]

    def ensemble(self, source: str) -> Ensemble:
        """The three models' probabilities, compressed as they are kept."""
        return Ensemble(tuple(arrayfile.decode(data) for data in self.prediction_files(source)))

    def prediction_files(self, source: str) -> list[bytes]:
        """The array file of each model."""
        return [(self.folder / f"{source}-{model}.b2nd").read_bytes() for model in MODELS]

    def probabilities(self, source: str) -> Mask:
        """The same as one array (model, organ, z, y, x)."""
        ensemble = self.ensemble(source)
        result = np.empty((len(MODELS), len(ORGANS), *self.grid.array_shape), np.uint8)
        for model, member in enumerate(ensemble.members):
            for channel, organ in enumerate(ORGANS):
                result[model, channel] = member.channel(organ)
        return result


def prepare(folder: Path, models: Path) -> Case:
    """The case in `folder`; made if it is not there, which takes minutes. `models` is the Triton repository."""
    case = Case(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "truth.b2nd").exists():
        _draw(folder)
    for name, make in (("reader", _reader), (f"{SMOOTH}-{MODELS[-1]}", _smooth)):
        if not (folder / f"{name}.b2nd").exists():
            make(case)
    if not (folder / f"{NETWORKS}-{MODELS[-1]}.b2nd").exists():
        _predict(case, models)
    return case


def _draw(folder: Path) -> None:
    matrix = np.diag([-SPACING_MM[0], -SPACING_MM[1], SPACING_MM[2], 1.0])
    middle = (np.array(SHAPE) - 1) / 2
    matrix[:3, 3] = -matrix[:3, :3] @ middle
    geometry = Geometry.from_matrix(SHAPE, matrix)
    drawn = make_case(_SEED, geometry=geometry)
    (folder / "geometry.json").write_text(geometry.to_json())
    np.save(folder / "ct.npy", drawn.ct)
    _write(folder / "truth.b2nd", [drawn.masks[organ].view(np.uint8) for organ in ORGANS], geometry)


def _reader(case: Case) -> None:
    """The truth moved by some voxels in each direction, which changes every outline."""
    shifts = np.random.default_rng(_SEED).integers(-2, 3, (len(ORGANS), 3))
    moved = [np.roll(mask, tuple(shift), (0, 1, 2)) for mask, shift in zip(case.masks(), shifts, strict=True)]
    _write(case.folder / "reader.b2nd", moved, case.geometry)


def _smooth(case: Case) -> None:
    truth = [to_grid(mask.astype(np.int16) * 1000, case.geometry, case.grid, outside=0) for mask in case.masks()]
    rng = np.random.default_rng(_SEED)
    for model in MODELS:
        shifts = rng.uniform(-1, 1, (len(ORGANS), 3))
        probabilities = []
        for mask, shift in zip(truth, shifts, strict=True):
            moved = ndimage.shift(mask.astype(np.float32) / 1000, shift, order=1)
            blurred = ndimage.gaussian_filter(moved, 1.0)
            probabilities.append(np.floor(255 * blurred.clip(0, 1)).astype(np.uint8))
        _write(case.folder / f"{SMOOTH}-{model}.b2nd", probabilities, case.grid)


def _predict(case: Case, models: Path) -> None:
    # Only the making of the case needs torch.
    from services.serving.card import load_card
    from services.serving.networks import load_network
    from services.serving.prediction import predict

    hu = to_grid(case.ct, case.geometry, case.grid)
    for model in MODELS:
        card = load_card(models / model)
        data = predict(load_network(models / model, card), hu, case.grid, card)
        (case.folder / f"{NETWORKS}-{model}.b2nd").write_bytes(data)


def _write(path: Path, arrays: list[Mask], geometry: Geometry) -> None:
    path.write_bytes(arrayfile.encode(ORGANS, arrays, geometry))
