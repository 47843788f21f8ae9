"""Finds the cases of a public dataset in the folder that people downloaded."""

import re
from collections.abc import Iterator
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
    stem,
    stored_twice,
    unreadable,
    volume_id,
)
from services.cli.ingest.layouts import Layouts, case_in, fitting, labelled, matches, of_one_case, place
from services.core.classmaps import ClassMap
from services.core.classmaps import names as releases
from services.core.datasets import Dataset, Layout
from services.core.errors import AtlasError, Reason


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
        layouts = None if dataset.name in releases() else fitting(root, dataset)
        one_case = layouts is not None and layouts == of_one_case(root, dataset)
        facts = read_table(root.absolute().parent if one_case else root, dataset, table)
        if layouts is None:
            return Found(tuple(_case_folders(root, dataset, class_map, facts)))
        return _found(root, dataset, class_map, layouts, facts, DatasetList(root, told.listed))
    except OSError as error:
        return Found((Refusal(root, unreadable(error)),))


def _unpacked(root: Path, dataset: Dataset) -> Path:
    """The folder that the dataset is in: archives often unpack into one folder of their own inside the one named."""
    if dataset.name in releases() or fitting(root, dataset):
        return root
    inside = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith((".", "__"))]
    those = [path for path in inside if path.resolve().is_relative_to(root.resolve()) and fitting(path, dataset)]
    return those[0] if len(those) == 1 else root


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
            if not (only and (case := case_in(files.path, layouts, root)) and not only.fullmatch(case)):
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
        if error := listed.fault(place(files.image, root), is_labelled=bool(files.label_map or files.masks)):
            entries.append(Refusal(files.image, error))
            continue
        entries.append(_case(files, id_, root, dataset, class_map, facts.get(files.case, CaseFacts())))
    there = [place(paths[0], root) for layout in layouts for paths in matches(root, layout.images).values()]
    for missing in listed.missing(there):
        if only and missing.path.name.endswith(SUFFIXES):
            case = case_in(missing.path, layouts, root) or stem(missing.path)
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
        images, labels = matches(root, layout.images), labelled(root, layout)
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
            case for other in layouts if other.labels == layout.labels for case in matches(root, other.images)
        }
        is_first = layout == next(other for other in layouts if other.labels == layout.labels)
        if images and is_first:
            for case, found in labels.items():
                if case not in everywhere:
                    yield Refusal(next(iter(found.values()))[0], _without_image(layout, case))


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
