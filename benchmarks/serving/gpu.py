"""`python -m benchmarks.serving.gpu`: the paper-size networks on a GPU, ours against MONAI's way; last line one JSON.

Weights are random, so times count and answers do not: storing noise takes ours longer than storing organs.
"""

import argparse
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.inferers.utils import sliding_window_inference
from numpy.typing import NDArray
from torch import nn

from benchmarks.serving.volume import grid_of, volume
from services.serving import gpu, zoo
from services.serving.card import Card
from services.serving.networks import build_network
from services.serving.prediction import predict

NETWORKS = tuple(name for name in zoo.names() if name.startswith("paper_"))
_SEED, _RUNS, _LOOK_SECONDS, _HOUR_SECONDS, _MB = 0, 2, 0.1, 3600, 2**20

Work = Callable[[NDArray[np.int16]], Any]
Figures = dict[str, float | None]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.gpu", description=__doc__)
    parser.add_argument("--case", type=Path, default=Path("build/bench-serving"), help="where the volume is kept")
    parser.add_argument("--network", action="append", choices=NETWORKS, help="default: all four")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit("This benchmark needs a GPU that torch can use, and finds none. On CPUs: make bench-serving.")
    device = torch.device("cuda")
    # For both: what is quickest for a shape is looked for once.
    torch.backends.cudnn.benchmark = True
    ct = volume(arguments.case)
    print(f"{torch.cuda.get_device_name()}, {'x'.join(map(str, ct.shape))} voxels")
    print(f"{'network':<16}{'':<7}{'s':>9}{'volumes/h':>11}{'busy %':>8}{'MB':>8}")
    found: dict[str, dict[str, Any]] = {}
    for name in arguments.network or NETWORKS:
        found[name] = contest(zoo.load(name), ct, device)
        for who in CONTENDERS:
            row = found[name][who]
            busy = "" if row["busy_percent"] is None else f"{row['busy_percent']:.0f}"
            print(
                f"{name:<16}{who:<7}{row['seconds']:>9.2f}{row['volumes_an_hour']:>11.1f}{busy:>8}{row['mb']:>8.0f}",
                flush=True,
            )
    print(json.dumps({"gpu": torch.cuda.get_device_name(), "networks": found}))


def contest(card: Card, ct: NDArray[np.int16], device: torch.device, runs: int = _RUNS) -> dict[str, Any]:
    """What a volume costs each contender, with the same weights, and how many times ours is as quick."""
    found: dict[str, Any] = {who: measured(made(card, device), ct, device, runs) for who, made in CONTENDERS.items()}
    return found | {"ratio": found["monai"]["seconds"] / found["ours"]["seconds"]}


def monai(card: Card, device: torch.device) -> Work:
    """As people run it: float32, eager, every window, everything on the GPU until the bytes leave it."""
    network = drawn(card).to(device)
    low, high = card.hu_window

    @torch.inference_mode()
    def run(ct: NDArray[np.int16]) -> NDArray[np.uint8]:
        image = ((torch.from_numpy(ct).to(device).float() - low) / (high - low)).clamp(0, 1)[None, None]
        logits = sliding_window_inference(
            image, card.window, gpu.BATCH, network, card.overlap, mode="gaussian", sigma_scale=card.gaussian_sigma
        )
        assert isinstance(logits, torch.Tensor)
        return (logits[0].sigmoid_() * 255).to(torch.uint8).cpu().numpy()

    return run


def ours(card: Card, device: torch.device) -> Work:
    """What Triton's model does on a GPU, down to the array file."""
    run = gpu.on_gpu(drawn(card), device, card)
    return lambda ct: predict(run, ct, grid_of(ct), card, batch=gpu.BATCH, device=device)


CONTENDERS = {"monai": monai, "ours": ours}


def drawn(card: Card) -> nn.Module:
    """The card's network with random weights, the same ones every time."""
    torch.manual_seed(_SEED)
    return build_network(card).eval()


def measured(work: Work, ct: NDArray[np.int16], device: torch.device, runs: int) -> Figures:
    """The quickest of `runs` on `ct`, after one on some slices that is not counted.

    `busy_percent` is the mean of what NVML tells of the GPU, None without one or without NVML; `mb` the most that
    torch had allocated on it at once, 0 without one.
    """
    on_gpu = device.type == "cuda"
    work(ct[: max(len(ct) // 3, 1)])
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    seconds = []
    with _looking(on_gpu) as looks:
        for _ in range(runs):
            began = time.perf_counter()
            # The answer is in the CPU's memory, so the GPU has done all of it.
            work(ct)
            seconds.append(time.perf_counter() - began)
    return {
        "seconds": min(seconds),
        "volumes_an_hour": _HOUR_SECONDS / min(seconds),
        "busy_percent": float(np.mean(looks)) if looks else None,
        "mb": torch.cuda.max_memory_allocated() / _MB if on_gpu else 0.0,
    }


@contextmanager
def _looking(on_gpu: bool) -> Iterator[list[int]]:
    """How busy the GPU was whenever somebody looked meanwhile, in percent."""
    looks: list[int] = []
    done = threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_SECONDS):
            try:
                looks.append(torch.cuda.utilization())
            except (ModuleNotFoundError, RuntimeError) as error:
                print(f"How busy the GPU is cannot be told: {error}")
                return

    thread = threading.Thread(target=look)
    if on_gpu:
        thread.start()
    try:
        yield looks
    finally:
        done.set()
        if on_gpu:
            thread.join()


if __name__ == "__main__":
    main()
