"""What ends a command that runs a stack: SIGTERM, Ctrl-C, or its terminal that is closed."""

import os
import signal
from collections.abc import Callable
from types import FrameType

from services.cli.output import drop

Handler = Callable[[int, FrameType | None], None]


def on_end(handler: Handler) -> None:
    """Have `handler` called on SIGTERM, SIGINT and, unless it is ignored as under nohup, SIGHUP.

    What is shown after a SIGHUP is dropped: to write to a closed terminal would fail in the middle of the stopping.
    """
    # A terminal that is closed is no longer told from a file.
    terminals = [number for number in (1, 2) if os.isatty(number)]

    def hang_up(number: int, frame: FrameType | None) -> None:
        # The shell and the system tell it both; to be told twice would be to hurry.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        drop(*terminals)
        handler(number, frame)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handler)
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signal.signal(signal.SIGHUP, hang_up)
