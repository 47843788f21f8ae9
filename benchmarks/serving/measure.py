"""One contender in a process of its own: `python -m benchmarks.serving.measure FOLDER MODEL CONTENDER`.

Prints one JSON object, and leaves the masks in FOLDER.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.serving.networks import CONTENDERS, masks
from benchmarks.serving.volume import volume

_RUNS = 2


def main() -> None:
    """Run the command."""
    folder, model, contender = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    ct = volume(folder)
    work = CONTENDERS[contender](model)
    # Linux: 5 sets the peak of resident memory back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    before = _memory_mb("VmRSS")
    seconds = []
    for _ in range(_RUNS):
        began = time.perf_counter()
        result = work(ct)
        seconds.append(time.perf_counter() - began)
    extra = _memory_mb("VmHWM") - before
    np.save(folder / f"{model.name}-{contender}.npy", np.packbits(masks(result)))
    print(json.dumps({"seconds": min(seconds), "extra_mb": extra}))


def _memory_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024


if __name__ == "__main__":
    main()
