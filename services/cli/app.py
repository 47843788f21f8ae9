"""The command's tree."""

from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from services.cli import connection, exits
from services.core.rpc.credentials import Credentials

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
    token_file: Annotated[
        Path | None, typer.Option(envvar="ATLAS_TOKEN_FILE", help="File that holds your token.")
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(envvar="ATLAS_CA", help="Authorities (PEM) of the services' certificates.")
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(envvar="ATLAS_CERT", help="Own certificate (PEM), for ports with mutual TLS.")
    ] = None,
    key: Annotated[Path | None, typer.Option(envvar="ATLAS_KEY", help="Its private key (PEM).")] = None,
    server_name: Annotated[
        str,
        typer.Option(
            envvar="ATLAS_SERVER_NAME",
            help="Name in the services' certificates, where the address is not in them, as with a forwarded port; "
            "{service} stands for storage, scheduler and so on.",
        ),
    ] = "",
) -> None:
    """Label CT archives with an ensemble of networks, attention maps and a few reviews.

    What you show to the services that ATLAS_STORAGE and ATLAS_SCHEDULER name goes before the command.
    """
    connection.show(Credentials(ca, cert, key, token_file, server_name))
