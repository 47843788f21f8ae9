"""Finds the cases of a public dataset in the folder that people downloaded."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from services.cli.ingest.case_table import CaseFacts, read_table
from services.cli.ingest.dataset_json import read, require_agreement
from services.cli.ingest.dataset_list import DatasetList
from services.cli.ingest.discover import (
    SUFFIXES,
    Case,
    Refusal,
    discover,
    file_error,
    folder_name,
    stem,
    stored_twice,
    unreadable,
    volume_id,
)
from services.core.classmaps import ClassMap
from services.core.classmaps import names as releases
from services.core.datasets import Dataset, Layout
from services.core.errors import AtlasError, Reason

Layouts = tuple[Layout, ...]
NNUNET: Layouts = (
    Layout("imagesTr/{case}_0000", "labelsTr/{case}"),
    Layout("imagesTs/{case}_0000", "labelsTs/{case}"),
)
"""The raw folders of nnU-Net, in which any dataset may lie."""
DECATHLON: Layouts = (
    Layout("imagesTr/{case}", "labelsTr/{case}"),
    Layout("imagesTs/{case}"),
)
"""The folders of the Medical Segmentation Decathlon."""

_CASE = "{case}/"


@dataclass(frozen=True)
class Files:
    """One case on disk: its image, and its label map or a mask for each structure."""

    case: str
    image: Path
    label_map: Path | None
    masks: dict[str, Path]


@dataclass(frozen=True)
class Found:
    """What a folder holds: cases and refusals in the order of names, and how many images are no CTs of the dataset."""

    entries: tuple[Case | Refusal, ...]
    left_out: int = 0


def discover_dataset(root: Path, dataset: Dataset, class_map: ClassMap, table: Path | None = None) -> Found:
    """The cases of `dataset` below `root`, in its own layout, in nnU-Net's, in the Decathlon's, or as case folders.

    `root` may be one case of a dataset that has a folder a case; what the dataset's own table tells lies beside it.
    A case whose label is missing, a label without a case, an id that comes twice, and a case that the folder's
    dataset.json lists and that is not there, or the other way round, are refused; the rest is found. Raises
    CLASS_MAP_MISMATCH if the dataset.json contradicts the dataset, and FIELD_INVALID for a bad table.
    """
    try:
        root = _unpacked(root, dataset)
        told = read(root)
        require_agreement(told, dataset)
        layouts = None if dataset.name in releases() else _layouts(root, dataset)
        one_case = layouts is not None and layouts == _of_one_case(root, dataset)
        facts = read_table(root.absolute().parent if one_case else root, dataset, table)
        if layouts is None:
            return Found(tuple(_case_folders(root, dataset, class_map, facts)))
        return _found(root, dataset, class_map, layouts, facts, DatasetList(root, told.listed))
    except OSError as error:
        return Found((Refusal(root, unreadable(error)),))


def _unpacked(root: Path, dataset: Dataset) -> Path:
    """The folder that the dataset is in: archives often unpack into one folder of their own inside the one named."""
    if dataset.name in releases() or _layouts(root, dataset):
        return root
    inside = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith((".", "__"))]
    fitting = [path for path in inside if path.resolve().is_relative_to(root.resolve()) and _layouts(path, dataset)]
    return fitting[0] if len(fitting) == 1 else root


def _case_folders(
    root: Path, dataset: Dataset, class_map: ClassMap, facts: dict[str, CaseFacts]
) -> Iterator[Case | Refusal]:
    """Cases in our own layout."""
    for entry in discover(root, class_map):
        yield entry if isinstance(entry, Refusal) else of_dataset(entry, dataset, facts.get(entry.volume_id))


def of_dataset(case: Case, dataset: Dataset, facts: CaseFacts | None = None) -> Case:
    """A case in our own layout with what is known of it. Its masks speak our words, its label map the dataset's ids."""
    facts = facts or CaseFacts()
    return replace(
        case,
        source_id=case.volume_id,
        hospital=facts.hospital or dataset.hospital,
        phase=facts.phase or dataset.phase,
        licence=facts.licence or dataset.licence,
        dataset_map=dataset.name if case.label_map or dataset.name in releases() else "",
    )


def _layouts(root: Path, dataset: Dataset) -> Layouts | None:
    """The layout in which most cases are complete; the dataset's own before others; None if none fits at all.

    Where the folder is one case of the dataset, patterns begin inside it and name no case.

    Where there are images alone, and all of them end in nnU-Net's number of a channel, nnU-Net's folders fit as well as
    others: the number is no part of their ids then.
    """
    best, most = None, 0.0
    for layouts in (dataset.layouts, NNUNET, DECATHLON, _of_one_case(root, dataset)):
        complete = 0.0
        for layout in layouts:
            images, labels = _matches(root, layout.images), _labelled(root, layout)
            complete += sum(case in labels for case in images) if layout.labels else 0
            complete += len(images) / 1e6  # images alone are better than nothing
        if complete > most or (layouts is NNUNET and complete == most > 0):
            best, most = layouts, complete
    return best


def _of_one_case(root: Path, dataset: Dataset) -> Layouts:
    """The dataset's layouts seen from the folder of a case; none if a label map of ours lies in it."""
    if _glob(root, "combined_labels"):
        return ()
    inside = [layout for layout in dataset.layouts if layout.images.startswith(_CASE)]
    return tuple(Layout(each.images.removeprefix(_CASE), each.labels.removeprefix(_CASE)) for each in inside)


def _found(
    root: Path,
    dataset: Dataset,
    class_map: ClassMap,
    layouts: Layouts,
    facts: dict[str, CaseFacts],
    listed: DatasetList,
) -> Found:
    only = re.compile(dataset.only_cases) if dataset.only_cases else None
    entries: list[Case | Refusal] = []
    ids: dict[str, Path] = {}
    left_out = 0
    for files in _files(root, layouts):
        if isinstance(files, Refusal):
            if not (only and (case := _case_in(files.path, layouts, root)) and not only.fullmatch(case)):
                entries.append(files)
            continue
        if only and not only.fullmatch(files.case):
            left_out += 1
            continue
        id_ = volume_id(f"{dataset.name}-{files.case}")
        if id_ in ids:
            entries.append(Refusal(files.image, _taken(id_, ids[id_])))
            continue
        ids[id_] = files.image
        if error := listed.fault(_stem(files.image, root), is_labelled=bool(files.label_map or files.masks)):
            entries.append(Refusal(files.image, error))
            continue
        entries.append(_case(files, id_, root, dataset, class_map, facts.get(files.case, CaseFacts())))
    there = [_stem(paths[0], root) for layout in layouts for paths in _matches(root, layout.images).values()]
    for missing in listed.missing(there):
        if only and missing.path.name.endswith(SUFFIXES):
            case = _case_in(missing.path, layouts, root) or stem(missing.path)
            if not only.fullmatch(case):
                continue
        entries.append(missing)
    return Found(tuple(entries), left_out)


def _case(
    files: Files, id_: str, root: Path, dataset: Dataset, class_map: ClassMap, facts: CaseFacts
) -> Case | Refusal:
    # Masks may be named in the dataset's words or in ours.
    known = {structure.name for structure in dataset.structures if structure.target} | set(class_map.organs)
    masks = {name: path for name, path in files.masks.items() if name in known}
    for path in (files.image, *([files.label_map] if files.label_map else []), *masks.values()):
        if error := file_error(path, root.resolve()):
            return Refusal(path, error)
    all_names = {structure.name for structure in dataset.structures} | set(class_map.organs)
    return Case(
        id_,
        files.image,
        masks,
        files.label_map,
        ignored=tuple(path for name, path in files.masks.items() if name not in all_names),
        source_id=files.case,
        hospital=facts.hospital or dataset.hospital,
        phase=facts.phase or dataset.phase,
        licence=facts.licence or dataset.licence,
        dataset_map=dataset.name,
    )


def _files(root: Path, layouts: Layouts) -> Iterator[Files | Refusal]:
    """Images with their labels, and what lacks the other."""
    for layout in layouts:
        images, labels = _matches(root, layout.images), _labelled(root, layout)
        for case, (image, *others) in images.items():
            found = labels.get(case, {})
            # A folder of labels that is not there at all was not downloaded, or does not exist for these images.
            if labels and not found:
                yield Refusal(image, _without_label(layout, case))
            elif repeated := next((paths for paths in ([image, *others], *found.values()) if len(paths) > 1), None):
                yield Refusal(repeated[1], stored_twice(repeated[0]))
            else:
                single = {name: path for name, (path,) in found.items()}
                label_map = single.pop("", None)
                yield Files(case, image, label_map, single)
        # Several folders of images may share one of labels.
        everywhere = {
            case for other in layouts if other.labels == layout.labels for case in _matches(root, other.images)
        }
        is_first = layout == next(other for other in layouts if other.labels == layout.labels)
        if images and is_first:
            for case, found in labels.items():
                if case not in everywhere:
                    yield Refusal(next(iter(found.values()))[0], _without_image(layout, case))


def _labelled(root: Path, layout: Layout) -> dict[str, dict[str, list[Path]]]:
    """Label files by case and structure; the structure of a label map is "". More than one means one too many."""
    if not layout.labels:
        return {}
    found: dict[str, dict[str, list[Path]]] = {}
    pattern = _regex(layout.labels)
    for path in _glob(root, layout.labels):
        if match := pattern.fullmatch(_stem(path, root)):
            structure = match.groupdict().get("structure", "")
            found.setdefault(_case_of(match, root), {}).setdefault(structure, []).append(path)
    return found


def _matches(root: Path, images: str) -> dict[str, list[Path]]:
    """Image files by case, in the order of names. More than one means one too many."""
    pattern = _regex(images)
    found: dict[str, list[Path]] = {}
    for path in _glob(root, images):
        if match := pattern.fullmatch(_stem(path, root)):
            found.setdefault(_case_of(match, root), []).append(path)
    return found


def _case_in(path: Path, layouts: Layouts, root: Path) -> str | None:
    """The case that a file belongs to."""
    patterns = [pattern for layout in layouts for pattern in (layout.images, layout.labels) if pattern]
    matches = (_regex(pattern).fullmatch(_stem(path, root)) for pattern in patterns)
    return next((_case_of(match, root) for match in matches if match), None)


def _case_of(match: "re.Match[str]", root: Path) -> str:
    """The case that a path names; the folder is it where the pattern names none."""
    return match.groupdict().get("case") or folder_name(root)


def _glob(root: Path, pattern: str) -> Sequence[Path]:
    wild = re.sub(r"\{\w+\}", "*", pattern)
    found = [path for suffix in SUFFIXES for path in root.glob(wild + suffix)]
    return sorted(path for path in found if not path.name.startswith("._"))


def _regex(pattern: str) -> "re.Pattern[str]":
    escaped = re.escape(pattern).replace(r"\{case\}", "(?P<case>[^/]+)", 1).replace(r"\{case\}", "(?P=case)")
    return re.compile(escaped.replace(r"\{structure\}", "(?P<structure>[^/]+)"))


def _stem(path: Path, root: Path) -> str:
    """Path below the root, without its suffix."""
    relative = path.relative_to(root).as_posix()
    return next(relative.removesuffix(suffix) for suffix in SUFFIXES if relative.endswith(suffix))


def _without_label(layout: Layout, case: str) -> AtlasError:
    expected = layout.labels.replace("{case}", case)
    return AtlasError(
        Reason.RESOURCE_NOT_FOUND,
        f"Its label {expected}.nii.gz is missing, although others are there.",
        remedy="Fetch the label, or import the CT without labels by its own path.",
    )


def _without_image(layout: Layout, case: str) -> AtlasError:
    expected = layout.images.replace("{case}", case)
    return AtlasError(
        Reason.RESOURCE_NOT_FOUND,
        f"This label has no image: {expected}.nii.gz is missing.",
        remedy="Fetch the image, or remove the label.",
    )


def _taken(id_: str, first: Path) -> AtlasError:
    return AtlasError(
        Reason.RESOURCE_CONFLICT,
        f"{first.name} has the id {id_} already.",
        remedy="Rename one of the two files, or import them from folders of their own.",
    )
