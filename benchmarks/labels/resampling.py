"""A CT on its own grid -> the network grid, int16 HU."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.labels.case import Case
from benchmarks.labels.measure import Contender
from services.core.resample import to_grid, warm

Ct = npt.NDArray[np.int16]


def ours(case: Case) -> Callable[[], Ct]:
    """The product's function."""
    ct = case.ct
    warm()
    return lambda: to_grid(ct, case.geometry, case.grid)


def monai(case: Case) -> Callable[[], Any]:
    """MONAI's Spacing at 1.5 mm. Its grid begins at the first voxel and not at the outer face, which costs the same."""
    import torch
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.spatial.array import Spacing

    ct, affine = case.ct, torch.tensor(case.geometry.matrix)

    def run() -> Any:
        image = MetaTensor(torch.from_numpy(ct).permute(2, 1, 0)[None].float(), affine=affine)
        return Spacing(pixdim=(1.5,) * 3, mode="bilinear", padding_mode="border", dtype=np.float32)(image)

    return run


def simpleitk(case: Case) -> Callable[[], Ct]:
    """SimpleITK's linear interpolation on the very same grid."""
    import SimpleITK

    sitk: Any = SimpleITK  # its types are partial
    image = _image(case.geometry, sitk, case.ct)
    reference = _image(case.grid, sitk)

    def run() -> Ct:
        found: Ct = sitk.GetArrayFromImage(sitk.Resample(image, reference, sitk.Transform(), sitk.sitkLinear, -1024.0))
        return found

    return run


def _image(geometry: Any, sitk: Any, voxels: Ct | None = None) -> Any:
    image = sitk.Image(list(geometry.shape), sitk.sitkInt16) if voxels is None else sitk.GetImageFromArray(voxels)
    # ITK's world is LPS.
    matrix = np.diag([-1.0, -1.0, 1.0]) @ geometry.matrix[:3]
    image.SetOrigin(matrix[:, 3].tolist())
    image.SetSpacing(geometry.spacing_mm)
    image.SetDirection((matrix[:, :3] / geometry.spacing_mm).ravel().tolist())
    return image


def _difference(case: Case, voxels: Ct) -> dict[str, Any]:
    theirs = simpleitk(case)()
    difference = np.abs(voxels.astype(np.int32) - theirs)
    # Half a voxel around the outermost centres ITK takes for outside; there this product takes the edge.
    inner = (slice(1, -1),) * 3
    return {"largest_difference_hu": int(difference[inner].max()), "mean_difference_hu": float(difference.mean())}


CONTENDERS = {"ours": Contender(ours, _difference), "monai": Contender(monai), "simpleitk": Contender(simpleitk)}
