"""The CT of a volume as a file on disk."""

import shutil
from pathlib import Path
from typing import Any, BinaryIO, cast

from isal import igzip

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.storage import Storage

CT = "ct.nii.gz"


def fetch_ct(storage: Storage, volume: pb.Volume, folder: Path) -> Path:
    """Write `ct.nii.gz` with the CT's bytes as they were imported, compressed if they were not; returns its path."""
    ct = folder / CT
    storage.get_file(volume.ct, ct)
    with ct.open("rb") as file:
        is_gzip = file.read(2) == b"\x1f\x8b"
    if not is_gzip:
        part = ct.with_name(f".{CT}.part")
        # No name and no time in the gzip header, so that equal CTs give equal files.
        with ct.open("rb") as plain, part.open("wb") as raw, _gzip(raw) as target:
            shutil.copyfileobj(plain, target, 1 << 20)
        part.replace(ct)
    return ct


def _gzip(raw: BinaryIO) -> BinaryIO:
    opened: Any = igzip.IGzipFile
    return cast(BinaryIO, opened(filename="", mode="wb", compresslevel=1, fileobj=raw, mtime=0))
