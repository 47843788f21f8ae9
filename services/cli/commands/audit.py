"""`atlas audit`: who changed what and who was refused, and whether the logs are what was written."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from abdomenatlas.audit.v1 import audit_pb2 as pb
from services.cli.commands.options import STATE, Json, State
from services.cli.connection import SERVICES, Connection
from services.cli.output import as_data, out, print_json, table
from services.cli.paging import every
from services.core.audit.chain import BrokenError, genesis, verified
from services.core.errors import AtlasError, Reason
from services.core.rpc.audit_servicer import sealed

_SHOWN = ("Log", "Entry", "Time (UTC)", "Who", "Method", "What", "Outcome", "Request")
Service = Annotated[str, typer.Option("--log", help="storage (labels) or scheduler (campaigns); both if not named.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Who changed what, and who was refused. Takes the role admin.", no_args_is_help=True)
    group.command("list")(list_entries)
    group.command()(verify)
    app.add_typer(group, name="audit")


def list_entries(
    log: Service = "",
    after: Annotated[int, typer.Option(min=0, help="Only entries after this one.")] = 0,
    state: State = STATE,
    json: Json = False,
) -> None:
    """List entries, oldest first; with --json one document a line, for your own log keeping.

    Example: `atlas audit list --log storage --after 1200`
    """
    connection = Connection.to(state)
    rows = table(*_SHOWN, right=("Entry",))
    for name in _logs(log):
        for entry in _entries(connection, name, after):
            if json:
                print_json({"log": name, **as_data(entry)})
                continue
            who = f"{entry.actor or '-'}{f' for {entry.behalf_of}' if entry.behalf_of else ''}"
            when = entry.time.ToDatetime().isoformat(" ", "seconds")
            what = (entry.method.split("/")[-1], entry.resource, entry.outcome, entry.request_id)
            rows.add_row(name, str(entry.sequence), when, who, *what)
    if not json:
        out.print(rows)


def verify(
    anchor: Annotated[
        list[str] | None,
        typer.Option(help='An end that an earlier run printed, such as "storage:120:4f1d…"; it must still be there.'),
    ] = None,
    log: Service = "",
    state: State = STATE,
    json: Json = False,
) -> None:
    """Check that every entry is there, unchanged and in its place. Ends with code 5 at the first that is not.

    Keep the ends that it prints where the database's administrator cannot reach them: a log that was cut off or written
    anew no longer holds them.

    Example: `atlas audit verify --anchor storage:120:4f1d…`
    """
    connection = Connection.to(state)
    anchors = _anchors(anchor or (), _logs(log))
    ends = [_verified(connection, name, found) for name, found in anchors.items()]
    if json:
        print_json([{"log": name, "entries": count, "end": end} for name, count, end in ends])
        return
    for name, count, end in ends:
        out.print(f"{name}: {count} entries, unbroken. End: {end}", soft_wrap=True)


def _verified(connection: Connection, log: str, anchors: dict[int, str]) -> tuple[str, int, str]:
    """Name, number of entries, and the end to keep; that of an empty log is the digest before its first entry."""
    count, digest, missing = 0, genesis(log), dict(anchors)
    if missing.pop(0, digest) != digest:
        raise _broken(log, "it does not begin as the anchor says")
    try:
        for entry in verified(log, map(sealed, _entries(connection, log, 0))):
            count, digest = entry.sequence, entry.digest
            if missing.pop(count, digest) != digest:
                raise BrokenError(count, f"entry {count} is not the one that the anchor names")
    except BrokenError as error:
        raise _broken(log, error.why) from error
    if missing:
        raise _broken(log, f"it ends at entry {count}, before the anchor's entry {min(missing)}")
    return log, count, f"{log}:{count}:{digest}"


def _entries(connection: Connection, log: str, after: int) -> Iterator[pb.AuditEntry]:
    request = pb.ListAuditEntriesRequest(after_sequence=after)
    return every(connection.audit(log).ListAuditEntries, request, "entries")


def _logs(given: str) -> tuple[str, ...]:
    if given not in ("", *SERVICES):
        raise typer.BadParameter(f"{given!r} is no log; there are {' and '.join(SERVICES)}")
    return (given,) if given else SERVICES


def _anchors(given: Iterable[str], logs: Iterable[str]) -> dict[str, dict[int, str]]:
    """The digests that each of these logs must hold, by sequence number."""
    anchors: dict[str, dict[int, str]] = {log: {} for log in logs}
    for text in given:
        log, _, rest = text.partition(":")
        sequence, _, digest = rest.partition(":")
        if log not in SERVICES or not sequence.isdecimal() or len(digest) != 64:
            raise typer.BadParameter(f"{text!r} is not an end as `atlas audit verify` prints it")
        if log not in anchors:
            raise typer.BadParameter(f"{text!r} is of a log that --log leaves out")
        if anchors[log].setdefault(int(sequence), digest) != digest:
            raise typer.BadParameter(f"{text!r} contradicts another anchor for the same entry")
    return anchors


def _broken(log: str, why: str) -> AtlasError:
    return AtlasError(
        Reason.DIGEST_MISMATCH,
        f"The audit log is not what was written: {why}.",
        field=log,
        remedy="Find out who may write to its database, and compare with a backup.",
    )
