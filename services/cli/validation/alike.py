"""Cases of a folder that show the same scan, and whether a split keeps them together."""

from collections.abc import Iterator, Sequence

from services.cli import csvtable
from services.cli.release.metadata import METADATA
from services.cli.validation.case import Seen
from services.cli.validation.faults import Fault, Kind
from services.cli.validation.tree import CT, Tree
from services.core.errors import AtlasError
from services.core.fingerprint import Sought, sums


def twins(cases: Sequence[Seen], tree: Tree) -> Iterator[Fault]:
    """Every case that shows the same scan as an earlier one, with the first such; grave across a split.

    The split is that of `metadata.csv` with the columns `case` and `split`.
    """
    sides = _sides(tree.text(METADATA) or "")
    prints = [(case, sums(case.scan.profile)) for case in cases if case.scan]
    digests: dict[str, Seen] = {}
    for number, (case, _) in enumerate(prints):
        assert case.scan
        same = digests.setdefault(case.scan.digest, case)
        if same is not case:
            yield _fault(case, same, "the same voxels", sides)
            continue
        sought = Sought.of(case.scan.profile)
        for other, areas in prints[:number]:
            assert other.scan
            if match := sought.within(other.scan.profile, areas):
                how = f"the same scan, over {match.overlap_mm:.0f} mm of the body,"
                yield _fault(case, other, how, sides)
                break


def _fault(case: Seen, other: Seen, what: str, sides: dict[str, str]) -> Fault:
    mine, its = sides.get(case.name, ""), sides.get(other.name, "")
    across = bool(mine and its and mine != its)
    where = f" One is for {mine}, the other for {its}." if across else ""
    remedy = "Put both on one side of the split." if across else "Keep them on one side of a split, or drop one."
    kind = Kind.SPLIT_LEAKS if across else Kind.SCAN_REPEATED
    return Fault(f"{case.name}/{CT}", kind, f"It shows {what} as {other.name}.{where}", remedy, grave=across)


def _sides(table: str) -> dict[str, str]:
    try:
        rows = csvtable.parse(table, METADATA)
    except AtlasError:
        # Its fault is told with the folder's lists.
        return {}
    return {row["case"]: row["split"] for row in rows if row.get("case") and row.get("split")}
