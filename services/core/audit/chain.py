"""Entries and the chain of digests over them: whoever changes, drops or slips in an entry breaks it."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

BEGUN = "BEGUN"
"""Outcome of the entry that is written before a call changes anything; a second one tells how it ended."""


@dataclass(frozen=True)
class Entry:
    """One step of one call. Texts are names, never contents: no word out of an image or a request's free text."""

    time_us: int
    """Microseconds since 1970, UTC, by the clock of the service."""
    request_id: str
    kind: str
    """Of the actor: "person", "service", "anyone"."""
    actor: str
    """The token's subject, or the service's name."""
    behalf_of: str
    """The person for whom a service says it acts."""
    role: str
    """The person's role, such as "operator"."""
    peer: str
    """Address the call came from."""
    method: str
    """Such as "StorageService/CreateVolume"."""
    resource: str
    """What the call names as what it changes."""
    outcome: str
    """BEGUN, OK, CANCELLED, or the reason of a refusal."""


@dataclass(frozen=True)
class Sealed:
    """An entry in its place: `sequence` counts from 1 without gaps."""

    sequence: int
    entry: Entry
    digest: str
    """SHA-256, lower-case hex, over the digest before it, the sequence and the entry."""


def genesis(log: str) -> str:
    """The digest before the first entry of the log of that name."""
    return hashlib.sha256(f"abdomenatlas audit log {log}".encode()).hexdigest()


def seal(previous: str, sequence: int, entry: Entry) -> Sealed:
    """`entry` as the next one after the digest `previous`."""
    # JSON with sorted keys: the same bytes for the same entry in every version and database.
    content = json.dumps([previous, sequence, asdict(entry)], sort_keys=True, separators=(",", ":"))
    return Sealed(sequence, entry, hashlib.sha256(content.encode()).hexdigest())


class BrokenError(Exception):
    """The chain is broken at `sequence`: that entry is not what was written, or not all before it are there."""

    def __init__(self, sequence: int, why: str) -> None:
        super().__init__(why)
        self.sequence, self.why = sequence, why


def verified(log: str, entries: Iterable[Sealed]) -> Iterator[Sealed]:
    """The entries of a log from its first on, each once it is proven. Raises BrokenError at the first that is not."""
    previous, expected = genesis(log), 1
    for sealed in entries:
        if sealed.sequence != expected:
            raise BrokenError(expected, f"entry {expected} is missing; the next one is {sealed.sequence}")
        if seal(previous, expected, sealed.entry).digest != sealed.digest:
            raise BrokenError(expected, f"entry {expected} is not what was written, or follows another entry")
        yield sealed
        previous, expected = sealed.digest, expected + 1
