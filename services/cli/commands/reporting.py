"""`atlas report`: a campaign as one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from services.cli.commands.options import STATE, Campaign, State, campaign_name
from services.cli.connection import Connection
from services.cli.output import counted, out
from services.cli.report.facts import CaseFacts, read_facts
from services.cli.report.page import render
from services.cli.report.scenes import Row, case_rows
from services.cli.report.story import tell

DEFAULT_PICTURED = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("report")(run)


def run(
    campaign: Campaign,
    to: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path("report.html"),
    pictured: Annotated[
        int, typer.Option(min=0, max=1000, help="Show pictures of this many volumes, most urgent first.")
    ] = DEFAULT_PICTURED,
    state: State = STATE,
) -> None:
    """Write a campaign's report: one HTML file with pictures, that loads nothing from elsewhere.

    Example: `atlas report first --out report.html`
    """
    write_report(Connection.to(state), campaign_name(campaign), to, pictured)
    size = to.stat().st_size / 1e6
    out.print(f"{to}: {size:.1f} MB.")


def write_report(connection: Connection, campaign: str, to: Path, pictured: int = DEFAULT_PICTURED) -> None:
    """Read a campaign, draw it, and replace the file in one step."""
    facts = read_facts(connection, campaign)
    with counted("Drawing") as progress:
        task = progress.add_task("", total=min(pictured, sum(case.labels is not None for case in facts.cases)))

        def rows_of(case: CaseFacts) -> list[Row]:
            progress.update(task, description=case.item.volume)
            rows = case_rows(connection.storage, case, facts.class_map)
            progress.advance(task)
            return rows

        page = render(tell(facts, rows_of, pictured))
    part = to.with_name(f".{to.name}.part")
    to.parent.mkdir(parents=True, exist_ok=True)
    part.write_text(page, encoding="utf-8")
    part.replace(to)
