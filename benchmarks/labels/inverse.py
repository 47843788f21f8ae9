"""Three models' probabilities of nine organs on the network grid -> one label map on the CT's own grid."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.labels.case import MODELS, NETWORKS, ORGANS, SMOOTH, Case
from benchmarks.labels.measure import Contender
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.core.resample import to_ct_mask, warm
from services.merging.combined import paint_ranked

LabelMap = npt.NDArray[np.uint8]
_NOISE = 1e-3
"""Of the 765 of certainty: closer to the threshold, float64 and float32 may differ."""


def ours(case: Case, source: str) -> Callable[[], LabelMap]:
    """Mean, interpolation and threshold in one pass; a lower id stays where two organs meet."""
    probabilities = case.probabilities(source)
    slabs = [[(0, probabilities[:, channel])] for channel in range(len(ORGANS))]
    warm()
    _paint_warm()
    return lambda: painted(case.grid, case.geometry, slabs)


def ours_from_files(case: Case, source: str) -> Callable[[], LabelMap]:
    """The same out of compressed array files, as the merging service does it."""
    ensemble: Ensemble = case.ensemble(source)
    warm()
    _paint_warm()
    return lambda: painted(case.grid, case.geometry, [ensemble.slabs(organ) for organ in ORGANS])


def painted(grid: Geometry, ct: Geometry, slabs: list[Any]) -> LabelMap:
    """The label map of organs given by their slabs, in the order of their ids."""
    labels = np.zeros(ct.array_shape, np.uint8)
    ranks = _ranks()
    for index, organ in enumerate(slabs):
        paint_ranked(labels, to_ct_mask(organ, grid, ct, weights=[1] * len(MODELS)), index + 1, ranks)
    return labels


def monai(case: Case, source: str) -> Callable[[], LabelMap]:
    """Mean over models, then MONAI's resampling of each float channel, then argmax of those above one half."""
    import torch
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.spatial.array import SpatialResample

    probabilities = case.probabilities(source)
    affine, target = torch.tensor(case.grid.matrix), torch.tensor(case.geometry.matrix)

    def run() -> LabelMap:
        resample = SpatialResample(mode="bilinear", padding_mode="border", align_corners=False, dtype=np.float32)
        channels = []
        for channel in range(len(ORGANS)):
            mean = torch.from_numpy(probabilities[:, channel]).float().mean(0).div_(255)
            image = MetaTensor(mean.permute(2, 1, 0)[None], affine=affine)
            channels.append(resample(image, dst_affine=target, spatial_size=case.geometry.shape)[0])
        values, winners = torch.stack(channels).max(0)
        labels = torch.where(values > 0.5, winners + 1, 0).to(torch.uint8)
        return np.ascontiguousarray(np.asarray(labels).T)

    return run


def nnunet(case: Case, source: str) -> Callable[[], LabelMap]:
    """All channels at once as float32, each resized as skimage's `resize` of nnU-Net does at order 1, then argmax."""
    from scipy import ndimage

    probabilities = case.probabilities(source)
    zoom = [n / m for n, m in zip(case.geometry.array_shape, case.grid.array_shape, strict=True)]

    def run() -> LabelMap:
        mean = probabilities.astype(np.float32).mean(axis=0) / np.float32(255)
        resized = np.empty((len(ORGANS), *case.geometry.array_shape), np.float32)
        for channel in range(len(ORGANS)):
            ndimage.zoom(mean[channel], zoom, output=resized[channel], order=1, mode="nearest", grid_mode=True)
        labels = np.where(resized.max(axis=0) > 0.5, resized.argmax(axis=0) + 1, 0).astype(np.uint8)
        # The grid's axes run to R, A and S, those of the CT to L, P and S.
        return np.ascontiguousarray(labels[:, ::-1, ::-1])

    return run


def plain(case: Case, source: str) -> tuple[LabelMap, npt.NDArray[np.bool_]]:
    """The plain rendering in float64, organ by organ, and where no organ is within float noise of the threshold."""
    from scipy import ndimage

    to_grid = np.linalg.inv(case.grid.matrix) @ case.geometry.matrix
    # Parallel grids: the position along each axis depends on that axis alone.
    positions = [
        np.clip(to_grid[2 - a, 2 - a] * np.arange(n) + to_grid[2 - a, 3], 0, m - 1)
        for a, (n, m) in enumerate(zip(case.geometry.array_shape, case.grid.array_shape, strict=True))
    ]
    labels = np.zeros(case.geometry.array_shape, np.uint8)
    clear = np.ones(labels.shape, np.bool_)
    for channel, organ in enumerate(ORGANS):
        sums = np.sum([member.channel(organ) for member in case.ensemble(source).members], axis=0, dtype=np.float64)
        # Beyond a voxel around what is not 0, everything is 0.
        box = [np.flatnonzero(sums.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] + (-1, 1) for axis in range(3)]
        planes, rows, columns = (
            np.flatnonzero((p >= ends[0]) & (p <= ends[1])) for p, ends in zip(positions, box, strict=True)
        )
        for start in range(0, len(planes), 10):
            part = np.ix_(planes[start : start + 10], rows, columns)
            where = np.meshgrid(*(p[index.ravel()] for p, index in zip(positions, part, strict=True)), indexing="ij")
            values = ndimage.map_coordinates(sums, where, order=1, mode="nearest", prefilter=False)
            above = 2 * values > 255 * len(MODELS)
            labels[part] = np.where((labels[part] == 0) & above, channel + 1, labels[part])
            clear[part] &= np.abs(values - 127.5 * len(MODELS)) > _NOISE
    return labels, clear


def _agreement(case: Case, labels: LabelMap, source: str) -> dict[str, Any]:
    want, clear = plain(case, source)
    return {
        "equal": bool(np.array_equal(labels[clear], want[clear])),
        "unclear": int((~clear).sum()),
        **_digest(labels),
    }


def _kept(case: Case, labels: LabelMap, source: str) -> dict[str, Any]:
    """How many of the foreground voxels have another label than ours."""
    own = ours(case, source)()
    return {
        "differing": float((own != labels).sum() / np.count_nonzero(own)),
        "output_mb": labels.nbytes / 2**20,
    }


def _digest(labels: LabelMap) -> dict[str, Any]:
    return {"labelled": int(np.count_nonzero(labels)), "output_mb": labels.nbytes / 2**20}


def _ranks() -> npt.NDArray[np.int16]:
    table = np.full(256, np.iinfo(np.int16).max, np.int16)
    table[1 : len(ORGANS) + 1] = range(len(ORGANS))
    return table


def _paint_warm() -> None:
    from services.core.boxes import Boxed

    paint_ranked(np.zeros((1, 1, 1), np.uint8), Boxed((0, 0, 0), np.ones((1, 1, 1), np.uint8)), 1, _ranks())


CONTENDERS = {
    f"{contender.__name__}-{source}": Contender(
        partial(contender, source=source),
        partial(_agreement, source=source) if contender in (ours, ours_from_files) else partial(_kept, source=source),
    )
    for source in (SMOOTH, NETWORKS)
    for contender in (ours, ours_from_files, monai, nnunet)
}
