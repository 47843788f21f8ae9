"""Compiles the kernels of a score and of a check before the first request."""

import numpy as np

from services.core import arrayfile
from services.core.boxes import crop
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry
from services.core.resample import warm as warm_resampling
from services.uncertainty import calibrated, calibration
from services.uncertainty.priors.anatomy import Anatomy
from services.uncertainty.priors.check import check
from services.uncertainty.profiles import PROFILES


def warm() -> None:
    """Score and check a tiny volume, so that everything is compiled or loaded from the cache."""
    # Parts of arrays lie in memory otherwise than whole ones, and kernels are compiled for each.
    for margin in (0, 3):
        _warm_profiles(margin)
    _warm_priors()
    # The calibrated profile reads the CT, on the grid of the predictions.
    warm_resampling()


def _warm_profiles(margin: int) -> None:
    """A cube of doubt, with that many empty voxels around it."""
    grid = Geometry.from_matrix((12, 12, 12), np.diag([1.5, 1.5, 1.5, 1.0]))
    array = np.zeros(grid.array_shape, np.uint8)
    array[(slice(margin, 12 - margin),) * 3] = 150
    ensemble = Ensemble((arrayfile.decode(arrayfile.encode(["liver", "spleen"], [array, array], grid)),) * 2)
    organs = ("liver", "spleen")
    # Half of the cube looks otherwise than the rest and goes on beyond it.
    ct = np.full(grid.array_shape, -100, np.int16)
    ct[:, 3:, :8] = 100
    for profile in PROFILES.values():
        list(profile.attend(ensemble, organs, None))
        list(profile.attend(ensemble, organs, None, ct))
    # Every region is shown, so that what draws them is called too.
    shipped = calibration.load()
    tissue = shipped.tissue.model_copy(update={"least_mm3": 0.0, "least_core_mm3": 1.0})
    everything = shipped.model_copy(update={"least_mm3": 0.0, "least_probability": 0.0, "tissue": tissue})
    list(calibrated.attend(ensemble, organs, ct=ct, constants=everything))
    # As a check reads masks.
    ensemble.members[0].channel("liver")


def _warm_priors() -> None:
    """Two organs far apart, inside the field of view, one of them in pieces: so every kernel is called."""
    grid = Geometry.from_matrix((32, 32, 32), np.diag([3.0, 3.0, 3.0, 1.0]))
    masks = {organ: np.zeros(grid.array_shape, np.uint8) for organ in ("gall_bladder", "liver")}
    masks["liver"][4:10, 4:28, 4:28] = 1
    masks["gall_bladder"][24:28, 4:8, 4:8] = masks["gall_bladder"][24:28, 12:16, 12:16] = 1
    list(check(Anatomy.of({organ: crop(mask) for organ, mask in masks.items()}, grid)))
