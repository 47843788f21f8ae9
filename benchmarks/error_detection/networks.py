"""The project's own networks on scans that they were not trained for: their own errors, not planted ones."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from benchmarks.error_detection.cases import Array, LabelCase, smooth_field
from benchmarks.error_detection.planting import ball
from services.core.geometry import Geometry, network_grid
from services.core.resample import to_grid
from services.serving.card import Card, load_card
from services.serving.networks import load_network
from services.serving.prediction import predict
from services.synthetic import make_case

MODELS = ("swinunetr", "unet", "segresnet")


def shifted_case(seed: int, spacing_mm: float = 1.5) -> LabelCase:
    """A synthetic patient, scanned worse than the networks have seen, and sicker; on the network grid.

    The scan of the "clinical" profile gets 5 to 45 HU more noise, streaks and a wrong HU scale, and every second
    patient lesions that differ from their organ by up to 70 HU. The lesions belong to the organ in the truth.
    """
    rng = np.random.default_rng([seed, 91])
    case = make_case(seed, profile="clinical")
    ct = case.ct.astype(np.float32)
    spacing = case.geometry.spacing_mm[::-1]
    if rng.random() < 0.5:
        for organ in ("liver", "spleen", "kidney_left", "kidney_right", "pancreas"):
            inside = np.argwhere(case.masks[organ])
            for _ in range(rng.poisson(1.5) if len(inside) else 0):
                centre = inside[rng.integers(len(inside))].tolist()
                lesion = ball(ct.shape, centre, [rng.uniform(6, 22)] * 3, spacing) & case.masks[organ]
                ct[lesion] += rng.uniform(-70, 70)
    ct = ct * rng.uniform(0.92, 1.08) + rng.uniform(-15, 15)
    ct += rng.uniform(5, 45) * rng.standard_normal(ct.shape).astype(np.float32)
    streaks = smooth_field(rng, (1, *ct.shape[1:]), (1.0, *spacing[1:]), 9.0)
    ct += rng.uniform(0, 14) * streaks
    grid = network_grid(case.geometry, spacing_mm)
    hu = to_grid(np.clip(ct, -1024, 3000).astype(np.int16), case.geometry, grid)
    truth = {
        organ: to_grid(mask.astype(np.int16) * 1000, case.geometry, grid) >= 500 for organ, mask in case.masks.items()
    }
    return LabelCase(f"shifted_{seed}", grid, truth, hu)


def load(folder: Path, names: Sequence[str] = MODELS) -> list[tuple[Card, torch.nn.Module]]:
    """The networks of a Triton repository, with their cards."""
    cards = [load_card(folder / name) for name in names]
    return [(card, load_network(folder / name, card)) for name, card in zip(names, cards, strict=True)]


def predicted(networks: Sequence[tuple[Card, torch.nn.Module]], ct: Array, grid: Geometry) -> list[bytes]:
    """One array file of uint8 probabilities a network."""
    return [predict(network, ct, grid, card) for card, network in networks]
