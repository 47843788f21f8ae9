"""What a volume needs of each service, by the formulas with which the services let work in."""

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
HEAD = f"""# Memory of a volume

What one volume reserves while a service works on it, in MiB: an upper bound that follows from the CT's header,
{MODELS} models, {ORGANS} organs, a network grid of {SPACING_MM} mm. A service lets in as many volumes as fit into half
of its container's memory, and refuses one that does not fit alone. Storage needs two bytes a voxel. Made from the
services' own formulas by `make docs`; [operate.md](operate.md) says how to use it.

| CT | inference | uncertainty | merging |
|---|--:|--:|--:|
"""


def sizing_page() -> str:
    """The table for some common CTs."""
    return HEAD + "".join(_row(name, *what) for name, what in CTS.items())


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
