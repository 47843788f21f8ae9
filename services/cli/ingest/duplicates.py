"""Duplicates in words."""

from collections.abc import Iterable

from abdomenatlas.storage.v1 import storage_pb2 as pb
from services.core.texts import amount

_NOTABLE_MM = 5.0
_SHOWN_GROUPS = 5


def described(pair: pb.Duplicate) -> str:
    """One pair in a sentence: how alike, and what the headers make of it."""
    names = [name.removeprefix("volumes/") for name in (pair.first, pair.second)]
    if pair.kind == pb.Duplicate.KIND_EXACT:
        text = f"{names[1]} has the same voxels as {names[0]}"
    else:
        text = (
            f"{names[1]} shows the same scan as {names[0]}: {pair.overlap_mm:.0f} mm of body in common, "
            f"{100 * pair.difference:.1f} % apart"
        )
    if pair.is_reversed:
        return f"{text}; one of the two headers has it upside down"
    if abs(pair.header_offset_mm) > _NOTABLE_MM:
        return f"{text}; their headers place it {abs(pair.header_offset_mm):.0f} mm apart"
    return text


def told_shared(volumes: Iterable[str], groups: Iterable[pb.DuplicateGroup]) -> str:
    """Which of some volumes, by their names, show the same scan, in a sentence; empty if all are different."""
    wanted = set(volumes)
    found = [names for group in groups if len(names := [name for name in group.volumes if name in wanted]) > 1]
    if not found:
        return ""
    told = "; ".join(", ".join(name.removeprefix("volumes/") for name in names) for names in found[:_SHOWN_GROUPS])
    if len(found) > _SHOWN_GROUPS:
        told += f"; and {amount(len(found) - _SHOWN_GROUPS, 'group')} more"
    return f"Some of these volumes show the same scan: {told}."
