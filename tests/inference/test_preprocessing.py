"""From a CT file to the network grid: what it costs, and what is refused."""

import gc
import tracemalloc

import numpy as np
import pytest

from services.core import scan
from services.core.errors import AtlasError, Reason
from services.core.geometry import Geometry, network_grid
from services.core.nifti import encode
from services.core.resample import warm
from services.inference import preprocessing


def thick(shape: tuple[int, int, int], spacing: float = 0.75) -> Geometry:
    return Geometry(shape, (-spacing, 0, 0, 90, 0, -spacing, 0, 80, 0, 0, 3.0, -300))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_memory_stays_below_the_estimate(dtype: type[np.generic]) -> None:
    """Of what NumPy and Python allocate, for voxels that hardly compress."""
    ct = thick((256, 256, 40))
    file = encode(np.random.default_rng(0).integers(-1000, 2000, ct.array_shape).astype(dtype), ct)
    grid = network_grid(ct)
    warm()
    gc.collect()
    tracemalloc.start()
    try:
        voxels = scan.on_grid(file, ct, grid, "volumes/it")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert voxels.shape == grid.array_shape
    # The caller holds the file, twice at most; the estimate counts that.
    assert peak + 2 * len(file) < scan.reading_bytes(len(file), ct, grid)


def test_a_file_that_does_not_lie_where_it_was_recorded_is_refused() -> None:
    """Both places are named."""
    ct, elsewhere = thick((8, 9, 10)), thick((8, 9, 10), 0.8)
    with pytest.raises(AtlasError, match=r"0\.75 x 0\.75 x 3 mm.*0\.8 x 0\.8 x 3 mm") as caught:
        scan.on_grid(encode(np.zeros(ct.array_shape, np.int16), ct), elsewhere, network_grid(ct), "volumes/it")
    assert caught.value.reason is Reason.GEOMETRY_MISMATCH


@pytest.mark.parametrize(
    ("shape", "spacing", "says"),
    [((512, 512, 400), 8.0, "can be sent"), ((4000, 4000, 2), 5.0, "1 to 4096")],
    ids=["more than a message holds", "more than an axis holds"],
)
def test_a_grid_of_too_many_voxels_is_refused(shape: tuple[int, int, int], spacing: float, says: str) -> None:
    """From the geometry alone."""
    with pytest.raises(AtlasError, match=says) as caught:
        preprocessing.grid_for(thick(shape, spacing), 1.5, "volumes/it")
    assert caught.value.reason is Reason.VOLUME_TOO_LARGE
    assert caught.value.field == "volumes/it"
