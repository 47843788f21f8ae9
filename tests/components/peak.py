"""How much memory work takes at most, measured in a process of its own.

A module that is measured has `prepare() -> inputs` and `work(inputs) -> bound`, the bytes that the work should stay
within.
"""

import importlib
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Measured:
    """Bytes by which the process grew at most, and the bound that was declared."""

    growth: int
    bound: int


def measure(module: str) -> Measured:
    """Run a module's work and see how far the process grows beyond what `prepare` left."""
    command = [sys.executable, "-m", "tests.components.peak", module]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    growth, bound = map(int, done.stdout.split())
    return Measured(growth, bound)


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{field}:")).split()[1]) * 1024


if __name__ == "__main__":
    target = importlib.import_module(sys.argv[1])
    inputs = target.prepare()
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status("VmRSS")
    declared = target.work(inputs)
    sys.stdout.write(f"{_status('VmHWM') - before} {declared}\n")
