"""The RPC of the audit log, served by every service that has one."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

from abdomenatlas.audit.v1 import audit_pb2 as pb
from abdomenatlas.audit.v1.audit_pb2_grpc import AuditServiceServicer
from services.core.audit.chain import Entry, Sealed
from services.core.rpc.paging import Page

FULL_NAME = "abdomenatlas.audit.v1.AuditService"
_KINDS = {
    "anyone": pb.AuditEntry.ACTOR_KIND_ANYONE,
    "person": pb.AuditEntry.ACTOR_KIND_PERSON,
    "service": pb.AuditEntry.ACTOR_KIND_SERVICE,
}


class Log(Protocol):
    """What there is of `services.core.audit.log.AuditLog` here, where no database is known."""

    name: str

    def append(self, entry: Entry) -> object:
        """Write an entry after the newest."""

    def page(self, after: int, limit: int) -> Sequence[Sealed]:
        """Entries in order, after a sequence number."""


class AuditServicer(AuditServiceServicer):
    """Convert, call, convert."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self._thread = ThreadPoolExecutor(1, "audit-read")

    async def ListAuditEntries(self, request: pb.ListAuditEntriesRequest, context: Any) -> pb.ListAuditEntriesResponse:
        """Entries, oldest first."""
        given = request.after_sequence
        page = Page.of(request.page_size, request.page_token, "ListAuditEntries", (int,), given)
        (after,) = page.after or (given,)
        found = await asyncio.get_running_loop().run_in_executor(self._thread, self.log.page, after, page.size + 1)
        rows, token = page.cut(found, lambda sealed: (sealed.sequence,))
        return pb.ListAuditEntriesResponse(log=self.log.name, entries=map(message, rows), next_page_token=token)


def message(sealed: Sealed) -> pb.AuditEntry:
    """The message of an entry."""
    entry = sealed.entry
    made = pb.AuditEntry(
        sequence=sealed.sequence,
        request_id=entry.request_id,
        actor_kind=_KINDS[entry.kind],
        actor=entry.actor,
        behalf_of=entry.behalf_of,
        role=entry.role,
        peer=entry.peer,
        method=entry.method,
        resource=entry.resource,
        outcome=entry.outcome,
        digest=sealed.digest,
    )
    made.time.FromMicroseconds(entry.time_us)
    return made


def sealed(made: pb.AuditEntry) -> Sealed:
    """The entry of a message; a kind of actor that is none breaks the chain, as any change does."""
    kind = next((kind for kind, value in _KINDS.items() if value == made.actor_kind), "")
    entry = Entry(
        time_us=made.time.ToMicroseconds(),
        request_id=made.request_id,
        kind=kind,
        actor=made.actor,
        behalf_of=made.behalf_of,
        role=made.role,
        peer=made.peer,
        method=made.method,
        resource=made.resource,
        outcome=made.outcome,
    )
    return Sealed(made.sequence, entry, made.digest)
