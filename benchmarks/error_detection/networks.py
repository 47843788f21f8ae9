"""The project's own networks on scans that they were not trained for: their own errors, not planted ones."""

import hashlib
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch

from benchmarks.error_detection.cases import Array, LabelCase, smooth_field
from benchmarks.error_detection.planting import ball
from services import serving
from services.core.geometry import Geometry, network_grid
from services.core.resample import to_grid
from services.serving.card import load_card, weights_path
from services.serving.networks import load_network
from services.serving.prediction import predict
from services.synthetic import make_case

MODELS = ("swinunetr", "unet", "segresnet")
KEPT = Path("build/bench-detection")


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


def predicted(models: Path, ct: Array, grid: Geometry, names: Sequence[str] = MODELS) -> list[bytes]:
    """One array file of uint8 probabilities from each network of a Triton repository.

    They are kept in build/bench-detection under what they follow from: HU, grid, card, weights and the code.
    """
    return [_kept(models / name, ct, grid) for name in names]


def _kept(model: Path, ct: Array, grid: Geometry) -> bytes:
    card = load_card(model)
    key = hashlib.sha256(repr((grid.digest, torch.__version__, _code())).encode())
    key.update(np.ascontiguousarray(ct).data)
    for file in (model / "model.yaml", weights_path(model, card)):
        key.update(hashlib.sha256(file.read_bytes()).digest())
    path = KEPT / f"{key.hexdigest()}.array"
    if path.is_file():
        return path.read_bytes()
    data = predict(load_network(model, card), ct, grid, card)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Processes may race for one, and any may be killed.
    part = path.with_suffix(f".{os.getpid()}.part")
    part.write_bytes(data)
    part.replace(path)
    return data


@cache
def _code() -> str:
    """Digest of the code that predicts."""
    files = sorted(Path(serving.__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
