"""Exit codes of the `atlas` command, and how an error becomes one."""

from enum import IntEnum

from services.core.errors import AtlasError, Reason


class Exit(IntEnum):
    """What the shell is told."""

    DONE = 0
    """Everything that was asked for is done."""
    REFUSED = 1
    """Something was refused: the message names it, says why, and what to do. The rest of an import went on."""
    USAGE = 2
    """The command line is wrong."""
    UNREACHABLE = 3
    """No stack or service answers; the same command may succeed later."""
    STATE = 4
    """A lease, review, campaign or folder is in a state that does not allow this."""
    FAULT = 5
    """A fault of the product, or damaged data; the logs tell more."""
    FOUND = 6
    """A check found something; the answer tells what."""
    INTERRUPTED = 130
    """Ctrl-C."""


_STATE = {
    Reason.LEASE_HELD,
    Reason.LEASE_LOST,
    Reason.REVIEW_STATE,
    Reason.CAMPAIGN_STATE,
    Reason.ETAG_MISMATCH,
    Reason.RESOURCE_CONFLICT,
}
_FAULT = {Reason.INTERNAL, Reason.DIGEST_MISMATCH, Reason.ARRAY_FILE_CORRUPT, Reason.MODEL_ANSWER_INVALID}


def exit_code(error: AtlasError) -> Exit:
    """The exit code of an error."""
    if error.is_passing:
        return Exit.UNREACHABLE
    if error.reason in _STATE:
        return Exit.STATE
    return Exit.FAULT if error.reason in _FAULT else Exit.REFUSED


def table() -> str:
    """The codes and their meaning, for the help text."""
    meanings = {
        Exit.DONE: "done",
        Exit.REFUSED: "something was refused; the message says what, why and the remedy",
        Exit.USAGE: "wrong command line",
        Exit.UNREACHABLE: "no stack or service answers; may be repeated",
        Exit.STATE: "a lease, review, campaign or folder is in a state that does not allow this",
        Exit.FAULT: "a fault of the product, or damaged data; see the logs",
        Exit.FOUND: "a check found something",
        Exit.INTERRUPTED: "interrupted",
    }
    return "  ".join(f"{code.value} {meaning}." for code, meaning in meanings.items())
