"""`python -m benchmarks.attention`: the table, and as the last line one JSON object with the ratios.

Every figure is of a process of its own, so that peaks of memory are of that work alone; the predictions are there
before, compressed for this service and as arrays for the plain renderings. Both ways work on one core; ratios are of
seconds of the core, which other programs on the machine disturb less than those of the clock.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.attention.cases import THREE, WORK
from benchmarks.attention.contenders import WAYS, contender
from benchmarks.labels.case import MODELS, NETWORKS, ORGANS, SMOOTH, Case, prepare
from benchmarks.labels.measure import measured

Result = dict[str, Any]

PROFILES = ("parity", "calibrated")
COMPARED = {
    "parity": (SMOOTH, NETWORKS, "native-three"),
    "calibrated": (SMOOTH, NETWORKS, "native-three"),
    "calibrated-ct": (SMOOTH,),
}
"""What each way is held against its plain rendering on; with a CT that one takes too long on the others."""
SIZES = {"64": 64**3, "128": 128**3, SMOOTH: 250 * 250 * 300, "native": 512 * 512 * 300, "1500": 512 * 512 * 1500}


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.attention", description=__doc__)
    parser.add_argument("--case", type=Path, default=Path("build/bench-labels"), help="where the case is kept")
    parser.add_argument("--models", type=Path, default=Path("models"), help="the Triton repository")
    parser.add_argument("--one", nargs=2, metavar=("WAY", "WORK"), help="measure one figure, and print it as JSON")
    arguments = parser.parse_args()
    if arguments.one:
        way, work = arguments.one
        print(json.dumps(measured(contender(way, work), Case(arguments.case))))
        return
    WORK["native"](prepare(arguments.case, arguments.models))
    print(json.dumps(_table(arguments.case)))


def _table(case: Path) -> dict[str, Any]:
    found: dict[tuple[str, str], Result] = {}

    def run(way: str, work: str) -> Result:
        found[way, work] = result = _run(case, way, work)
        notes = {name: value for name, value in result.items() if name in ("regions", "findings", "saturated")}
        shown = ", ".join(f"{name} {value:.5g}" for name, value in notes.items())
        print(f"{f'{work}: {way}':<36}{result['cpu_seconds']:>10.3f} s{result['extra_mb']:>8.0f} MB   {shown}")
        sys.stdout.flush()
        return result

    bandwidth = _bandwidth()
    print(f"memory is read at {bandwidth / 1e9:.1f} GB/s on one core")
    ratios: dict[str, float] = {}
    equal = True
    for way, works in COMPARED.items():
        for work in works:
            ours, theirs = run(way, work), run(f"{way}-plain", work)
            ratio, same = theirs["cpu_seconds"] / ours["cpu_seconds"], ours["digest"] == theirs["digest"]
            ratios[f"{way} {work}"] = ratio
            equal &= same
            print(f"{'':<36}{ratio:>10.0f} times faster, equal: {same}")
    for work in (SMOOTH, NETWORKS, "native"):
        _parts(run, found, work)
    for size in SIZES:
        for profile in PROFILES:
            if (profile, size) not in found:
                run(profile, size)
    for profile in PROFILES:
        per_voxel = [found[profile, size]["cpu_seconds"] / voxels * 1e9 for size, voxels in SIZES.items()]
        print(
            f"{profile}, ns a voxel: " + ", ".join(f"{size} {v:.2f}" for size, v in zip(SIZES, per_voxel, strict=True))
        )
        ratios[f"{profile} growth"] = per_voxel[-1] / per_voxel[-2]
        empty = run(profile, "padded")["cpu_seconds"] / found[profile, SMOOTH]["cpu_seconds"]
        ratios[f"{profile} empty"] = empty
        print(f"{profile}, in four times as many voxels that are empty: {empty:.2f} x the time")
    read = len(MODELS) * len(ORGANS) * SIZES[SMOOTH]
    shares = {work: read / found["parity", work]["cpu_seconds"] / bandwidth for work in (SMOOTH, NETWORKS)}
    return {
        "parity_ratio": round(_least(ratios, "parity"), 1),
        "calibrated_ratio": round(min(_least(ratios, "calibrated"), _least(ratios, "calibrated-ct")), 1),
        **{f"{name.replace(' ', '_').replace('-', '_')}_ratio": round(ratio, 2) for name, ratio in ratios.items()},
        # Of a whole Score, with the compressed map that it makes, beyond the predictions and the CT on their grid;
        # `plain_extra_mb` is the least that a plain one took.
        "extra_mb": round(max(found[f"{p}-map", work]["extra_mb"] for p in PROFILES for work in (SMOOTH, NETWORKS))),
        "extra_mb_native": round(max(found[f"{p}-map", "native"]["extra_mb"] for p in PROFILES)),
        "plain_extra_mb": round(
            min(found[f"{w}-plain", work]["extra_mb"] for w, of in COMPARED.items() for work in of)
        ),
        "bandwidth_share": round(shares[SMOOTH], 3),
        "bandwidth_share_networks": round(shares[NETWORKS], 3),
        "native_organs_compared": len(THREE),
        "equal": bool(equal),
    }


def _least(ratios: dict[str, float], way: str) -> float:
    return min(ratios[f"{way} {work}"] for work in COMPARED[way])


def _parts(run: Any, found: dict[tuple[str, str], Result], work: str) -> None:
    """What a whole `Score` consists of."""
    reading, rules = run("reading", work)["cpu_seconds"], run("rules", work)["cpu_seconds"]
    for profile in PROFILES:
        way = "calibrated-ct" if profile == "calibrated" else profile
        if (way, work) not in found:
            run(way, work)
        whole, alone = run(f"{profile}-map", work), found[way, work]["cpu_seconds"]
        parts = {"reading": reading, "rules": rules if profile == "calibrated" else 0.0, "writing": whole["writing"]}
        rest = alone - parts["reading"] - parts["rules"]
        print(
            f"{f'{work}: a whole {profile} Score':<36}{whole['cpu_seconds']:>10.3f} s: "
            + ", ".join(f"{name} {seconds:.3f}" for name, seconds in parts.items())
            + f", planes and regions {rest:.3f}; map {whole['map_mb']:.2f} MB"
        )


def _run(case: Path, way: str, work: str) -> Result:
    if way not in WAYS or work not in WORK:
        raise ValueError(f"there is no {way} of {work}")
    command = [sys.executable, "-m", "benchmarks.attention", "--case", str(case), "--one", way, work]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", "gen"])}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def _bandwidth() -> float:
    """Bytes a second of a core's time that it reads from memory: the largest of an array that no cache holds."""
    array = np.zeros(2**30, np.uint8)
    array[:: 2**12] = 1
    seconds = []
    for _ in range(5):
        began = time.process_time()
        array.max()
        seconds.append(time.process_time() - began)
    return array.nbytes / min(seconds)


if __name__ == "__main__":
    main()
