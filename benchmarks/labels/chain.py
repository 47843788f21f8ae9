"""All of one case's way that is no network, from the imported files to the released ones.

Read the CT and the source's liver, and what tells duplicates; network grid; keep and read each model's probabilities;
attention of the parity profile; merge on the CT's grid as the product does by default, post-processing and source map
included; write the label files with the CT and checksums. The networks' outputs are given as arrays, one model at a
time. The straightforward way does less: no fingerprint, no post-processing but the largest component, no source map.
"""

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from benchmarks.labels.case import MODELS, NETWORKS, ORGANS, Case
from benchmarks.labels.measure import Contender
from services.core import arrayfile, classmaps, fingerprint, nifti
from services.core.boxes import crop
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry, network_grid
from services.core.resample import to_grid
from services.merging.fusion import mean
from services.merging.layers import Layer, Packed
from services.merging.making import Made, make
from services.merging.policy import Policy
from services.merging.precedence import Given, Origin, choose
from services.merging.warm import warm as warm_merging
from services.uncertainty.parity import attend
from services.uncertainty.warm import warm as warm_uncertainty

nib: Any = nibabel  # its types are partial
Array = npt.NDArray[Any]

SOURCE = "liver"


def _inputs(case: Case, times: int) -> Path:
    """A folder with the imported files and the networks' outputs; `times` stacks the case on itself along z."""
    folder = case.folder / f"chain-{times}"
    if (folder / f"{MODELS[-1]}.npy").exists():
        return folder
    folder.mkdir(exist_ok=True)
    i, j, k = case.geometry.shape
    geometry = Geometry((i, j, k * times), case.geometry.affine)
    nifti.write_ct(folder / "ct.nii.gz", np.concatenate([case.ct] * times), geometry)
    liver = case.masks()[ORGANS.index(SOURCE)]
    nifti.write_mask(folder / f"{SOURCE}.nii.gz", np.concatenate([liver] * times), geometry)
    for name, member in zip(MODELS, case.ensemble(NETWORKS).members, strict=True):
        channels = np.stack([np.concatenate([member.channel(organ)] * times) for organ in ORGANS])
        np.save(folder / f"{name}.npy", channels)
    return folder


def _outputs(folder: Path, model: str) -> npt.NDArray[np.uint8]:
    """A network's probabilities (organ, z, y, x), read from the file as they are used."""
    outputs: npt.NDArray[np.uint8] = np.load(folder / f"{model}.npy", mmap_mode="r")
    return outputs


def ours(case: Case, times: int = 1) -> Callable[[], Path]:
    """The product's functions in the order of its services, through array files as storage keeps them."""
    folder = _inputs(case, times)
    warm_merging()
    warm_uncertainty()
    return lambda: _ours(folder, Path(tempfile.mkdtemp(prefix="atlas-bench-")))


def _ours(folder: Path, release: Path) -> Path:
    ct = nifti.read_ct(folder / "ct.nii.gz")
    ct.digest()
    geometry, grid, header = ct.geometry, network_grid(ct.geometry), ct.header
    fingerprint.canonical_digest(ct.voxels, geometry)
    fingerprint.profile(ct.voxels, geometry)
    to_grid(ct.voxels, geometry, grid)
    del ct
    source = nifti.read_mask(folder / f"{SOURCE}.nii.gz").voxels
    given = arrayfile.decode(arrayfile.encode([SOURCE], [source], geometry))
    del source
    files = [arrayfile.encode(ORGANS, _outputs(folder, name), grid) for name in MODELS]
    ensemble = Ensemble(tuple(arrayfile.decode(data) for data in files))
    heat = arrayfile.Writer(ORGANS, "uint8", grid)
    for attention in attend(ensemble, ORGANS):
        heat.write(attention.score.organ, attention.heat.voxels, attention.heat.corner)
    heat.finish()
    made = _merged(ensemble, given, geometry)
    shutil.copyfile(folder / "ct.nii.gz", release / "ct.nii.gz")
    for file in (arrayfile.decode(made.masks), arrayfile.decode(made.combined)):
        for name in file.channels:
            voxels = np.asarray(file.channel(name), np.uint8)
            nifti.write_mask(release / f"{name}.nii.gz", voxels, geometry, like=header)
    _checksums(release)
    return release


def _merged(ensemble: Ensemble, given: arrayfile.ArrayFile, geometry: Geometry) -> Made:
    """What a merge makes by the default policy of a source that looked for one organ and three models."""
    version = Given("volumes/case/labels/source", Origin.SOURCE, given.channels, "source")
    choices = choose(ORGANS, [version], dict.fromkeys(ORGANS, tuple(MODELS)))
    layers = {}
    for choice in choices:
        if choice.origin == Origin.SOURCE:
            mask = crop(np.asarray(given.channel(choice.organ), np.uint8))
        else:
            mask = mean(ensemble, choice.organ, geometry, [1] * len(MODELS))
        layers[choice.organ] = Layer(choice.origin, Packed.of(mask))
    return make(layers, choices, Policy(), classmaps.load(), geometry)


def straightforward(case: Case) -> Callable[[], Path]:
    """The same result by nibabel, MONAI, SciPy and whole float arrays, as scripts around networks do it."""
    import torch
    from monai.data.meta_tensor import MetaTensor
    from monai.transforms.spatial.array import SpatialResample
    from scipy import ndimage

    from tests.uncertainty import plain

    folder = _inputs(case, 1)

    def to(image: Array, affine: Array, target: Array, shape: tuple[int, int, int]) -> Array:
        resample = SpatialResample(mode="bilinear", padding_mode="border", align_corners=False, dtype=np.float32)
        tensor = MetaTensor(torch.from_numpy(image).permute(2, 1, 0)[None], affine=torch.tensor(affine))
        moved = resample(tensor, dst_affine=torch.tensor(target), spatial_size=shape)[0]
        return np.asarray(moved).T

    def save(path: Path, voxels: Array, affine: Array) -> None:
        nib.save(nib.Nifti1Image(voxels.T, affine), path)

    def run() -> Path:
        release = Path(tempfile.mkdtemp(prefix="atlas-bench-"))
        image = nib.load(folder / "ct.nii.gz")
        ct = image.get_fdata().T.astype(np.float32)
        hashlib.sha256(np.ascontiguousarray(ct).data).hexdigest()
        source = np.asarray(nib.load(folder / f"{SOURCE}.nii.gz").get_fdata().T, np.uint8)
        native, grid = image.affine, case.grid
        to(ct, native, grid.matrix, grid.shape)
        models = []
        for name in MODELS:
            kept = release / f"predictions-{name}"
            kept.mkdir()
            for organ, channel in zip(ORGANS, _outputs(folder, name), strict=True):
                save(kept / f"{organ}.nii.gz", channel, grid.matrix)
            models.append({o: np.asarray(nib.load(kept / f"{o}.nii.gz").dataobj).T for o in ORGANS})
            shutil.rmtree(kept)
        masks = plain.ensemble_masks(models)
        for organ in ORGANS:
            heat = plain.attend(models, organ, masks).heat
            save(release / f"heat-{organ}.nii.gz", heat, grid.matrix)
        combined = np.zeros(ct.shape, np.uint8)
        for organ in (SOURCE, *(organ for organ in ORGANS if organ != SOURCE)):
            if organ == SOURCE:
                mask = source
            else:
                mean = np.mean([model[organ] for model in models], axis=0, dtype=np.float32) / np.float32(255)
                native_mean = to(mean, grid.matrix, native, case.geometry.shape)
                labels, _ = ndimage.label(native_mean > 0.5, np.ones((3, 3, 3)))
                sizes = np.bincount(labels.ravel())[1:]
                mask = (labels == 1 + sizes.argmax()).astype(np.uint8)
            combined[(combined == 0) & (mask != 0)] = ORGANS.index(organ) + 1
            save(release / f"{organ}.nii.gz", mask, native)
        save(release / "combined_labels.nii.gz", combined, native)
        shutil.copyfile(folder / "ct.nii.gz", release / "ct.nii.gz")
        _checksums(release)
        return release

    return run


def _checksums(release: Path) -> None:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in sorted(release.glob("*.nii.gz"))
    ]
    (release / "SHA256SUMS").write_text("\n".join(lines))


def _agreement(case: Case, release: Path) -> dict[str, Any]:
    """Mean DSC of the released masks and the truth, by which both ways can be held against each other."""
    found = []
    for organ, truth in zip(ORGANS, case.masks(), strict=True):
        mask = nifti.read_mask(release / f"{organ}.nii.gz").voxels
        both = np.count_nonzero(mask & truth)
        found.append(2 * both / (np.count_nonzero(mask) + np.count_nonzero(truth)))
    return {"mean_dsc": float(np.mean(found))}


def _labelled(_case: Case, release: Path) -> dict[str, Any]:
    labels = nifti.read_labels(release / "combined_labels.nii.gz").voxels
    return {"labelled": int(np.count_nonzero(labels))}


CONTENDERS = {
    "ours": Contender(ours, _agreement),
    "ours-1500": Contender(partial(ours, times=5), _labelled),
    "straightforward": Contender(straightforward, _agreement),
}
