"""What a volume needs of each service, by the services' own formulas, and how many pods many volumes need."""

import math
import re
from pathlib import Path

import numpy as np

from services.core import scan
from services.core.geometry import Geometry, network_grid
from services.inference import preprocessing
from services.merging import memory as merging
from services.uncertainty import memory as uncertainty

MODELS, ORGANS, SPACING_MM = 3, 9, 1.5
COMPRESSED_BYTES = 8 * 2**20
"""Of the predictions of one organ or volume that are read at once: ordinary ones are smaller."""
CTS = {
    "512 x 512 x 100, 0.8 x 0.8 x 5 mm": ((512, 512, 100), (0.8, 0.8, 5.0)),
    "512 x 512 x 300, 0.8 x 0.8 x 1.5 mm": ((512, 512, 300), (0.8, 0.8, 1.5)),
    "512 x 512 x 600, 0.8 x 0.8 x 1 mm": ((512, 512, 600), (0.8, 0.8, 1.0)),
    "512 x 512 x 1000, 0.8 x 0.8 x 0.7 mm": ((512, 512, 1000), (0.8, 0.8, 0.7)),
}
DAY_SECONDS = 86400
VOLUMES_A_DAY = (500, 2000, 5000, 10000, 20000, 50000)
SECONDS_A_VOLUME = (1, 5, 20, 60)
PERFORMANCE = Path(__file__).parent / "performance.md"
_MEASURED = re.compile(r"^\|([^|]+)\| ([0-9.]+) s \|", re.MULTILINE)

HEAD = f"""# Sizing

## Memory of a volume

What one volume reserves while a service works on it, in MiB: an upper bound that follows from the CT's header,
{MODELS} models, {ORGANS} organs, a network grid of {SPACING_MM} mm. A service lets in as many volumes as fit into half
of its container's memory, and refuses one that does not fit alone. Storage needs two bytes a voxel. Made from the
services' own formulas by `make docs`; [operate.md](operate.md) says how to use it.

| CT | inference | uncertainty | merging |
|---|--:|--:|--:|
"""


PODS = """
## Pods for volumes a day

Triton pods (one GPU each, or the CPUs that `triton.resources` gives) that are busy all day: volumes a day x seconds of
prediction a volume / 86400, rounded up. The seconds are those of all networks of a campaign together, on one pod.
**This is arithmetic, not a measurement**: nobody has measured these networks, or ones of clinical size, on a GPU yet.
[operate.md](operate.md), "Sizing", says how to find the seconds of yours.

"""
MEASURED = """
**Measured, on one CPU core and no GPU**: the demonstration networks on a CT of 250x250x300 voxels of 1.5 mm, from the
table in [performance.md](performance.md#serving), which says how. What a day holds follows from it; the way through
Triton, and other work on the same cores, come on top.

| network | seconds a volume, measured | volumes a day and core, at most |
|---|--:|--:|
"""


def pods(volumes_a_day: int, seconds_a_volume: float) -> int:
    """Pods that do so many volumes a day if they are never idle."""
    return math.ceil(volumes_a_day * seconds_a_volume / DAY_SECONDS)


def measured() -> list[tuple[str, float]]:
    """Network and seconds a volume on one core, as the first table under Serving in performance.md has them."""
    serving = PERFORMANCE.read_text().partition("\n## Serving\n")[2].partition("\n## ")[0]
    # Tables that follow may say seconds of something else.
    table = re.search(r"(?:^\|.*\n)+", serving, re.MULTILINE)
    found = [(name.strip(), float(seconds)) for name, seconds in _MEASURED.findall(table[0] if table else "")]
    if not found:
        raise ValueError(f"{PERFORMANCE.name} has no table of seconds under Serving any more.")
    return found


def sizing_page() -> str:
    """The tables: memory for some common CTs, pods for some loads, and what was measured on CPUs."""
    memory = "".join(_row(name, *what) for name, what in CTS.items())
    head = f"| volumes a day | {' | '.join(f'{seconds} s a volume' for seconds in SECONDS_A_VOLUME)} |\n"
    head += f"|--:|{'--:|' * len(SECONDS_A_VOLUME)}\n"
    load = "".join(
        f"| {volumes} | {' | '.join(str(pods(volumes, seconds)) for seconds in SECONDS_A_VOLUME)} |\n"
        for volumes in VOLUMES_A_DAY
    )
    done = "".join(f"| {name} | {s:g} | {round(DAY_SECONDS / s, -2):.0f} |\n" for name, s in measured())
    return HEAD + memory + PODS + head + load + MEASURED + done


def _row(name: str, shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> str:
    ct = Geometry.from_matrix(shape, np.diag([*spacing, 1.0]))
    grid = network_grid(ct, SPACING_MM)
    file_bytes = ct.voxel_count  # a .nii.gz takes about one byte a voxel
    scored = uncertainty.needed_bytes(grid, models=MODELS, organs=ORGANS, compressed_bytes=COMPRESSED_BYTES)
    needs = (
        max(scan.reading_bytes(file_bytes, ct, grid), preprocessing.predicting_bytes(grid, ORGANS)),
        uncertainty.with_scan_bytes(scored, file_bytes, ct, grid),
        merging.needed_bytes(ct, grid, organs=ORGANS, compressed_bytes=COMPRESSED_BYTES),
    )
    return f"| {name} | {' | '.join(f'{need / 2**20:.0f}' for need in needs)} |\n"
