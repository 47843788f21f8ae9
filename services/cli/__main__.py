"""Entry point of the `atlas` command: wiring, and errors to exit codes."""

import sys

from services.cli.app import app
from services.cli.commands import (
    audit,
    benchmark,
    campaigns,
    checking,
    comparing,
    converting,
    demo,
    exporting,
    importing,
    models,
    provenance,
    reporting,
    reviews,
    selftest,
    stack,
    training,
    tuning,
    validating,
    volumes,
    zoo,
)
from services.cli.exits import Exit, exit_code
from services.cli.output import say, show_error
from services.core.errors import AtlasError
from services.core.rpc import request_id

for module in (
    stack,
    importing,
    models,
    zoo,
    volumes,
    checking,
    comparing,
    campaigns,
    reviews,
    exporting,
    converting,
    validating,
    provenance,
    reporting,
    selftest,
    demo,
    audit,
    benchmark,
    training,
    tuning,
):
    module.register(app)


def main() -> None:
    """Run the command line. Errors of the product end with a message and a code, never with a traceback."""
    with request_id.bound(""):
        try:
            app()
        except AtlasError as error:
            show_error(error)
            sys.exit(exit_code(error))
        except OSError as error:
            say(f"error: {error.filename or 'file'}: {error.strerror or error}", "red")
            sys.exit(Exit.REFUSED)
        except KeyboardInterrupt:
            sys.exit(Exit.INTERRUPTED)


if __name__ == "__main__":
    main()
