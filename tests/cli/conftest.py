import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import nibabel
import numpy as np
import pytest

from services.cli.stack.child import ServiceProcess, tail
from services.cli.stack.ports import free_ports
from services.core.geometry import Geometry
from tests.cli.archive import Archive

nib: Any = nibabel

SHAPE = (40, 36, 20)


@pytest.fixture
def oblique() -> Geometry:
    """An LPS grid, tilted by ten degrees, with unequal spacing."""
    angle = np.radians(10)
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]], np.float64)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation @ np.diag([-2.0, -2.5, 5.0])
    matrix[:3, 3] = [31.5, 40.25, -77.125]
    # As a NIfTI header would hold it.
    return Geometry.from_matrix(SHAPE, matrix.astype(np.float32).astype(np.float64))


@pytest.fixture
def archive(tmp_path_factory: pytest.TempPathFactory, oblique: Geometry) -> Archive:
    """Two cases: the first revised, the second with attention and nothing else; names that want escaping."""
    folder = tmp_path_factory.mktemp("archive")
    rng = np.random.default_rng(7)
    archive = Archive()
    for rank, name in enumerate(("case-b", "case-a"), start=1):
        ct = folder / f"{name}.nii.gz"
        voxels = rng.integers(-100, 200, SHAPE).astype(np.int16)
        image = nib.Nifti1Image(voxels, oblique.matrix)
        image.header["descrip"] = b"Jane Doe 1970"
        image.set_qform(oblique.matrix, code=1)
        image.set_sform(oblique.matrix, code=2)
        nib.save(image, ct)
        heat = {"spleen": block((2, 6), (4, 9), (20, 30)) * np.uint8(200), "aorta": np.zeros((20, 36, 40), np.uint8)}
        item = archive.add_case(
            name,
            ct,
            ai={
                "spleen": block((2, 8), (4, 12), (18, 33)),
                "aorta": block((0, 20), (14, 18), (17, 21)),
                "gall_bladder": np.zeros((20, 36, 40), np.uint8),
            },
            source={"liver": block((3, 15), (8, 28), (2, 19))} if rank == 1 else {},
            heat=(oblique, heat),
            rank=rank,
            dataset="<b>set</b>" if rank == 1 else "",
        )
        if rank == 1:
            archive.add_review(item, {"spleen": block((2, 8), (4, 12), (20, 35))})
    return archive


def block(
    k: tuple[int, int], j: tuple[int, int], i: tuple[int, int]
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """A box of ones, (z, y, x)."""
    mask = np.zeros(SHAPE[::-1], np.uint8)
    mask[slice(*k), slice(*j), slice(*i)] = 1
    return mask


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real storage service."""
    home = tmp_path_factory.mktemp("storage")
    port, metrics = free_ports(2)
    environment = {
        "ATLAS_STORAGE_PORT": str(port),
        "ATLAS_STORAGE_METRICS_PORT": str(metrics),
        "ATLAS_STORAGE_OBJECTS": f"file:{home / 'objects'}",
        "ATLAS_STORAGE_DATABASE_URL": f"sqlite:///{home / 'catalog.db'}",
        "ATLAS_STORAGE_MEMORY_BYTES": str(2**28),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
    }
    child = ServiceProcess("storage", f"127.0.0.1:{port}", "", home / "storage.log", environment)
    child.start()
    deadline = time.monotonic() + 120
    while not child.is_ready():
        assert child.pid, tail(child.log)
        assert time.monotonic() < deadline, tail(child.log)
        time.sleep(0.2)
    yield child.address
    child.terminate()
    assert child._process
    child._process.wait(60)
