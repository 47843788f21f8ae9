"""A review on a reviewer's disk: what a claim downloads, and what a submission takes back."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from abdomenatlas.scheduler.v1 import scheduler_pb2 as sched
from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.cli.connection import Connection
from services.cli.ct_file import CT, fetch_ct
from services.cli.ingest.discover import SUFFIXES, stem, twice
from services.cli.masks import DISAGREEMENT, uint8_channel, write_disagreement
from services.core.alignment import reordered
from services.core.arrayfile import ArrayFile
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError, Reason
from services.core.nifti import read_header, read_mask, write_mask

NOTE = "review.json"
_SEGMENTATIONS, _ATTENTION, _HOTTEST = "segmentations", "attention", "attention.nii.gz"
_WRITTEN = {NOTE, CT, _SEGMENTATIONS, DISAGREEMENT, _ATTENTION, _HOTTEST}
"""What a claim puts into its folder."""
_LEFTOVERS = ("Thumbs.db", "desktop.ini")
_NAMED = 5
"""Files that one message names."""
OnFile = Callable[[str], None]


@dataclass(frozen=True)
class Note:
    """The claim, kept beside the files so that nobody types a token: `review.json`."""

    review: str
    fencing_token: int
    reviewer: str
    volume: str
    label_version: str
    voxel_digest: str = ""
    """Of the CT that was downloaded; empty until it is."""

    def write(self, folder: Path) -> None:
        """Write it, readable for the reviewer alone."""
        path = folder / NOTE
        path.touch(mode=0o600)
        path.write_text(json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def read(cls, folder: Path) -> "Note":
        """Read it. Raises RESOURCE_NOT_FOUND or FIELD_INVALID."""
        path = folder / NOTE
        try:
            data = json.loads(path.read_text())
            return cls(**{**data, "fencing_token": int(data["fencing_token"])})
        except FileNotFoundError as error:
            raise AtlasError(
                Reason.RESOURCE_NOT_FOUND,
                f"This folder holds no {NOTE}.",
                field=str(folder),
                remedy="Name the folder that `atlas review claim --to` filled, or the review and its --token.",
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise AtlasError(
                Reason.FIELD_INVALID, "This is not a claim's note.", field=str(path), remedy="Claim the review again."
            ) from error


def download(
    connection: Connection, note: Note, review: sched.Review, folder: Path, on_file: OnFile = lambda _: None
) -> None:
    """Write the note of a claim, and then what `fill` does."""
    folder.mkdir(parents=True, exist_ok=True)
    # First of all: whoever is cut off in the download still holds the token.
    note.write(folder)
    volume = connection.storage.rpc.GetVolume(pb.GetVolumeRequest(name=note.volume)).volume
    replace(note, voxel_digest=volume.voxel_digest).write(folder)
    fill(connection, review, folder, on_file)


def fill(connection: Connection, review: sched.Review, folder: Path, on_file: OnFile = lambda _: None) -> None:
    """Write what a reviewer needs: the CT, the current labels, where their readers disagree, and the attention on its
    own grid.

    All open in ITK-SNAP or 3D Slicer at the right place: the labels on the CT's grid, the heat by its own affine.
    """
    storage = connection.storage
    segmentations, attention = folder / _SEGMENTATIONS, folder / _ATTENTION
    for needed in (segmentations, attention):
        needed.mkdir(parents=True, exist_ok=True)
    on_file(CT)
    volume = storage.rpc.GetVolume(pb.GetVolumeRequest(name=review.volume)).volume
    header = read_header(fetch_ct(storage, volume, folder))
    labels = storage.rpc.GetLabelVersion(pb.GetLabelVersionRequest(name=review.label_version)).label_version
    masks = storage.array(labels.masks)
    for organ in masks.channels:
        on_file(f"{_SEGMENTATIONS}/{organ}.nii.gz")
        write_mask(segmentations / f"{organ}.nii.gz", uint8_channel(masks, organ), masks.geometry, like=header)
    write_disagreement(storage, labels, folder, header, on_file)
    record = storage.rpc.GetAttentionMap(pb.GetAttentionMapRequest(name=review.attention_map)).attention_map
    heat = storage.array(record.heat)
    hottest = np.zeros(heat.geometry.array_shape, np.uint8)
    for organ in heat.channels:
        on_file(f"{_ATTENTION}/{organ}.nii.gz")
        channel = uint8_channel(heat, organ)
        np.maximum(hottest, channel, out=hottest)
        write_mask(attention / f"{organ}.nii.gz", channel, heat.geometry)
    write_mask(folder / _HOTTEST, hottest, heat.geometry)


def mask_files(paths: list[Path], class_map: ClassMap) -> dict[str, Path]:
    """Organ masks by organ out of files and folders (a claim folder, or one with `<organ>.nii.gz` files).

    Raises ORGAN_UNKNOWN for a file whose name is no organ, FIELD_INVALID for an organ's second file, as a viewer leaves
    when it saves liver.nii beside liver.nii.gz, and for whatever else is in a claim folder and was not put there by the
    claim, and FOLDER_EMPTY if there is none at all.
    """
    files = [file for path in paths for file in (_files(path, class_map) if path.is_dir() else [path])]
    masks: dict[str, Path] = {}
    for file in files:
        organ = stem(file)
        class_map.require([organ], field=str(file))
        if organ in masks:
            raise twice(organ, masks[organ]).at(str(file))
        masks[organ] = file
    if not masks:
        raise AtlasError(
            Reason.FOLDER_EMPTY,
            "There are no masks.",
            field=str(paths[0]) if paths else "--masks",
            remedy="Name the revised <organ>.nii.gz files or their folder.",
        )
    return masks


def _files(folder: Path, class_map: ClassMap) -> list[Path]:
    seen = sorted(path for path in folder.iterdir() if not _is_leftover(path))
    found = [path for path in seen if path.name.endswith(SUFFIXES)]
    masks = [path for path in found if stem(path) in class_map.organs]
    is_claim = (folder / NOTE).is_file()
    if is_claim or (folder.absolute().parent / NOTE).is_file():
        written = _WRITTEN if is_claim else set()
        taken = {path for path in masks if path.is_file()}
        if untaken := [path for path in seen if path not in taken and path.name not in written]:
            raise _cannot_take(untaken)
    inner = folder / _SEGMENTATIONS
    if inner.is_dir():
        # A viewer may save a mask beside the CT: it must not be passed by.
        return [*_files(inner, class_map), *masks]
    return masks if is_claim else found


def _is_leftover(path: Path) -> bool:
    """Whether systems and editors leave files of that name behind."""
    return path.name.startswith(".") or path.name.endswith("~") or path.name in _LEFTOVERS


def _cannot_take(paths: list[Path]) -> AtlasError:
    """The refusal of what lies in a claim folder, and may be work that a viewer saved."""
    more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
    return AtlasError(
        Reason.FIELD_INVALID,
        f"Not a mask that can be taken: {', '.join(path.name for path in paths[:_NAMED])}{more}.",
        field=str(paths[0]),
        remedy=f"If it is one, save it as {_SEGMENTATIONS}/<organ>.nii.gz; else take it out of the folder.",
    )


def changed_masks(connection: Connection, label_version: str, masks: dict[str, Path]) -> dict[str, Path]:
    """Those of `masks` that differ from the labels that were claimed, in a voxel or in their place, or that are new.

    One that holds the same voxels of the patient in another order does not differ.
    """
    request = pb.GetLabelVersionRequest(name=label_version)
    labels = connection.storage.rpc.GetLabelVersion(request).label_version
    claimed = connection.storage.array(labels.masks)
    return {
        organ: path for organ, path in masks.items() if organ not in claimed.channels or _differs(claimed, organ, path)
    }


def _differs(claimed: ArrayFile, organ: str, path: Path) -> bool:
    try:
        mask = read_mask(path)
    except AtlasError:
        # Storage will say what is wrong with it.
        return True
    # A viewer may save in another order of axes: only what then differs in the patient was changed.
    voxels = reordered(mask.voxels, mask.geometry, claimed.geometry)
    return voxels is None or not np.array_equal(voxels, uint8_channel(claimed, organ))


def drawn_on(masks: Iterable[Path]) -> str:
    """Voxel digest of the CT that masks were drawn on, by the note of the claim folder that they lie in; "" if there is
    none.

    Raises FIELD_INVALID if they come from claims of several CTs.
    """
    folders = {folder for path in masks for folder in (path.absolute().parent, path.absolute().parent.parent)}
    notes = {folder: Note.read(folder) for folder in sorted(folders) if (folder / NOTE).is_file()}
    digests = {note.voxel_digest for note in notes.values()} - {""}
    if len(digests) > 1:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"These masks were drawn on several CTs: {', '.join(sorted({note.volume for note in notes.values()}))}.",
            field="--masks",
            remedy="Give back the masks of one claim folder at a time.",
        )
    return digests.pop() if digests else ""


def upload_revision(connection: Connection, volume: str, masks: dict[str, Path], *, class_map: str, author: str) -> str:
    """Store revised masks as a revision of a volume; returns its label version's name.

    `author` is whoever made them: not always the one who holds the review by now. Storage refuses masks of a claim of
    another CT.
    """
    storage = connection.storage
    files = [
        pb.LabelFile(object=storage.put_file(path).name, organ=organ, display_name=path.name)
        for organ, path in sorted(masks.items())
    ]
    request = pb.ImportLabelVersionRequest(
        parent=volume,
        files=files,
        class_map=class_map,
        origin=pb.ORIGIN_REVISION,
        author=author,
        voxel_digest=drawn_on(masks.values()),
    )
    return storage.rpc.ImportLabelVersion(request, timeout=600).label_version.name
