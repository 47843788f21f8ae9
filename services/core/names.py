"""Resource names such as "volumes/BDMAP_1/predictions/0f…" and ids derived from content."""

import hashlib
import re

from services.core.errors import AtlasError, Reason

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def require_id(value: str, field: str) -> str:
    """`value`, if it may be one part of a resource name. Raises FIELD_REQUIRED or NAME_INVALID.

    An id becomes part of object keys and file names, so it can neither climb out of a folder nor hide in one.
    """
    if not value:
        raise AtlasError(Reason.FIELD_REQUIRED, "An id is required.", field=field)
    if not _ID.fullmatch(value) or ".." in value:
        raise AtlasError(
            Reason.NAME_INVALID,
            f"{value[:80]!r} is not an id.",
            field=field,
            remedy='Use 1 to 63 of letters, digits, "_", "-" and ".", beginning with a letter or digit, without "..".',
        )
    return value


def parse(name: str, pattern: str, field: str) -> tuple[str, ...]:
    """The ids in `name` where `pattern` (such as "volumes/*/labels/*") has a star.

    Raises FIELD_REQUIRED if the name is empty and NAME_INVALID if it does not fit.
    """
    if not name:
        raise AtlasError(Reason.FIELD_REQUIRED, f"A name like {pattern!r} is required.", field=field)
    parts, wanted = name.split("/"), pattern.split("/")
    if len(parts) != len(wanted) or any(w not in ("*", p) for p, w in zip(parts, wanted, strict=True)):
        raise AtlasError(
            Reason.NAME_INVALID, f"{name[:120]!r} is not a name of this kind.", field=field, remedy=f"Use {pattern!r}."
        )
    return tuple(require_id(p, field) for p, w in zip(parts, wanted, strict=True) if w == "*")


def content_id(*parts: str) -> str:
    """32 hex digits that follow from `parts` alone; ("ab", "c") and ("a", "bc") differ."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()[:32]
