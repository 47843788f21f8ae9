"""`python -m benchmarks.serving`: the table, and as the last line one JSON object with the ratios."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from benchmarks.serving.transport import measured
from benchmarks.serving.volume import volume
from services.serving.repository import model_folders

Result = dict[str, float]


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--case", type=Path, default=Path("build/bench-serving"), help="where the volume is kept")
    parser.add_argument("--models", type=Path, default=Path("models"), help="the Triton repository")
    arguments = parser.parse_args()
    ct = volume(arguments.case)
    print(f"{'network':<12}{'MONAI s':>9}{'ours s':>9}{'ratio':>7}{'MONAI MB':>10}{'ours MB':>9}{'DSC':>9}{'least':>9}")
    rows = []
    for model in model_folders(arguments.models):
        rows.append(_network(arguments.case, model))
        row = rows[-1]
        print(
            f"{model.name:<12}{row['monai_seconds']:>9.1f}{row['ours_seconds']:>9.1f}{row['ratio']:>7.2f}"
            f"{row['monai_mb']:>10.0f}{row['ours_mb']:>9.0f}{row['dsc']:>9.5f}{row['least_dsc']:>9.5f}",
            flush=True,
        )
    quickest = model_folders(arguments.models)[int(np.argmin([row["ours_seconds"] for row in rows]))]
    through = measured(quickest, ct)
    share = (through["whole"] - through["inside"]) / through["inside"]
    print(f"{quickest.name}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in through.items()))
    totals = {who: sum(row[f"{who}_seconds"] for row in rows) for who in ("monai", "ours")}
    print(
        json.dumps(
            {
                "sliding_window_ratio": round(totals["monai"] / totals["ours"], 2),
                "sliding_window_ratio_least": round(min(row["ratio"] for row in rows), 2),
                "sliding_window_dsc": round(min(row["dsc"] for row in rows), 5),
                "sliding_window_dsc_least_organ": round(min(row["least_dsc"] for row in rows), 5),
                "peak_memory_share": round(max(row["ours_mb"] / row["monai_mb"] for row in rows), 3),
                "transport_share": round(max(share, 0.0), 3),
                "patchwise_ratio": round(through["patches"] / through["whole"], 2),
            }
        )
    )


def _network(folder: Path, model: Path) -> Result:
    """Both contenders, each in a process of its own, and how far their masks agree."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", "gen"])}
    found: Result = {}
    for who in ("monai", "ours"):
        command = [sys.executable, "-m", "benchmarks.serving.measure", str(folder), str(model), who]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        result = json.loads(done.stdout.splitlines()[-1])
        found |= {f"{who}_seconds": result["seconds"], f"{who}_mb": result["extra_mb"]}
    found["ratio"] = found["monai_seconds"] / found["ours_seconds"]
    scores = _dsc(folder, model.name)
    return found | {"dsc": float(np.mean(scores)), "least_dsc": min(scores)}


def _dsc(folder: Path, name: str) -> list[float]:
    """DSC between both contenders' masks of each organ that either found."""
    one, other = (np.unpackbits(np.load(folder / f"{name}-{who}.npy")) for who in ("monai", "ours"))
    organs = len(one) // np.load(folder / "ct.npy", mmap_mode="r").size
    pairs = zip(np.array_split(one, organs), np.array_split(other, organs), strict=True)
    sums = [(int((a & b).sum(dtype=np.int64)), int(a.sum(dtype=np.int64) + b.sum(dtype=np.int64))) for a, b in pairs]
    return [2 * both / all_ for both, all_ in sums if all_]


if __name__ == "__main__":
    main()
