"""One contender in a process of its own: seconds, and memory beyond its inputs.

Started as `python -m benchmarks.labels.measure CASE STEP CONTENDER`; prints one JSON object.
"""

import importlib
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.labels.case import Case

_SECONDS = 4.0
_MOST_RUNS = 7


@dataclass(frozen=True)
class Contender:
    """One way to do a step.

    `prepare` reads the inputs, warms what a service warms at its start, and gives back the work itself. `facts` are
    taken from the work's result, for comparisons, and not timed.
    """

    prepare: Callable[[Case], Callable[[], Any]]
    facts: Callable[[Case, Any], dict[str, Any]] = lambda _case, _result: {}


def measured(contender: Contender, case: Case) -> dict[str, Any]:
    """Best seconds of up to seven runs, its facts, and the peak memory of the first: all, and beyond what was there."""
    work = contender.prepare(case)
    _reset_peak()
    before = _memory_mb("VmRSS")
    result, *first = _timed(work)
    times = [first]
    peak = _memory_mb("VmHWM")
    facts = contender.facts(case, result)
    del result
    while sum(wall for wall, _ in times) < _SECONDS and len(times) < _MOST_RUNS:
        _, *again = _timed(work)
        times.append(again)
    seconds, cpu_seconds = (min(column) for column in zip(*times, strict=True))
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "runs": len(times),
        "extra_mb": peak - before,
        "peak_mb": peak,
        **facts,
    }


def _timed(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """The work's result, seconds by the clock, and seconds of all cores."""
    began, cpu = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - began, time.process_time() - cpu


def _reset_peak() -> None:
    # Linux: 5 sets the peak of resident memory back to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")


def _memory_mb(name: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) / 1024


def main() -> None:
    """Run the command."""
    folder, step, contender = sys.argv[1:]
    contenders: dict[str, Contender] = importlib.import_module(f"benchmarks.labels.{step}").CONTENDERS
    print(json.dumps(measured(contenders[contender], Case(Path(folder)))))


if __name__ == "__main__":
    main()
