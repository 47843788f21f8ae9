"""Both profiles equal their plain renderings on what the shipped networks say of real CTs."""

from pathlib import Path

import numpy as np
import pytest

from services.core import arrayfile, nifti
from services.core.ensemble import Ensemble
from services.core.geometry import Geometry, network_grid
from services.core.resample import to_grid
from services.serving.card import load_card
from services.serving.networks import load_network
from services.serving.prediction import predict
from services.uncertainty import calibration
from services.uncertainty.attention import listed
from services.uncertainty.parity import PARITY
from tests.uncertainty import plain
from tests.uncertainty.compared import equal_to_plain
from tests.uncertainty.ensembles import Array, whole

MODELS = Path(__file__).parents[2] / "models"
NETWORKS = ("segresnet", "unet", "unetr")
EDGE = 96
"""Voxels along each side of the block from the middle of the CT, which holds all that the networks are unsure of."""


@pytest.fixture(scope="module", params=["ts_example_3mm/example_ct.nii.gz", "ircad3d_17/ct.nii.gz"])
def ensemble(request: pytest.FixtureRequest, real_data: Path) -> Ensemble:
    ct = nifti.read_ct(real_data / request.param)
    grid = network_grid(ct.geometry)
    middle = tuple(slice(max(0, n // 2 - EDGE // 2), n // 2 + EDGE // 2) for n in grid.array_shape)
    hu = np.ascontiguousarray(to_grid(ct.voxels, ct.geometry, grid)[middle])
    depth, height, width = hu.shape
    block = Geometry.from_matrix((width, height, depth), grid.matrix)
    cards = [load_card(MODELS / name) for name in NETWORKS]
    data = [
        predict(load_network(MODELS / name, card), hu, block, card) for name, card in zip(NETWORKS, cards, strict=True)
    ]
    return Ensemble(tuple(map(arrayfile.decode, data)))


def arrays(ensemble: Ensemble) -> list[dict[str, Array]]:
    return [{organ: member.channel(organ) for organ in member.channels} for member in ensemble.members]


def test_parity(ensemble: Ensemble) -> None:
    models = arrays(ensemble)
    masks, total = plain.ensemble_masks(models), 0
    for found in PARITY.attend(ensemble, sorted(ensemble.organs), None):
        expected = plain.attend(models, found.score.organ, masks)
        np.testing.assert_array_equal(whole(found, expected.heat.shape), expected.heat)
        total += found.score.voxels
    assert total > 1000


def test_calibrated(ensemble: Ensemble) -> None:
    regions = equal_to_plain(ensemble, arrays(ensemble), calibration.load())
    assert listed(regions)
