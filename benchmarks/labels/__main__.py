"""`python -m benchmarks.labels`: the table, and as the last line one JSON object with the ratios."""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.labels.case import NETWORKS, SMOOTH, prepare

Result = dict[str, Any]

_STEPS: dict[str, tuple[str, ...]] = {
    "inverse": tuple(
        f"{who}-{source}" for source in (SMOOTH, NETWORKS) for who in ("ours", "ours_from_files", "monai", "nnunet")
    ),
    "resampling": ("ours", "monai", "simpleitk"),
    "components": ("ours", "cc3d_masks", "ours_labels", "cc3d_labels"),
    "agreement": ("ours", "ours_with_hd95", "surface_distance"),
    "files": (
        "read_ours", "read_nibabel", "read_nibabel_float", "write_ours", "write_nibabel",
        "labels_ours", "labels_nibabel",
    ),
    "chain": ("ours", "ours-1500", "straightforward"),
}  # fmt: skip


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.labels", description=__doc__)
    parser.add_argument("--case", type=Path, default=Path("build/bench-labels"), help="where the case is kept")
    parser.add_argument("--models", type=Path, default=Path("models"), help="the Triton repository")
    parser.add_argument("--steps", nargs="+", choices=_STEPS, default=list(_STEPS), help="measure these only")
    arguments = parser.parse_args()
    prepare(arguments.case, arguments.models)
    found: dict[str, Result] = {}
    print(f"{'step':<36}{'seconds':>10}{'of cores':>10}{'extra MB':>10}   ")
    for step in arguments.steps:
        for contender in _STEPS[step]:
            result = found[f"{step}/{contender}"] = _run(arguments.case, step, contender)
            numbers = f"{result['seconds']:>10.3f}{result['cpu_seconds']:>10.3f}{result['extra_mb']:>10.0f}"
            print(f"{f'{step} {contender}':<36}{numbers}   {_notes(result)}")
            sys.stdout.flush()
    print(json.dumps(_summary(found)))


def _run(case: Path, step: str, contender: str) -> Result:
    command = [sys.executable, "-m", "benchmarks.labels.measure", str(case), step, contender]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([".", "gen"])}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    result: Result = json.loads(done.stdout.splitlines()[-1])
    return result


def _notes(result: Result) -> str:
    shown = {
        k: v
        for k, v in result.items()
        if k not in ("seconds", "cpu_seconds", "runs", "extra_mb", "peak_mb", "output_mb", "digest", "scores")
    }
    return ", ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items()
    )


def _summary(found: dict[str, Result]) -> dict[str, Any]:
    """The ratios; of the inverse the worse of both sources, and what was not measured is left out."""

    def ratio(baseline: str, ours: str, of: str = "seconds") -> float | None:
        if baseline not in found or ours not in found or not found[ours][of]:
            return None
        return round(float(found[baseline][of]) / float(found[ours][of]), 4)

    def worst(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return min(known) if known else None

    def fact(name: str, of: str) -> Any:
        return found.get(name, {}).get(of)

    both = (SMOOTH, NETWORKS)
    extras = [
        found[name]["extra_mb"] - found[name]["output_mb"] for s in both if (name := f"inverse/ours-{s}") in found
    ]
    summary = {
        "inverse_vs_monai": worst([ratio(f"inverse/monai-{s}", f"inverse/ours-{s}") for s in both]),
        "inverse_vs_nnunet": worst([ratio(f"inverse/nnunet-{s}", f"inverse/ours-{s}") for s in both]),
        "inverse_extra_mb": max(map(round, extras), default=None),
        "inverse_vs_monai_smooth": ratio(f"inverse/monai-{SMOOTH}", f"inverse/ours-{SMOOTH}"),
        "inverse_vs_monai_from_files": worst(
            [ratio(f"inverse/monai-{s}", f"inverse/ours_from_files-{s}") for s in both]
        ),
        "resample_vs_monai": ratio("resampling/monai", "resampling/ours"),
        "resample_memory_vs_monai": ratio("resampling/monai", "resampling/ours", "extra_mb"),
        "components_vs_cc3d": worst(
            [
                ratio("components/cc3d_masks", "components/ours"),
                ratio("components/cc3d_labels", "components/ours_labels"),
            ]
        ),
        "metrics_vs_surface_distance": ratio("agreement/surface_distance", "agreement/ours"),
        "read_ratio": ratio("files/read_nibabel", "files/read_ours"),
        "write_ratio": ratio("files/write_nibabel", "files/write_ours"),
        "write_size_ratio": ratio("files/write_ours", "files/write_nibabel", "bytes"),
        "labels_write_ratio": ratio("files/labels_nibabel", "files/labels_ours"),
        "labels_size_ratio": ratio("files/labels_ours", "files/labels_nibabel", "bytes"),
        "chain_ratio": ratio("chain/straightforward", "chain/ours"),
        "chain_peak_mb": _rounded(fact("chain/ours", "peak_mb")),
        "chain_peak_mb_1500_slices": _rounded(fact("chain/ours-1500", "peak_mb")),
        "equal": _equal(found),
    }
    return {name: value for name, value in summary.items() if value is not None}


def _rounded(value: float | None) -> int | None:
    return None if value is None else round(value)


def _equal(found: dict[str, Result]) -> bool:
    """Whether everything that must be the same was, of what was measured."""
    groups = (
        ("files/read_ours", "files/read_nibabel", "files/read_nibabel_float"),
        ("files/write_ours", "files/write_nibabel"),
        ("files/labels_ours", "files/labels_nibabel"),
        ("components/ours", "components/cc3d_masks"),
        ("components/ours_labels", "components/cc3d_labels"),
    )
    checks = [len({found[name]["digest"] for name in group if name in found}) <= 1 for group in groups]
    checks += [result["equal"] for result in found.values() if "equal" in result]
    if {"chain/ours", "chain/straightforward"} <= set(found):
        # Interpolation differs in a few voxels of a border, and ours also fills holes.
        checks.append(abs(found["chain/ours"]["mean_dsc"] - found["chain/straightforward"]["mean_dsc"]) < 0.005)
    if "resampling/ours" in found:
        checks.append(found["resampling/ours"]["largest_difference_hu"] <= 1)
    if {"agreement/ours", "agreement/ours_with_hd95", "agreement/surface_distance"} <= set(found):
        theirs = found["agreement/surface_distance"]["scores"]
        for name in ("agreement/ours", "agreement/ours_with_hd95"):
            pairs = zip(found[name]["scores"], theirs, strict=True)
            checks += [abs(a - b) <= 1e-6 for one, other in pairs for a, b in zip(one, other, strict=False)]
    return all(checks)


if __name__ == "__main__":
    main()
