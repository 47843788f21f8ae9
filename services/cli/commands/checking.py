"""`atlas check`: labels against the anatomical rules."""

from typing import Annotated

import typer

from abdomenatlas.storage.v1 import storage_pb2 as storage_pb
from abdomenatlas.uncertainty.v1 import uncertainty_pb2 as pb
from services.cli.commands.options import STATE, Json, State
from services.cli.connection import Connection
from services.cli.exits import Exit
from services.cli.output import as_data, counted, out, print_json, table
from services.cli.paging import every
from services.cli.places import SEVERITIES, centre, numbers
from services.core.errors import AtlasError, Reason
from services.core.names import parse, require_id
from services.core.texts import amount

_ORIGINS = {storage_pb.ORIGIN_SOURCE: "source", storage_pb.ORIGIN_REVISION: "revision", storage_pb.ORIGIN_AI: "merged"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check")(run)


def run(
    name: Annotated[
        str,
        typer.Argument(help="A volume, or one label version of it: volumes/ID/labels/ID.", metavar="VOLUME|LABELS"),
    ] = "",
    rule: Annotated[list[str] | None, typer.Option(help="Run this rule only; may be given several times.")] = None,
    all_versions: Annotated[bool, typer.Option("--all", help="Check all label versions of the volume.")] = False,
    rules: Annotated[bool, typer.Option("--rules", help="List the rules instead, and what each says.")] = False,
    state: State = STATE,
    json: Json = False,
) -> None:
    """Hold labels against what anatomy allows: swapped sides, cut vessels, leaks, stray pieces, odd volumes.

    Of a volume its newest merged labels are checked, or else its newest ones. Rules are silent where the field of view
    cannot tell. The exit code is 6 if anything was found.

    Examples: `atlas check BDMAP_1` · `atlas check BDMAP_1 --all --json` · `atlas check --rules`
    """
    connection = Connection.to(state)
    if rules:
        _show_rules(list(connection.uncertainty.ListRules(pb.ListRulesRequest()).rules), json)
        return
    versions = _versions(connection, name, all_versions)
    checks = [_check(connection, version.name, rule or []) for version in versions]
    if json:
        print_json([as_data(check) for check in checks])
    else:
        for version, check in zip(versions, checks, strict=True):
            _show(version, check)
    if any(check.findings for check in checks):
        raise typer.Exit(Exit.FOUND)


def _versions(connection: Connection, name: str, all_versions: bool) -> list[storage_pb.LabelVersion]:
    """The label versions that were asked for, oldest first."""
    rpc = connection.storage.rpc
    if "/labels/" in name:
        parse(name, "volumes/*/labels/*", "VOLUME|LABELS")
        return [rpc.GetLabelVersion(storage_pb.GetLabelVersionRequest(name=name)).label_version]
    volume = f"volumes/{require_id(name.removeprefix('volumes/'), 'VOLUME|LABELS')}"
    rpc.GetVolume(storage_pb.GetVolumeRequest(name=volume))
    listing = storage_pb.ListLabelVersionsRequest(parent=volume)
    versions: list[storage_pb.LabelVersion] = list(every(rpc.ListLabelVersions, listing, "label_versions"))
    if not versions:
        raise AtlasError(
            Reason.RESOURCE_NOT_FOUND,
            "This volume has no labels.",
            field=volume,
            remedy="Import labels, or run a campaign on it.",
        )
    merged = [version for version in versions if version.origin == storage_pb.ORIGIN_AI]
    return versions if all_versions else (merged or versions)[-1:]


def _check(connection: Connection, version: str, rules: list[str]) -> pb.LabelCheck:
    """The findings of one version, with a progress bar."""
    with counted("Checking") as progress:
        task = progress.add_task(version, total=1.0)
        for message in connection.uncertainty.CheckLabels(pb.CheckLabelsRequest(label_version=version, rules=rules)):
            progress.update(task, completed=message.progress.fraction)
            if message.HasField("check"):
                return message.check
    raise AtlasError(
        Reason.INTERNAL, "The check ended without an answer.", field=version, remedy="Read uncertainty's log."
    )


def _show(version: storage_pb.LabelVersion, check: pb.LabelCheck) -> None:
    """A heading, and a row for every finding."""
    by = f" by {version.author}" if version.author else ""
    count = len(check.findings)
    said = "nothing found" if not count else amount(count, "finding")
    out.print(f"{version.name} ({_ORIGINS[version.origin]}{by}): {said} by {len(check.rules)} rules.")
    if count:
        rows = table("Severity", "Rule", "Finding", "In numbers", "At, mm")
        for finding in check.findings:
            place = centre(finding.centre_mm) if finding.centre_mm else ""
            rows.add_row(SEVERITIES[finding.severity], finding.rule, finding.message, numbers(finding), place)
        out.print(rows)


def _show_rules(rules: list[pb.AnatomicalRule], json: bool) -> None:
    if json:
        print_json([as_data(rule) for rule in rules])
        return
    rows = table("Rule", "Up to", "Says", "From")
    for rule in rules:
        rows.add_row(rule.name, SEVERITIES[rule.severity], rule.description, rule.threshold)
    out.print(rows)
