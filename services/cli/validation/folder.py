"""A folder of cases as a whole: what its own lists say, the faults of its cases, and what they have in common."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

from services.cli.abreast import abreast
from services.cli.release.present import CHECKSUMS, CLASS_MAP, checksums, class_map_in, sha256
from services.cli.validation.alike import twins
from services.cli.validation.case import Seen, look
from services.cli.validation.faults import Fault, Kind, refused
from services.cli.validation.listed import RESTORE, lists
from services.cli.validation.missing import missing_organs
from services.cli.validation.tree import Tree
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError
from services.core.memory import MemoryGate, total_bytes


def faults(tree: Tree, cases: Sequence[str], on_case: Callable[[str], None] = lambda _: None) -> list[Fault]:
    """What is wrong with a folder and its cases: first with its lists, then case by case, then across the cases.

    Some cases are read at once, within half of the machine's memory.
    """
    class_map, told = _class_map(tree)
    sums = checksums(tree.text(CHECKSUMS) or "")
    told += lists(tree, cases)
    told += _listed(tree, sums or {}, set(cases))
    told += [
        Fault(name, Kind.FILE_UNEXPECTED, "A link, a path that leads out, or one too many.", "Pack files.")
        for name in tree.refused
    ]
    seen: list[Seen] = []
    gate = MemoryGate(total_bytes() // 2)
    with closing(_read(tree, cases, lambda folder: _look(folder, class_map, sums or {}, gate))) as read:
        for case in read:
            seen.append(case)
            on_case(case.name)
    seen.sort(key=lambda case: case.name)
    told += [fault for case in seen for fault in case.faults]
    return told + list(missing_organs(seen)) + list(twins(seen, tree))


def _read(tree: Tree, cases: Sequence[str], look_at: Callable[[Path], Seen]) -> Generator[Seen, None, None]:
    """The cases in their order; a tar file is unpacked by one thread alone, and each case goes when it was read."""

    def unpacked() -> Iterator[tuple[Path, ExitStack]]:
        for name in cases:
            stack = ExitStack()
            yield stack.enter_context(tree.case(name)), stack

    def read(case: tuple[Path, ExitStack]) -> Seen:
        folder, stack = case
        with stack:
            return look_at(folder)

    return abreast(read, unpacked())


def _look(folder: Path, class_map: ClassMap | None, sums: dict[str, str], gate: MemoryGate) -> Seen:
    """One case, and which of its files are not those that the release lists."""
    seen = look(folder, class_map, gate)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder.parent).as_posix()
        if name in sums:
            seen.faults.extend(_altered(name, sums[name], lambda name: sha256(folder.parent / name)))
    return seen


def _listed(tree: Tree, sums: dict[str, str], cases: set[str]) -> Iterator[Fault]:
    """What `SHA256SUMS` tells of files that are gone, that it does not list, and of those beside the cases."""
    if CHECKSUMS not in tree.files:
        return
    there = set(tree.files)
    for name in sorted(set(sums) - there):
        yield Fault(name, Kind.FILE_MISSING, f"{CHECKSUMS} lists it, and it is not there.", RESTORE)
    for name in sorted(there - set(sums) - {CHECKSUMS}):
        yield Fault(name, Kind.FILE_UNLISTED, f"{CHECKSUMS} does not list it.", RESTORE)
    for name in sorted(name for name in set(sums) & there if name.split("/")[0] not in cases):
        yield from _altered(name, sums[name], tree.digest)


def _altered(name: str, wanted: str, digest: Callable[[str], str]) -> Iterator[Fault]:
    """Whether a file is another than the listed one, or cannot be read."""
    try:
        if digest(name) != wanted:
            yield Fault(name, Kind.FILE_ALTERED, f"It is not the file that {CHECKSUMS} lists.", RESTORE)
    except OSError as error:
        yield refused(name, error)


def _class_map(tree: Tree) -> tuple[ClassMap | None, list[Fault]]:
    """The class map that the folder names, if it names one of ours."""
    text = tree.text(CLASS_MAP)
    try:
        return class_map_in(text) if text is not None else None, []
    except AtlasError as error:
        return None, [refused(CLASS_MAP, error)]
