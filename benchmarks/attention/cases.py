"""What is scored: the predictions of `benchmarks.labels` and the CT, also on the native grid, cut, tiled and padded."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from benchmarks.labels.case import MODELS, NETWORKS, ORGANS, SHAPE, SMOOTH, SPACING_MM, Case
from services.core import arrayfile
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.core.resample import to_grid

Voxels = npt.NDArray[np.uint8]

THREE = ("aorta", "kidney_left", "liver")
"""What both ways are given on the native grid; the plain one would need a quarter of an hour for all nine."""

_MIDDLE = (150, 125, 125)


@dataclass(frozen=True)
class Given:
    """The predictions of one volume and, on their grid, HU (k, j, i) of its CT; None where there is none."""

    ensemble: Ensemble
    ct: npt.NDArray[np.int16] | None = None


def scanned(source: str) -> Callable[[Case], Given]:
    """The predictions of one source, with the CT."""
    return lambda case: Given(case.ensemble(source), to_grid(case.ct, case.geometry, case.grid))


def native_scanned(case: Case) -> Given:
    """The native predictions with the CT on their grid."""
    ensemble = native(case)
    on_grid = to_grid(case.ct, case.geometry, case.grid)
    return Given(ensemble, _resized(on_grid, ensemble.geometry.array_shape))


def native(case: Case) -> Ensemble:
    """The smooth predictions on a grid of 512x512x300 voxels; made once and kept."""
    width, height, depth = SHAPE
    grid = _grid((depth, height, width), SPACING_MM)
    members = []
    for model, member in zip(MODELS, case.ensemble(SMOOTH).members, strict=True):
        path = case.folder / f"native-{model}.b2nd"
        if not path.exists():
            writer = arrayfile.Writer(ORGANS, "uint8", grid)
            for organ in ORGANS:
                writer.write(organ, _resized(np.asarray(member.channel(organ), np.uint8), grid.array_shape))
            path.write_bytes(writer.finish())
        members.append(arrayfile.decode(path.read_bytes()))
    return Ensemble(tuple(members))


def cut(edge: int) -> Callable[[Case], Given]:
    """A cube of the smooth predictions from the middle of the body."""

    def make(case: Case) -> Given:
        part = tuple(slice(middle - edge // 2, middle - edge // 2 + edge) for middle in _MIDDLE)
        return Given(_mapped(case.ensemble(SMOOTH), lambda channel: np.ascontiguousarray(channel[part])))

    return make


def tiled(case: Case) -> Given:
    """The native predictions five times over: 512x512x1500 voxels."""
    return Given(_mapped(native(case), lambda channel: np.concatenate([channel] * 5)))


def padded(case: Case) -> Given:
    """The smooth predictions in four times as many voxels: empty space above and before them."""
    return Given(
        _mapped(
            case.ensemble(SMOOTH),
            lambda channel: np.pad(channel, ((0, channel.shape[0]), (0, channel.shape[1]), (0, 0))),
        )
    )


WORK: dict[str, Callable[[Case], Given]] = {
    SMOOTH: scanned(SMOOTH),
    NETWORKS: scanned(NETWORKS),
    "native": native_scanned,
    "native-three": lambda case: Given(_mapped(native(case), lambda channel: channel, THREE)),
    "64": cut(64),
    "128": cut(128),
    "1500": tiled,
    "padded": padded,
}
"""By name, what is scored."""


def saturated_share(ensemble: Ensemble) -> float:
    """Share of the probabilities that are below 1/255 or above 254/255."""
    shares = [np.mean((channel == 0) | (channel >= 254)) for channel in _channels(ensemble)]
    return float(np.mean(shares))


def _channels(ensemble: Ensemble) -> Iterator[Voxels]:
    for member in ensemble.members:
        for organ in member.channels:
            yield np.asarray(member.channel(organ), np.uint8)


def _mapped(
    ensemble: Ensemble, change: Callable[[Voxels], Voxels], organs: tuple[str, ...] = tuple(ORGANS)
) -> Ensemble:
    members = []
    for member in ensemble.members:
        writer = None
        for organ in organs:
            channel = change(np.asarray(member.channel(organ), np.uint8))
            if writer is None:
                i, j, k = ensemble.geometry.spacing_mm
                writer = arrayfile.Writer(organs, "uint8", _grid(channel.shape, (i, j, k)))
            writer.write(organ, channel)
        assert writer
        members.append(arrayfile.decode(writer.finish()))
    return Ensemble(tuple(members))


def _resized(channel: npt.NDArray[Any], shape: tuple[int, int, int]) -> npt.NDArray[Any]:
    _, height, width = shape
    factors = (1, height / channel.shape[1], width / channel.shape[2])
    resized = np.empty(shape, channel.dtype)
    ndimage.zoom(channel, factors, order=1, output=resized)
    return resized


def _grid(shape: tuple[int, ...], spacing: tuple[float, float, float]) -> Geometry:
    depth, height, width = shape
    return Geometry.from_matrix((width, height, depth), np.diag([*spacing, 1.0]))
