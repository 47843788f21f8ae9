"""Where a run stands, on disk: what a killed run goes on from."""

import io
from pathlib import Path
from typing import Any

import torch

from services.serving.disk import write_whole


def save(path: Path, state: dict[str, Any]) -> None:
    """Keep the state of a run. Raises DISK_FULL, and leaves the last one as it was."""
    data = io.BytesIO()
    torch.save(state, data)
    write_whole(path, data.getbuffer())


def load(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The state that was kept, None if there is none."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state
