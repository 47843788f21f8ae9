"""What a validation finds."""

from dataclasses import dataclass
from enum import StrEnum

from services.cli.ingest.discover import unreadable
from services.core.errors import AtlasError


class Kind(StrEnum):
    """What is wrong; refusals of a reader bring their own reason instead."""

    FILE_MISSING = "FILE_MISSING"
    FILE_ALTERED = "FILE_ALTERED"
    FILE_UNLISTED = "FILE_UNLISTED"
    FILE_UNEXPECTED = "FILE_UNEXPECTED"
    GRID_DIFFERS = "GRID_DIFFERS"
    DTYPES_MIXED = "DTYPES_MIXED"
    LABELS_SCALED = "LABELS_SCALED"
    HEADER_ODD = "HEADER_ODD"
    VALUES_ODD = "VALUES_ODD"
    COMBINED_DIFFERS = "COMBINED_DIFFERS"
    ORGAN_UNKNOWN = "ORGAN_UNKNOWN"
    ORGAN_MISSING = "ORGAN_MISSING"
    SCAN_REPEATED = "SCAN_REPEATED"
    SPLIT_LEAKS = "SPLIT_LEAKS"


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with one file, or with a folder.

    `file` is relative to the folder that was validated. A fault that is not `grave` is odd, and readers agree all the
    same on what the file means.
    """

    file: str
    kind: str
    message: str
    remedy: str
    grave: bool = True


def refused(file: str, why: AtlasError | OSError) -> Fault:
    """The fault of a file that cannot be read, by a reader of ours or by the system."""
    error = why if isinstance(why, AtlasError) else unreadable(why)
    return Fault(file, str(error.reason), error.message, error.remedy)
