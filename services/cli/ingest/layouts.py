"""Where the files of a dataset's cases lie below its folder: paths with `{case}` and `{structure}` in them."""

import re
from collections.abc import Sequence
from pathlib import Path

from services.cli.ingest.discover import SUFFIXES, folder_name
from services.core.datasets import Dataset, Layout

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


def fitting(root: Path, dataset: Dataset) -> Layouts | None:
    """The layout in which most cases are complete; the dataset's own before others; None if none fits at all.

    Where the folder is one case of the dataset, patterns begin inside it and name no case.

    Where there are images alone, and all of them end in nnU-Net's number of a channel, nnU-Net's folders fit as well as
    others: the number is no part of their ids then.
    """
    best, most = None, 0.0
    for layouts in (dataset.layouts, NNUNET, DECATHLON, of_one_case(root, dataset)):
        complete = 0.0
        for layout in layouts:
            images, labels = matches(root, layout.images), labelled(root, layout)
            complete += sum(case in labels for case in images) if layout.labels else 0
            complete += len(images) / 1e6  # images alone are better than nothing
        if complete > most or (layouts is NNUNET and complete == most > 0):
            best, most = layouts, complete
    return best


def of_one_case(root: Path, dataset: Dataset) -> Layouts:
    """The dataset's layouts seen from the folder of a case; none if a label map of ours lies in it."""
    if _glob(root, "combined_labels"):
        return ()
    inside = [layout for layout in dataset.layouts if layout.images.startswith(_CASE)]
    return tuple(Layout(each.images.removeprefix(_CASE), each.labels.removeprefix(_CASE)) for each in inside)


def labelled(root: Path, layout: Layout) -> dict[str, dict[str, list[Path]]]:
    """Label files by case and structure; the structure of a label map is "". More than one means one too many."""
    if not layout.labels:
        return {}
    found: dict[str, dict[str, list[Path]]] = {}
    pattern = _regex(layout.labels)
    for path in _glob(root, layout.labels):
        if match := pattern.fullmatch(place(path, root)):
            structure = match.groupdict().get("structure", "")
            found.setdefault(_case_of(match, root), {}).setdefault(structure, []).append(path)
    return found


def matches(root: Path, images: str) -> dict[str, list[Path]]:
    """Image files by case, in the order of names. More than one means one too many."""
    pattern = _regex(images)
    found: dict[str, list[Path]] = {}
    for path in _glob(root, images):
        if match := pattern.fullmatch(place(path, root)):
            found.setdefault(_case_of(match, root), []).append(path)
    return found


def case_in(path: Path, layouts: Layouts, root: Path) -> str | None:
    """The case that a file belongs to."""
    patterns = [pattern for layout in layouts for pattern in (layout.images, layout.labels) if pattern]
    found = (_regex(pattern).fullmatch(place(path, root)) for pattern in patterns)
    return next((_case_of(match, root) for match in found if match), None)


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


def place(path: Path, root: Path) -> str:
    """Path below the root, without its suffix."""
    relative = path.relative_to(root).as_posix()
    return next(relative.removesuffix(suffix) for suffix in SUFFIXES if relative.endswith(suffix))
