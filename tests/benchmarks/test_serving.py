"""`make bench-serving` at a tiny size: one network, one window."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from services.core.geometry import network_grid
from services.core.resample import to_grid
from services.synthetic import make_case
from tests.components import triton as component
from tests.components.require import require

ROOT = Path(__file__).parents[2]


def test_the_last_line_holds_every_ratio(tmp_path: Path) -> None:
    require(component.is_installed(), "Triton is not installed")
    case = make_case(76, profile="demo")
    ct = to_grid(case.ct, case.geometry, network_grid(case.geometry))[20:148, 20:148, 20:212]
    (tmp_path / "case").mkdir()
    np.save(tmp_path / "case" / "ct.npy", ct)
    shutil.copytree(ROOT / "models" / "unet", tmp_path / "models" / "unet")
    command = [sys.executable, "-m", "benchmarks.serving"]
    command += ["--case", str(tmp_path / "case"), "--models", str(tmp_path / "models")]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    found = json.loads(done.stdout.splitlines()[-1])
    assert set(found) == {
        "sliding_window_ratio",
        "sliding_window_ratio_least",
        "sliding_window_dsc",
        "sliding_window_dsc_least_organ",
        "peak_memory_share",
        "transport_share",
        "patchwise_ratio",
    }
    assert 0.999 < found["sliding_window_dsc_least_organ"] <= found["sliding_window_dsc"] <= 1
    assert found["sliding_window_ratio"] == found["sliding_window_ratio_least"] > 0
    assert found["patchwise_ratio"] > 0
