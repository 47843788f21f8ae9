"""Whose request is in hand: set by the server before any handler's code runs, read wherever it is needed."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from enum import IntEnum

from services.core.errors import AtlasError, Reason


class Role(IntEnum):
    """What a person may do; each role may do what the ones before it may."""

    VIEWER = 1
    """Read everything."""
    ANNOTATOR = 2
    """Review: claim as themselves, bring revisions, decide."""
    OPERATOR = 3
    """Import volumes and labels, run campaigns."""
    ADMIN = 4
    """Write records that the services write otherwise, and read the audit log."""


@dataclass(frozen=True)
class Identity:
    """A person (`name` is the token's subject), a service (`name` is "merging"), or, where nobody is asked, neither."""

    name: str = ""
    role: Role | None = None
    is_service: bool = False
    behalf_of: str = ""
    """The person in whose request a service made this call, as the service says."""

    @property
    def kind(self) -> str:
        """ "person", "service", or "anyone" where no credentials are asked for."""
        return "service" if self.is_service else "person" if self.name else "anyone"


ANYONE = Identity()
_current: ContextVar[Identity] = ContextVar("identity", default=ANYONE)


def current() -> Identity:
    """Whoever made the request in hand; `ANYONE` outside a request, or if the service asks for no credentials."""
    return _current.get()


def actor() -> str:
    """The person behind the request in hand, "" if there is none."""
    identity = current()
    return identity.behalf_of if identity.is_service else identity.name


@contextmanager
def bound(identity: Identity) -> Iterator[None]:
    """Make `identity` the current one."""
    token = _current.set(identity)
    try:
        yield
    finally:
        # A stream that its caller abandons is closed in a context of its own, where there is nothing to take back.
        with suppress(ValueError):
            _current.reset(token)


def require_acting_as(name: str, field: str) -> None:
    """Raise PERMISSION_DENIED if the request in hand is that of a person below operator who is not `name`."""
    identity = current()
    if identity.role is not None and identity.role < Role.OPERATOR and identity.name != name:
        raise AtlasError(
            Reason.PERMISSION_DENIED,
            "An annotator acts under no other name than their own.",
            field=field,
            remedy="Use the name that your token carries, or ask an operator.",
        )


def require_role(role: Role, what: str, field: str) -> None:
    """Raise PERMISSION_DENIED if the request in hand is that of a person below `role`, who asks for `what`."""
    identity = current()
    if identity.role is not None and identity.role < role:
        raise AtlasError(
            Reason.PERMISSION_DENIED,
            f"{what} takes the role {role.name.lower()}, and yours is {identity.role.name.lower()}.",
            field=field,
            remedy="Ask whoever gives out roles at the identity provider.",
        )
