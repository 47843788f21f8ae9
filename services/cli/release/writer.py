"""Writes a release: `BDMAP_%08d/{ct,combined_labels,sources,segmentations/<organ>}.nii.gz` and what explains them."""

import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from services.cli.abreast import abreast
from services.cli.ct_file import fetch_ct
from services.cli.masks import uint8_channel, write_disagreement
from services.cli.release.card import CARD, LICENCES, card, licences
from services.cli.release.contents import Contents, ReleaseCase
from services.cli.release.datalist import DATALIST, datalist
from services.cli.release.metadata import METADATA, metadata
from services.cli.release.present import CHECKSUMS, CLASS_MAP, RECORD, damaged_files, release_id, sha256
from services.cli.release.provenance import case_provenance, identity, release_record
from services.core.errors import AtlasError, Reason
from services.core.nifti import read_header, write_mask
from services.core.storage import Storage

OnCase = Callable[[ReleaseCase], None]


def write_release(storage: Storage, contents: Contents, folder: Path, on_case: OnCase = lambda _: None) -> bool:
    """Write the release to `folder`, which appears only when it is whole.

    Returns False if the same release lies there already, undamaged. Raises RESOURCE_CONFLICT if anything else does.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        _require_same(folder, contents)
        return False
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        part.chmod(0o755)
        with closing(abreast(lambda case: _write_case(storage, case, contents, part), contents.cases)) as written:
            for case in written:
                on_case(case)
        class_map = {"name": contents.class_map.name, "organs": contents.class_map.organs_by_id}
        (part / CLASS_MAP).write_text(yaml.safe_dump(class_map, sort_keys=False))
        for name, text in ((METADATA, metadata), (CARD, card), (LICENCES, licences)):
            (part / name).write_text(text(contents), encoding="utf-8")
        _write_json(part / DATALIST, datalist(contents))
        _write_json(part / RECORD, release_record(contents))
        _write_checksums(part)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return True


def _write_case(storage: Storage, case: ReleaseCase, contents: Contents, release: Path) -> ReleaseCase:
    folder = release / case.name
    segmentations = folder / "segmentations"
    segmentations.mkdir(parents=True)
    header = read_header(fetch_ct(storage, case.volume, folder))
    masks = storage.array(case.labels.masks)
    for organ in masks.channels:
        write_mask(segmentations / f"{organ}.nii.gz", uint8_channel(masks, organ), masks.geometry, like=header)
    if case.labels.HasField("combined"):
        combined = storage.array(case.labels.combined)
        for channel in combined.channels:
            write_mask(folder / f"{channel}.nii.gz", uint8_channel(combined, channel), combined.geometry, like=header)
    write_disagreement(storage, case.labels, folder, header)
    _write_json(folder / "provenance.json", case_provenance(case, contents))
    return case


def _require_same(folder: Path, contents: Contents) -> None:
    if release_id(folder) != identity(contents):
        raise AtlasError(
            Reason.RESOURCE_CONFLICT,
            "The folder is not empty and holds something other than this release.",
            field=str(folder),
            remedy="Name a new or empty folder.",
        )
    if damaged := damaged_files(folder):
        raise AtlasError(
            Reason.RESOURCE_CONFLICT,
            f"This release lies here already, but {len(damaged)} of its files changed (such as {damaged[0]}).",
            field=str(folder),
            remedy="Move it away and export again.",
        )


def _write_checksums(folder: Path) -> None:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    with closing(abreast(sha256, files)) as digests:
        lines = [f"{digest}  {p.relative_to(folder).as_posix()}\n" for p, digest in zip(files, digests, strict=True)]
    (folder / CHECKSUMS).write_text("".join(lines))


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n")
