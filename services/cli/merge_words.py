"""A policy of merging in the words that people type, "overwrite=clear", and back."""

from collections.abc import Iterator, Sequence

from abdomenatlas.storage.v1 import storage_pb2
from abdomenatlas.type.v1.merge_pb2 import MergePolicy, ModelReliability, OrganSteps
from services.core.errors import AtlasError, Reason

_CHOICES = {"overwrite": MergePolicy.Overwrite, "fusion": MergePolicy.Fusion, "readers": MergePolicy.Readers}
HELP = (
    'How labels are merged, as "overwrite=clear"; may be given many times. '
    + "; ".join(
        f"{key}: {', '.join(name.split('_', 1)[1].lower() for name, value in choices.items() if value)}"
        for key, choices in _CHOICES.items()
    )
    + '; adjudicator=NAME; "dsc:MODEL=0.9" or "dsc:MODEL:ORGAN=0.9" for fusion=weighted; "steps:ORGAN=largest,holes" '
    'or "steps=none" for the post-processing of AI masks. See docs/merging.md.'
)


def policy(words: Sequence[str]) -> MergePolicy | None:
    """The policy that the words ask for; None without any. Raises FIELD_INVALID."""
    if not words:
        return None
    result = MergePolicy()
    for word in words:
        key, equals, value = word.partition("=")
        subject, _, rest = key.partition(":")
        if not equals:
            raise _invalid(word, "This is not of the form KEY=VALUE.")
        if key in _CHOICES:
            setattr(result, key, _choice(word, key, value))
        elif key == "adjudicator":
            result.adjudicator = value
        elif subject == "dsc" and rest:
            model, _, organ = rest.removeprefix("models/").partition(":")
            result.reliabilities.append(
                ModelReliability(model=f"models/{model}", organ=organ, dsc=_number(word, value))
            )
        elif subject == "steps":
            result.post_processing.append(OrganSteps(organ=rest, steps=_steps(word, value)))
        else:
            raise _invalid(word, f"Nothing is called {key!r}.")
    return result


def described(asked: MergePolicy) -> str:
    """The choices of a policy in one line."""
    words = [
        f"{key} {choices.Name(getattr(asked, key)).split('_', 1)[1].lower()}"
        for key, choices in _CHOICES.items()
        if getattr(asked, key)
    ]
    return ", ".join(words + ([f"adjudicator {asked.adjudicator}"] if asked.adjudicator else []))


def changes(organ: storage_pb2.OrganLabel) -> Iterator[str]:
    """What a merge changed of an organ's mask, a phrase a step."""
    for change in organ.changes:
        kind = storage_pb2.LabelChange.Kind.Name(change.kind).removeprefix("KIND_").lower()
        amounts = ((change.added_mm3, "added"), (change.removed_mm3, "removed"))
        yield f"{kind}: {', '.join(f'{mm3 / 1000:.2f} ml {what}' for mm3, what in amounts if mm3)}"


def _choice(word: str, key: str, value: str) -> int:
    names = {name.split("_", 1)[1].lower(): number for name, number in _CHOICES[key].items() if number}
    if value not in names:
        raise _invalid(word, f"There is no {key} {value!r}.", f"There are: {', '.join(names)}.")
    return names[value]


def _steps(word: str, value: str) -> list[OrganSteps.Step.ValueType]:
    names = {name.removeprefix("STEP_").lower(): number for name, number in OrganSteps.Step.items() if number}
    steps = [] if value == "none" else value.split(",")
    for step in steps:
        if step not in names:
            raise _invalid(word, f"There is no step {step!r}.", f"There are: {', '.join(names)}; or none.")
    return [names[step] for step in steps]


def _number(word: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise _invalid(word, f"{value!r} is not a number.") from None


def _invalid(word: str, message: str, remedy: str = "See docs/merging.md.") -> AtlasError:
    return AtlasError(Reason.FIELD_INVALID, message, field=f"--merge {word[:80]}", remedy=remedy)
