"""Duplicates in words."""

from abdomenatlas.storage.v1 import storage_pb2 as pb

_NOTABLE_MM = 5.0


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
