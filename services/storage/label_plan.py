"""Which organs label files speak of, and what each organ's mask is made of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core import classmaps, datasets
from services.core.classmaps import ClassMap
from services.core.datasets import Dataset, Structure
from services.core.datasets.dataset import organs_of, targets_within
from services.core.errors import AtlasError, Reason
from services.core.texts import require_text

MAX_FILES = 256
_SHOWN = 20


@dataclass(frozen=True)
class Piece:
    """Voxels of one target: those of a mask file, or those with one of `labels` in the label map."""

    file: pb.LabelFile
    labels: tuple[int, ...] = ()


@dataclass(frozen=True)
class Target:
    """An organ, or an un-split pair that becomes two: the union of its pieces.

    `structures` names them in the dataset's own words; empty if the files spoke of the organ itself.
    """

    name: str
    pieces: tuple[Piece, ...]
    structures: tuple[str, ...] = ()

    @property
    def organs(self) -> tuple[str, ...]:
        """What becomes of it."""
        return organs_of(self.name)


@dataclass(frozen=True)
class Plan:
    """The targets of one import, and what is not taken, in sentences."""

    targets: tuple[Target, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Asked:
    """A checked request: what its words and ids mean."""

    class_map: ClassMap
    dataset: Dataset | None
    label_map: pb.LabelFile | None
    masks: tuple[pb.LabelFile, ...]
    looked_for: tuple[str, ...]


def check(request: pb.ImportLabelVersionRequest) -> Asked:
    """Raises FIELD_INVALID, FIELD_REQUIRED, CLASS_MAP_MISMATCH or ORGAN_UNKNOWN, with what is at fault as the field."""
    class_map = classmaps.load(request.class_map or classmaps.DEFAULT)
    dataset = datasets.load(request.dataset_map) if request.dataset_map else None
    if request.origin not in (pb.ORIGIN_SOURCE, pb.ORIGIN_REVISION):
        raise AtlasError(
            Reason.FIELD_INVALID,
            "What is imported comes from a source or from a revision.",
            field="origin",
            remedy="Use ORIGIN_SOURCE or ORIGIN_REVISION.",
        )
    require_text(request.author, "author", required=True)
    if not 0 < len(request.files) <= MAX_FILES:
        raise AtlasError(Reason.FIELD_REQUIRED, f"1 to {MAX_FILES} files are expected.", field="files")
    class_map.require(tuple(request.looked_for), field="looked_for")
    for entry in request.files:
        require_text(entry.display_name, "files.display_name", longest=255)
    maps = [entry for entry in request.files if not entry.organ]
    masks = [entry for entry in request.files if entry.organ]
    for entry in masks:
        if dataset is None or dataset.structure(entry.organ) is None:
            class_map.require([entry.organ], field=title(entry))
    if len(maps) > 1:
        raise AtlasError(
            Reason.FIELD_INVALID,
            "There is more than one label map.",
            field=title(maps[1]),
            remedy="Name the organ of each binary mask, and import one label map at a time.",
        )
    names = [entry.organ for entry in masks]
    if repeated := [name for name in names if names.count(name) > 1]:
        raise twice(repeated[0])
    return Asked(class_map, dataset, maps[0] if maps else None, tuple(masks), tuple(request.looked_for))


def plan(asked: Asked, occurring: Iterable[int]) -> Plan:
    """What to make of the files, given the label ids that occur in the label map.

    Raises LABEL_UNKNOWN for ids that nobody knows, and FIELD_INVALID where an organ comes twice or was not looked for.
    """
    ids = sorted(set(occurring) - {0})
    targets, notes = _of_masks(asked)
    if asked.label_map is not None:
        targets += _of_map(asked, asked.label_map, ids)
    organs = [organ for target in targets for organ in target.organs]
    if repeated := [organ for organ in organs if organs.count(organ) > 1]:
        raise twice(repeated[0])
    return Plan(tuple(targets), tuple(notes))


def _of_map(asked: Asked, file: pb.LabelFile, ids: Sequence[int]) -> list[Target]:
    known = asked.class_map.organs_by_id if asked.dataset is None else asked.dataset.by_label
    if unknown := [id_ for id_ in ids if id_ not in known]:
        more = f" and {len(unknown) - _SHOWN} more" if len(unknown) > _SHOWN else ""
        whose = asked.class_map.name if asked.dataset is None else asked.dataset.name
        raise AtlasError(
            Reason.LABEL_UNKNOWN,
            f"The class map {whose} has no {', '.join(map(str, unknown[:_SHOWN]))}{more}.",
            field=title(file),
            remedy="Name the class map that the ids belong to, or map the ids first.",
        )
    if asked.dataset is None:
        present = {asked.class_map.organs_by_id[id_] for id_ in ids}
        looked = set(asked.looked_for) or present
        _require_looked_for(present, looked)
        return [
            Target(organ, (Piece(file, (asked.class_map.id_of(organ),)),))
            for organ in asked.class_map.organs
            if organ in looked
        ]
    by_target = asked.dataset.targets
    present = {organ for name, of in by_target.items() if {s.label for s in of} & set(ids) for organ in organs_of(name)}
    present &= set(asked.class_map.organs)
    told = present if asked.dataset.looks_for == "present" else set(asked.dataset.organs)
    looked = set(asked.looked_for) or told & set(asked.class_map.organs)
    _require_looked_for(present, looked)
    if beyond := sorted(looked - set(asked.dataset.organs)):
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"{asked.dataset.name} does not label {', '.join(beyond)}.",
            field="looked_for",
            remedy="Leave looked_for empty.",
        )
    return [
        Target(name, (Piece(file, tuple(s.label for s in by_target[name])),), _names(by_target[name]))
        for name in targets_within(asked.dataset, looked)
    ]


def _of_masks(asked: Asked) -> tuple[list[Target], list[str]]:
    given = {entry.organ: entry for entry in asked.masks}
    if asked.dataset is None:
        return [Target(o, (Piece(given[o]),)) for o in asked.class_map.organs if o in given], []
    targets = []
    notes = [
        f"{structure.name} was left out: it is given to organs only where it comes in a label map."
        for structure in asked.dataset.anywhere
        if structure.name in given
    ]
    for name, structures in asked.dataset.targets.items():
        found = [structure for structure in structures if structure.name in given]
        if not found or not set(organs_of(name)) & set(asked.class_map.organs):
            continue
        if missing := [structure.name for structure in structures if structure not in found]:
            notes.append(f"{name} stays unknown: of what it is made of, {', '.join(missing)} has no file.")
            continue
        targets.append(Target(name, tuple(Piece(given[s.name]) for s in found), _names(structures)))
    taken = {organ for target in targets for organ in target.organs}
    plain = [o for o in asked.class_map.organs if o in given and asked.dataset.structure(o) is None and o not in taken]
    return targets + [Target(organ, (Piece(given[organ]),)) for organ in plain], notes


def _names(structures: Sequence[Structure]) -> tuple[str, ...]:
    return tuple(structure.name for structure in structures)


def _require_looked_for(present: set[str], looked: set[str]) -> None:
    if present - looked:
        raise AtlasError(
            Reason.FIELD_INVALID,
            f"The label map holds {', '.join(sorted(present - looked))}, which nobody looked for.",
            field="looked_for",
            remedy="Add them to looked_for, or leave it empty.",
        )


def title(entry: pb.LabelFile) -> str:
    """How refusals name a file, to who sent it."""
    return entry.display_name or entry.object


def kind(entry: pb.LabelFile) -> str:
    """How notes name a file: by what it shows. They are released, and names of files may be those of patients."""
    return f"{entry.organ}.nii.gz" if entry.organ else "label map"


def twice(organ: str) -> AtlasError:
    """The refusal of a second source of an organ."""
    return AtlasError(
        Reason.FIELD_INVALID, f"More than one file holds {organ}.", field="files", remedy="Give each organ once."
    )
