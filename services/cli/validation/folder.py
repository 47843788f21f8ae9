"""A folder of cases as a whole: what its own lists say, the faults of its cases, and what they have in common."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from services.cli.release.present import CHECKSUMS, CLASS_MAP, checksums, class_map_in, sha256
from services.cli.validation.alike import twins
from services.cli.validation.case import Seen, look
from services.cli.validation.faults import Fault, Kind, refused
from services.cli.validation.missing import missing_organs
from services.cli.validation.tree import Tree
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError
from services.core.memory import MemoryGate, total_bytes

_AT_ONCE = min(os.cpu_count() or 1, 4)
_RESTORE = "Restore the release as it was written."


def faults(tree: Tree, cases: Sequence[str], on_case: Callable[[str], None] = lambda _: None) -> list[Fault]:
    """What is wrong with a folder and its cases: first with its lists, then case by case, then across the cases.

    Some cases are read at once, within half of the machine's memory.
    """
    class_map, told = _class_map(tree)
    sums = checksums(tree.text(CHECKSUMS) or "")
    told += _listed(tree, sums or {}, set(cases))
    told += [
        Fault(name, Kind.FILE_UNEXPECTED, "A link or a path that leads out.", "Pack files.") for name in tree.refused
    ]
    seen: list[Seen] = []
    gate = MemoryGate(total_bytes() // 2)
    for case in _read(tree, cases, lambda folder: _look(folder, class_map, sums or {}, gate)):
        seen.append(case)
        on_case(case.name)
    seen.sort(key=lambda case: case.name)
    told += [fault for case in seen for fault in case.faults]
    return told + list(missing_organs(seen)) + list(twins(seen, tree))


def _read(tree: Tree, cases: Sequence[str], look_at: Callable[[Path], Seen]) -> Iterator[Seen]:
    """The cases as they are read, each while its folder is there: one more than are looked at lies ready."""
    waiting: deque[tuple[Future[Seen], ExitStack]] = deque()
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for name in cases:
                with ExitStack() as stack:
                    folder = stack.enter_context(tree.case(name))
                    waiting.append((pool.submit(look_at, folder), stack.pop_all()))
                if len(waiting) > _AT_ONCE:
                    yield _done(*waiting.popleft())
            while waiting:
                yield _done(*waiting.popleft())
        finally:
            for future, stack in waiting:
                future.cancel()
                stack.callback(future.exception) if not future.cancelled() else None
                stack.close()


def _done(future: "Future[Seen]", stack: ExitStack) -> Seen:
    with stack:
        return future.result()


def _look(folder: Path, class_map: ClassMap | None, sums: dict[str, str], gate: MemoryGate) -> Seen:
    """One case, and which of its files are not those that the release lists."""
    seen = look(folder, class_map, gate)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder.parent).as_posix()
        if name in sums and sha256(path) != sums[name]:
            seen.faults.append(_altered(name))
    return seen


def _listed(tree: Tree, sums: dict[str, str], cases: set[str]) -> Iterator[Fault]:
    """What `SHA256SUMS` tells of files that are gone, that it does not list, and of those beside the cases."""
    if CHECKSUMS not in tree.files:
        return
    there = set(tree.files)
    for name in sorted(set(sums) - there):
        yield Fault(name, Kind.FILE_MISSING, f"{CHECKSUMS} lists it, and it is not there.", _RESTORE)
    for name in sorted(there - set(sums) - {CHECKSUMS}):
        yield Fault(name, Kind.FILE_UNLISTED, f"{CHECKSUMS} does not list it.", _RESTORE)
    for name in sorted(name for name in set(sums) & there if name.split("/")[0] not in cases):
        if tree.digest(name) != sums[name]:
            yield _altered(name)


def _altered(name: str) -> Fault:
    return Fault(name, Kind.FILE_ALTERED, f"It is not the file that {CHECKSUMS} lists.", _RESTORE)


def _class_map(tree: Tree) -> tuple[ClassMap | None, list[Fault]]:
    """The class map that the folder names, if it names one of ours."""
    text = tree.text(CLASS_MAP)
    try:
        return class_map_in(text) if text is not None else None, []
    except AtlasError as error:
        return None, [refused(CLASS_MAP, error)]
