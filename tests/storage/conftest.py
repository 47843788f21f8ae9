"""Storage on each of its object stores and databases, and as a process."""

import contextlib
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from minio import Minio
from sqlalchemy import Engine

from services.core.memory import MemoryGate
from services.core.storage import Storage
from services.storage.blobs import Blobs
from services.storage.catalog import database
from services.storage.catalog.catalog import Catalog
from services.storage.claims import Claims
from services.storage.objects.choose import choose
from services.storage.objects.filesystem import FilesystemObjects
from services.storage.objects.port import Objects
from services.storage.settings import Settings
from tests.components.ceph import S3Server
from tests.components.processes import free_port, running, wait_until

Environment = dict[str, str]


@dataclass(frozen=True)
class Process:
    """A running storage service."""

    popen: "subprocess.Popen[bytes]"
    address: str
    storage: Storage
    metrics_port: int
    log: Path


Start = Callable[..., AbstractContextManager[Process]]


@pytest.fixture
def s3(ceph: S3Server) -> Environment:
    """An empty bucket of a real S3 server, as settings."""
    bucket = f"atlas-{uuid.uuid4().hex}"
    Minio(ceph.endpoint, ceph.access_key, ceph.secret_key, secure=False, region=ceph.region).make_bucket(bucket)
    return {
        "objects": f"s3://{bucket}/some/prefix",
        "s3_endpoint": ceph.endpoint,
        "s3_access_key": ceph.access_key,
        "s3_secret_key": ceph.secret_key,
        "s3_region": ceph.region,
        "s3_secure": "false",
    }


@pytest.fixture(params=["filesystem", "s3"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """Each object store."""
    if request.param == "filesystem":
        return FilesystemObjects(tmp_path / "objects")
    return choose(Settings.model_validate(request.getfixturevalue("s3")))


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Each database, with the schema."""
    is_sqlite = request.param == "sqlite"
    made = database.connect(
        f"sqlite:///{tmp_path}/catalog.db" if is_sqlite else request.getfixturevalue("postgres_url")
    )
    database.upgrade(made)
    yield made
    made.dispose()


@pytest.fixture
def catalog(engine: Engine) -> Catalog:
    """A catalog on each database."""
    return Catalog(engine)


@pytest.fixture
def blobs(tmp_path: Path, catalog: Catalog) -> Blobs:
    """Objects in a folder."""
    objects = FilesystemObjects(tmp_path / "objects")
    return Blobs(objects, MemoryGate(2**30), Claims(catalog, objects).hold)


@pytest.fixture
def local(tmp_path: Path) -> Environment:
    """Settings of storage on one machine."""
    return {"objects": f"file:{tmp_path}/objects", "database_url": f"sqlite:///{tmp_path}/catalog.db"}


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts `python -m services.storage` with settings of our own and waits until it serves."""

    @contextlib.contextmanager
    def start_one(settings: dict[str, Any]) -> Iterator[Process]:
        port, metrics_port = free_port(), free_port()
        all_settings = {"port": port, "metrics_port": metrics_port, "drain_seconds": 5, **settings}
        environment = {f"ATLAS_STORAGE_{name.upper()}": str(value) for name, value in all_settings.items()}
        log = tmp_path / f"storage-{port}.log"
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        root = Path(__file__).parents[2]
        kept["PYTHONPATH"] = f"{root}:{root / 'gen'}"
        with running([sys.executable, "-m", "services.storage"], log, env={**kept, **environment}) as popen:
            wait_until(
                lambda: popen.poll() is not None or '"serving"' in log.read_text(), f"storage\n{log.read_text()}", 60
            )
            assert popen.poll() is None, log.read_text()
            yield Process(popen, f"127.0.0.1:{port}", Storage(f"127.0.0.1:{port}"), metrics_port, log)

    return start_one


@pytest.fixture
def process(start: Start, local: Environment) -> Iterator[Process]:
    """Storage on one machine, as a process."""
    with start(local) as running_process:
        yield running_process
