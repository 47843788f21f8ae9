"""Policies of merging as messages: checked, with every default spelled out."""

from collections.abc import Mapping, Sequence

from abdomenatlas.type.v1 import merge_pb2 as pb
from services.core.classmaps import ClassMap
from services.core.errors import AtlasError, Reason
from services.core.names import require_id
from services.core.texts import require_text

MAX_RELIABILITIES = 1024
_DEFAULTS = pb.MergePolicy(
    overwrite=pb.MergePolicy.OVERWRITE_KEEP,
    fusion=pb.MergePolicy.FUSION_MEAN,
    readers=pb.MergePolicy.READERS_LATEST,
)
_ENUMS: Mapping[str, Mapping[str, int]] = {
    "overwrite": dict(pb.MergePolicy.Overwrite.items()),
    "fusion": dict(pb.MergePolicy.Fusion.items()),
    "readers": dict(pb.MergePolicy.Readers.items()),
}


def resolved(policy: pb.MergePolicy, class_map: ClassMap, field: str) -> pb.MergePolicy:
    """The policy with its defaults, entries in one order and steps in theirs, so that equal policies are equal bytes.

    Raises FIELD_INVALID, FIELD_REQUIRED, NAME_INVALID or ORGAN_UNKNOWN, for a part of the request's `field`.
    """
    result = pb.MergePolicy()
    result.CopyFrom(_DEFAULTS)
    for name, known in _ENUMS.items():
        value = getattr(policy, name)
        if value not in known.values():
            names = ", ".join(list(known)[1:])
            raise _invalid(f"{field}.{name}", f"There is no {name} {value}.", f"There are: {names}.")
        if value:
            setattr(result, name, value)
    result.adjudicator = _adjudicator(policy, f"{field}.adjudicator")
    result.reliabilities.extend(_reliabilities(policy, class_map, f"{field}.reliabilities"))
    result.post_processing.extend(_steps(policy.post_processing, class_map, f"{field}.post_processing"))
    return result


def _adjudicator(policy: pb.MergePolicy, field: str) -> str:
    is_asked = policy.readers == pb.MergePolicy.READERS_ADJUDICATED
    require_text(policy.adjudicator, field, required=is_asked)
    if policy.adjudicator and not is_asked:
        raise _invalid(field, "Nothing is adjudicated.", "Set readers to READERS_ADJUDICATED, or name nobody.")
    return policy.adjudicator


def _reliabilities(policy: pb.MergePolicy, class_map: ClassMap, field: str) -> list[pb.ModelReliability]:
    entries = policy.reliabilities
    if len(entries) > MAX_RELIABILITIES:
        raise _invalid(field, f"There are {len(entries)} entries.", f"Give at most {MAX_RELIABILITIES}.")
    if entries and policy.fusion != pb.MergePolicy.FUSION_WEIGHTED:
        raise _invalid(field, "Nothing is weighted.", "Set fusion to FUSION_WEIGHTED, or leave them out.")
    for index, entry in enumerate(entries):
        _require_model(entry.model, f"{field}[{index}].model")
        if entry.organ:
            class_map.require([entry.organ], field=f"{field}[{index}].organ")
        if not 0 <= entry.dsc <= 1:
            raise _invalid(f"{field}[{index}].dsc", f"{entry.dsc} is no DSC.", "Give a number from 0 to 1.")
    _require_distinct([(entry.model, entry.organ) for entry in entries], field)
    return sorted(entries, key=lambda entry: (entry.model, entry.organ))


def _steps(entries: Sequence[pb.OrganSteps], class_map: ClassMap, field: str) -> list[pb.OrganSteps]:
    known = pb.OrganSteps.Step.values()[1:]
    for index, entry in enumerate(entries):
        if entry.organ:
            class_map.require([entry.organ], field=f"{field}[{index}].organ")
        for step in entry.steps:
            if step not in known:
                names = ", ".join(pb.OrganSteps.Step.keys()[1:])
                raise _invalid(f"{field}[{index}].steps", f"There is no step {step}.", f"There are: {names}.")
    _require_distinct([(entry.organ,) for entry in entries], field)
    ordered = sorted(entries, key=lambda entry: entry.organ)
    return [pb.OrganSteps(organ=entry.organ, steps=sorted(set(entry.steps))) for entry in ordered]


def _require_model(name: str, field: str) -> None:
    parts = name.split("/")
    if len(parts) not in (2, 4) or parts[0] != "models" or (len(parts) == 4 and parts[2] != "versions"):
        raise AtlasError(
            Reason.NAME_INVALID,
            f"{name[:120]!r} is not the name of a model.",
            field=field,
            remedy="Use models/{model} or models/{model}/versions/{version}.",
        )
    for part in parts[1::2]:
        require_id(part, field)


def _require_distinct(keys: Sequence[tuple[str, ...]], field: str) -> None:
    for index, key in enumerate(keys):
        if key in keys[:index]:
            raise _invalid(f"{field}[{index}]", "There is an entry for the same before.", "Give one of them.")


def _invalid(field: str, message: str, remedy: str) -> AtlasError:
    return AtlasError(Reason.FIELD_INVALID, message, field=field, remedy=remedy)
