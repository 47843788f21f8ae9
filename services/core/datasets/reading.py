"""Dataset files: read, and refused where they contradict themselves."""

import re
from collections.abc import Hashable
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from services.core import classmaps
from services.core.datasets.dataset import PAIRS, VOCABULARY, Dataset, Layout, Structure, Table
from services.core.errors import AtlasError, Reason
from services.core.nifti.labels import MAX_LABEL

_MAX_VERSION = 2**31 - 1
_FIELDS = {
    "name",
    "version",
    "title",
    "source",
    "licence",
    "labels",
    "layouts",
    "looks_for",
    "only_cases",
    "hospital",
    "phase",
    "table",
    "unverified",
    "notes",
}
_REQUIRED = ("name", "version", "title", "source", "licence", "labels", "layouts")
_BDMAP = (Layout("{case}/ct", "{case}/segmentations/{structure}"),)


def names() -> list[str]:
    """Names of the datasets that ship with the product."""
    maps = files(__package__) / "maps"
    return sorted(
        [f.name.removesuffix(".yaml") for f in maps.iterdir() if f.name.endswith(".yaml")] + classmaps.names()
    )


@cache
def load(name: str) -> Dataset:
    """The dataset of that name. Raises CLASS_MAP_MISMATCH if there is none."""
    if name not in names():
        raise _refused(
            f"There is no dataset {name[:64]!r}.", f"Known: {', '.join(names())}. docs/datasets.md says how to add one."
        ).at("dataset")
    if name in classmaps.names():
        return _release(name)
    return parse((files(__package__) / "maps" / f"{name}.yaml").read_text())


def parse(text: str) -> Dataset:
    """The dataset that a YAML text describes.

    Raises CLASS_MAP_MISMATCH or ORGAN_UNKNOWN where it says one thing twice, two things of one organ without declaring
    a union (`part_of`), or something that nobody knows.
    """
    try:
        data = yaml.load(text, _Strict)
    except yaml.YAMLError as error:
        raise _refused(f"This is not YAML: {str(error)[:200]}") from error
    if not isinstance(data, dict):
        raise _refused("This is not a mapping.")
    if unknown := sorted(set(data) - _FIELDS):
        raise _refused(f"Nobody knows the fields {', '.join(unknown)}.", f"Known: {', '.join(sorted(_FIELDS))}.")
    if missing := [name for name in _REQUIRED if not data.get(name)]:
        raise _refused(f"These fields are missing: {', '.join(missing)}.")
    if data.get("looks_for", "all") not in ("all", "present"):
        raise _refused('looks_for is "all" or "present".')
    _require_version(data["version"])
    structures = tuple(_structure(label, told) for label, told in data["labels"].items())
    _require_consistent(structures)
    return Dataset(
        name=data["name"],
        version=data["version"],
        title=data["title"],
        source=data["source"],
        licence=data["licence"],
        structures=tuple(sorted(structures, key=lambda structure: structure.label)),
        layouts=tuple(_layout(entry) for entry in data["layouts"]),
        looks_for=data.get("looks_for", "all"),
        only_cases=data.get("only_cases", ""),
        hospital=data.get("hospital", ""),
        phase=data.get("phase", ""),
        table=Table(**data["table"]) if "table" in data else None,
        unverified=dict(data.get("unverified", {})),
        notes=tuple(data.get("notes", ())),
    )


class _Strict(yaml.SafeLoader):
    """YAML in which a key that comes twice is an error, and not the end of the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """A mapping whose keys differ."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := sorted({str(key) for key in keys if keys.count(key) > 1}):
            raise yaml.YAMLError(f"{', '.join(twice)} is there twice.")
        return super().construct_mapping(node, deep)


def _require_version(version: Any) -> None:
    if type(version) is not int or not 0 < version <= _MAX_VERSION:
        raise _refused(
            f"The version is {version!r}; versions are whole numbers from 1.", "Raise it by one with a change."
        )


def _structure(label: Any, told: Any) -> Structure:
    if not isinstance(label, int) or isinstance(label, bool) or not 0 < label <= MAX_LABEL:
        raise _refused(f"{label!r} is not a label id; those are whole numbers from 1 to {MAX_LABEL}.")
    if isinstance(told, str):
        return Structure(label, told, told if told in VOCABULARY else "")
    if not isinstance(told, dict) or not {"name"} < set(told) or len(told) != 2:
        raise _refused(
            f"Label {label} is not described.", "Give its name, and one of `is`, `pair` and `part_of` if it is ours."
        )
    kind = next(key for key in told if key != "name")
    target, known = told[kind], {"is": VOCABULARY, "pair": tuple(PAIRS), "part_of": (*VOCABULARY, *PAIRS)}.get(kind)
    if known is None:
        raise _refused(f"Label {label} has {kind!r}, which nobody knows.", "Use `is`, `pair` or `part_of`.")
    if target not in known:
        raise AtlasError(
            Reason.ORGAN_UNKNOWN, f"Label {label} is mapped to {target!r}.", field="labels", remedy=f"Known: {known}."
        )
    return Structure(label, told["name"], target, is_part=kind == "part_of")


def _require_consistent(structures: tuple[Structure, ...]) -> None:
    seen: dict[str, int] = {}
    for structure in structures:
        if structure.name in seen:
            raise _refused(f"Labels {seen[structure.name]} and {structure.label} are both called {structure.name!r}.")
        seen[structure.name] = structure.label
        # A mask file called liver.nii.gz must mean the liver, whoever reads it.
        if structure.name in VOCABULARY and structure.target != structure.name:
            raise _refused(f"{structure.name} is one of our organs, but label {structure.label} means another.")
    wholes: dict[str, int] = {}
    for structure in structures:
        if not structure.target or structure.is_part:
            continue
        if structure.target in wholes:
            raise _refused(
                f"Labels {wholes[structure.target]} and {structure.label} are both the {structure.target}.",
                "Declare a union: let all but one, or all, be `part_of` it.",
            )
        wholes[structure.target] = structure.label
    targets = {structure.target for structure in structures}
    for pair in targets & set(PAIRS):
        if both := targets & set(PAIRS[pair]):
            raise _refused(f"{pair} is an un-split pair here, and {', '.join(sorted(both))} are labelled too.")
        if pair not in wholes:
            raise _refused(f"Something is a part of the pair {pair}, but no label is that pair.")


def _layout(entry: dict[str, str]) -> Layout:
    layout = Layout(**entry)
    for pattern in filter(None, (layout.images, layout.labels)):
        left = re.sub(r"\{(case|structure)\}", "", pattern)
        if "{case}" not in pattern or set(left) & set("{}*") or pattern.startswith("/") or ".." in pattern:
            raise _refused(f"{pattern!r} is not a path with {{case}} in it.")
    return layout


def _release(name: str) -> Dataset:
    """A release of the product's own layout: its structures are the organs of its class map."""
    class_map, facts = classmaps.load(name), classmaps.facts(name)
    structures = tuple(Structure(label, organ, organ) for label, organ in class_map.organs_by_id.items())
    _require_version(facts.get("version"))
    return Dataset(name, facts["version"], facts["source"], facts["source"], facts["licence"], structures, _BDMAP)


def _refused(message: str, remedy: str = "") -> AtlasError:
    return AtlasError(Reason.CLASS_MAP_MISMATCH, message, field="labels", remedy=remedy or "Mend the dataset's file.")
