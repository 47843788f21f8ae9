"""Admission of a call: who calls, may they, and the audit entries before and after what changes something."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import structlog

from services.core.access import identity
from services.core.access.guard import Guard
from services.core.access.identity import ANYONE, Identity
from services.core.access.roles import RULES
from services.core.audit.chain import BEGUN, Entry
from services.core.errors import AtlasError, Reason
from services.core.rpc import request_id

Context = grpc.aio.ServicerContext[Any, Any]
Record = Callable[[Entry], object]
"""Appends an entry to the audit log; blocks."""

STRANGERS_A_MINUTE = 60
"""Calls of callers who are not recognised that are recorded in a minute; the metrics count the others."""

log = structlog.get_logger()


class Admission:
    """The door of one server. `record` None means that this service changes nothing by itself and keeps no log."""

    def __init__(self, guard: Guard, record: Record | None) -> None:
        self._guard, self._record = guard, record
        # One entry follows another in any case; so they take one connection to the database.
        self._thread = ThreadPoolExecutor(1, "audit")
        self._minute, self._strangers = 0, 0

    @asynccontextmanager
    async def admitted(self, method: str, take: Callable[[], Awaitable[Any]], context: Context) -> AsyncIterator[Any]:
        """Let a call in or refuse it, before any handler's code runs, and record what it changes and how it ends.

        `take` waits for the request, or gives the stream of them; who is not recognised is not waited for. Yields what
        it gave. Raises what it raises, UNAUTHENTICATED or PERMISSION_DENIED; and DEPENDENCY_UNAVAILABLE if the log
        cannot be written: then nothing is changed either.
        """
        rule = RULES.get(method)
        field = rule.changes if rule else ""
        who, resource = ANYONE, ""
        try:
            who = await self._guard.identify(dict(context.invocation_metadata() or ()), _sans(context))
            request = await take()
            resource = str(getattr(request, field, "")) if field else ""
            self._guard.require(who, method)
        except AtlasError as error:
            if error.reason in (Reason.UNAUTHENTICATED, Reason.PERMISSION_DENIED) and self._counts(who):
                await self._append(who, method, resource, error.reason.value, context)
            raise
        with identity.bound(who):
            if not field:
                yield request
                return
            await self._append(who, method, resource, BEGUN, context)
            outcome = "OK"
            try:
                yield request
            except BaseException as error:
                outcome = _outcome(error)
                raise
            finally:
                # What happened has happened: a log that fails now is told to the operator, not to the caller.
                with suppress(AtlasError):
                    await asyncio.shield(self._append(who, method, resource, outcome, context))

    async def _append(self, who: Identity, method: str, resource: str, outcome: str, context: Context) -> None:
        if self._record is None:
            return
        entry = Entry(
            time_us=time.time_ns() // 1000,
            request_id=request_id.current(),
            kind=who.kind,
            actor=who.name,
            behalf_of=who.behalf_of,
            role=who.role.name.lower() if who.role else "",
            peer=_host(context.peer()),
            method=method.rsplit(".", 1)[-1],
            resource=resource,
            outcome=outcome,
        )
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._record, entry)
        except AtlasError:
            log.error("audit entry not written", method=entry.method, outcome=outcome)
            raise

    def _counts(self, who: Identity) -> bool:
        """Whether a refusal is recorded: those of strangers are bounded, for they could fill the disk."""
        if who.name:
            return True
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            self._minute, self._strangers = minute, 0
        self._strangers += 1
        return self._strangers <= STRANGERS_A_MINUTE


def _outcome(error: BaseException) -> str:
    if isinstance(error, AtlasError):
        return error.reason.value
    return Reason.INTERNAL.value if isinstance(error, Exception) else "CANCELLED"


def _sans(context: Context) -> list[bytes]:
    return list(context.auth_context().get("x509_subject_alternative_name", ()))


def _host(peer: str) -> str:
    """ "10.0.0.7" of "ipv4:10.0.0.7:51234"."""
    return peer.split(":", 1)[-1].rsplit(":", 1)[0].replace("%5B", "").replace("%5D", "")
