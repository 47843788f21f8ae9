"""The command's tree."""

from importlib.metadata import version

import typer

from services.cli import exits

app = typer.Typer(
    name="atlas",
    help="Label CT archives with an ensemble of networks, attention maps and a few reviews.",
    epilog=f"Exit codes: {exits.table()}",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"atlas {version('abdomenatlas')}")
        raise typer.Exit


@app.callback()
def root(
    version_wanted: bool = typer.Option(
        False, "--version", help="Show the version and end.", callback=_version, is_eager=True
    ),
) -> None:
    """Label CT archives with an ensemble of networks, attention maps and a few reviews."""
