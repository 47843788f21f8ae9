"""What a supervisor that was killed left running."""

from collections.abc import Callable
from contextlib import suppress

import psutil

from services.cli.stack.state import StateFolder


def stop_leftovers(state: StateFolder, *, patience_seconds: float = 15.0) -> int:
    """End the processes of a stack whose supervisor died, and forget its endpoints. Returns how many there were."""
    endpoints = state.read()
    if endpoints is None or endpoints.is_running:
        return 0
    processes = [child for p in endpoints.leftovers() for child in (p, *_children(p))]
    for process in processes:
        _quietly(process.terminate)
    _, alive = psutil.wait_procs(processes, timeout=patience_seconds)
    for process in alive:
        _quietly(process.kill)
    psutil.wait_procs(alive, timeout=5)
    state.clear()
    return len(processes)


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _quietly(action: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        action()
