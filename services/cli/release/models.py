"""The models that made the AI masks of a release."""

from collections.abc import Iterable

from services.cli.release.contents import ReleaseCase


def models(cases: Iterable[ReleaseCase]) -> list[dict[str, str]]:
    """Name and digest of the weights of each model whose predictions went into the labels, by name."""
    used = (model for case in cases for organ in case.labels.organs for model in case.models(organ))
    weights = {model.name: model.weights_sha256 for model in used}
    return [{"name": name, "weights_sha256": digest} for name, digest in sorted(weights.items())]
