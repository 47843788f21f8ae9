"""What the command says: results on stdout, everything else on stderr."""

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn
from rich.table import Table

from services.core.errors import AtlasError


class _Told(Console):
    """What people are told while something is done. That nobody reads it any more must not end it half-way."""

    def on_broken_pipe(self) -> None:
        drop(2)


_WIDE = 240
# Without a terminal nothing may be cut to its width: names are read by programs.
out = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else _WIDE)
err = _Told(stderr=True, highlight=False, markup=False)


def printable(text: str) -> str:
    """The text with what no terminal can show replaced: a file's name need not be valid Unicode."""
    return text.encode("utf-8", "replace").decode()


def drop(*descriptors: int) -> None:
    """Have what is written to these file descriptors from now on go nowhere."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in descriptors:
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


def say(message: str, style: str = "") -> None:
    """One line about the progress, on stderr."""
    try:
        err.print(printable(message), style=style, soft_wrap=True)
    except OSError:  # the terminal is gone
        drop(2)


def show_error(error: AtlasError, field: str = "") -> None:
    """One error on stderr: "error: <field>: <message> <remedy>"."""
    say(f"error: {error.at(field) if field else error}", "red")


def warn(message: str) -> None:
    """One warning on stderr."""
    say(f"warning: {message}", "yellow")


def print_json(data: Any) -> None:
    """A result for a program, on stdout: one JSON document on one line."""
    sys.stdout.write(json.dumps(data, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def as_data(message: Message) -> dict[str, Any]:
    """A message as JSON data with the field names of the protos; numbers of 64 bits are strings, as in all of them."""
    return dict(MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True))


def table(*columns: str, right: Iterable[str] = ()) -> Table:
    """An empty table; the columns named in `right` hold numbers."""
    result = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        result.add_column(
            column, justify="right" if column in right else "left", no_wrap=column in right or column == columns[0]
        )
    return result


def counted(title: str) -> Progress:
    """A progress display for a number of things."""
    return Progress(
        SpinnerColumn(),
        TextColumn(title),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.description}", markup=False),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )


def transfer() -> Progress:
    """A progress display for bytes that move."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    )
