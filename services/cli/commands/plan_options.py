"""Options of the commands that train, and the plan that they make."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from services.core.errors import AtlasError

TUNING_MINUTES = 25
Epochs = Annotated[int, typer.Option(min=0, help="Epochs instead of minutes: the same weights every time.")]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the random numbers.")]
Whole = Annotated[bool, typer.Option("--whole", help="All weights, not only the revised organs' heads.")]
Margin = Annotated[
    float,
    typer.Option(min=0, max=1, help="DSC that an organ may lose and still pass the comparison.", show_default="0.001"),
]
HeldOut = Annotated[
    float,
    typer.Option("--held-out", min=0, max=0.9, help="Share of volumes that nothing is trained on.", show_default="0.2"),
]
Rate = Annotated[
    float, typer.Option(min=0, max=1, help="Peak learning rate.", show_default="0.002 for heads, else 0.0002 or 0.001")
]
Batch = Annotated[int, typer.Option(min=0, max=64, help="Crops of a step on every device.", show_default="1")]


@contextmanager
def naming_flags() -> Iterator[None]:
    """Name the option that a refusal of the plan is about, which the scheduler knows as a field."""
    try:
        yield
    except AtlasError as error:
        field = error.field.removeprefix("plan.")
        if field == error.field:
            raise
        many = {"organs": "organ", "volumes": "volume"}
        raise error.at(f"--{many.get(field, field).replace('_', '-')}") from error
