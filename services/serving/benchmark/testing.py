"""One trained network on one case: the whole way from the CT to masks on its own grid, timed and judged there."""

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from services.core import metrics
from services.core.geometry import network_grid
from services.core.resample import to_ct_mask, to_grid
from services.serving.benchmark.cases import Labelled
from services.serving.benchmark.rows import TOLERANCE_MM, Row
from services.serving.card import Card
from services.serving.gpu import BATCH, on_gpu
from services.serving.networks import load_network
from services.serving.prediction import probability_slabs
from services.serving.runtime import on_cpu
from services.serving.training.distributed import this_device


class Contestant:
    """A trained network as it is served: half precision on a GPU, the card's runtime on a CPU."""

    def __init__(self, folder: Path, card: Card, threads: int) -> None:
        self._card, self._device = card, this_device()
        network = load_network(folder, card)
        if self._device.type == "cuda":
            self._run, self._batch = on_gpu(network, self._device, card), BATCH
        else:
            self._run, self._batch = on_cpu(network, card, threads), 1

    def test(self, case: Labelled, organs: Collection[str]) -> Iterator[Row]:
        """DSC and NSD of p > 0.5 for the organs that the truth has voxels of; what it has none of is left out.

        Seconds and memory are those from the CT in memory to all probabilities on the network grid.
        """
        grid = network_grid(case.geometry, self._card.grid_spacing_mm)
        with _measured(self._device) as cost:
            ct = to_grid(case.ct, case.geometry, grid)
            slabs = probability_slabs(self._run, ct, self._card, batch=self._batch, device=self._device)
            stored = np.concatenate(list(slabs), axis=1)
        for organ, probabilities in zip(self._card.organs, stored, strict=True):
            truth = case.masks.get(organ)
            if organ not in organs or truth is None or not truth.any():
                continue
            mask = to_ct_mask([(0, probabilities[None])], grid, case.geometry, weights=[1]).whole(truth.shape)
            found = metrics.agreement(
                truth,
                mask,
                case.geometry.spacing_mm,
                tolerance_mm=TOLERANCE_MM,
                voxel_volume_mm3=case.geometry.voxel_volume_mm3,
                with_hd95=False,
            )
            yield Row(organ, found.dsc, found.nsd, cost["seconds"], cost["peak_mb"])


@contextmanager
def _measured(device: torch.device) -> Iterator[dict[str, float]]:
    """Fills in wall seconds, and the peak of memory beyond what was in use: the GPU's, or the process's on a CPU."""
    cost: dict[str, float] = {}
    before = _start(device)
    began = time.perf_counter()
    yield cost
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    cost["seconds"] = time.perf_counter() - began
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else _memory_mb("VmHWM")
    cost["peak_mb"] = peak - before


def _start(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 2**20
    # Linux: 5 sets the peak of resident memory back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    return _memory_mb("VmRSS")


def _memory_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024
