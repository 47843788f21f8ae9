"""Texts in messages, files and reports: those that callers choose are checked, numbers of things are put in words."""

from services.core.errors import AtlasError, Reason


def require_text(value: str, field: str, *, longest: int = 128, required: bool = False) -> str:
    """`value`, if it is one line of at most `longest` characters. Raises FIELD_REQUIRED or FIELD_INVALID."""
    if required and not value:
        raise AtlasError(Reason.FIELD_REQUIRED, "A text is required.", field=field)
    if len(value) > longest or not value.isprintable():
        raise AtlasError(
            Reason.FIELD_INVALID,
            "This text is too long or holds characters that cannot be printed.",
            field=field,
            remedy=f"Use one line of at most {longest} characters.",
        )
    return value


def amount(count: int, noun: str) -> str:
    """A number of things, such as "1 case" and "2 cases"."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
