"""Write each model's config.pbtxt from its card, or check that it follows: `python -m services.serving.repository`."""

import argparse
import sys
from pathlib import Path

from services.core.folderlock import locked
from services.core.modelversions import CONFIG_FILE, numbers, served, with_served, write_config
from services.serving.card import CARD_FILE, Card, Outputs, load_card, load_version, weights_path

CPU_THREADS = 1
"""Threads a model computes with on a CPU: fixed, because another number may round otherwise and change the bytes; and
one, because models that answer side by side share the cores better so."""

_TEMPLATE = """\
# Written by `python -m services.serving.repository models` from the card; edit model.yaml instead.
name: "{name}"
backend: "python"
max_batch_size: 0
input [
  {{ name: "ct" data_type: TYPE_INT16 dims: [ -1, -1, -1 ] }},
  {{ name: "geometry" data_type: TYPE_STRING dims: [ 1 ] }}
]
output [
  {{ name: "array" data_type: TYPE_UINT8 dims: [ -1 ] }}
]
"""


_OPTIONAL = ("axes", "gaussian_sigma", "gpu_runtime", "intensity", "outputs", "working_spacing_mm")
"""What also changes the answers, but is said only where it is not the usual: so that a digest stays what it was."""


def _default(name: str) -> object:
    return Card.model_fields[name].default


def _parameter(value: object) -> str:
    if isinstance(value, Outputs):
        channels = ",".join(f"{organ}={'+'.join(map(str, some))}" for organ, some in value.channels.items())
        return f"{value.activation} {value.count} {channels}"
    return ",".join(f"{number:g}" for number in value) if isinstance(value, tuple) else str(value)


def config_text(card: Card) -> str:
    """The model's config.pbtxt: its tensors and, as parameters, what a caller must know of the card."""
    return _TEMPLATE.format(name=card.name) + _lines(_parameters(card))


def folder_config(folder: Path, card: Card | None = None) -> str:
    """The config.pbtxt of a model with all its versions, with `card` in the place of the model's own; which of them
    are served stays as it is.

    A version from training says what is different from the model's card: "2/weights_sha256" is the "weights_sha256" of
    version 2. Raises MODEL_CARD_INVALID.
    """
    card, path = card or load_card(folder), folder / CONFIG_FILE
    text, common = config_text(card), _parameters(card)
    for number in numbers(folder):
        has_own = (folder / str(number) / CARD_FILE).exists()
        own = _parameters(load_version(folder, number)) if has_own else common
        text += _lines({f"{number}/{key}": value for key, value in own.items() if common.get(key) != value})
    there = served(path.read_text()) if path.is_file() else ()
    return with_served(text, there) if there else text


def _parameters(card: Card) -> dict[str, str]:
    return {
        "architecture": card.network.architecture,
        "class_map": card.class_map,
        "cpu_runtime": card.cpu_runtime,
        "cpu_threads": str(CPU_THREADS),
        **_measured(card),
        "grid_spacing_mm": f"{card.grid_spacing_mm:g}",
        "hu_window": ",".join(f"{value:g}" for value in card.hu_window),
        "model_version": card.label,
        "organs": ",".join(card.organs),
        "overlap": f"{card.overlap:g}",
        "weights_sha256": card.weights.sha256 if card.weights else "",
        "window": ",".join(map(str, card.window)),
        "working_factor": str(card.working_factor),
        **{name: _parameter(getattr(card, name)) for name in _OPTIONAL if getattr(card, name) != _default(name)},
    }


def _measured(card: Card) -> dict[str, str]:
    """DSC by organ against the card's first reference; nothing of a model that was not measured."""
    dsc = card.reaches[0].dsc if card.reaches else {}
    return {"dsc": ",".join(f"{organ}={value:g}" for organ, value in dsc.items())} if dsc else {}


def _lines(parameters: dict[str, str]) -> str:
    return "".join(
        f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}\n' for key, value in parameters.items()
    )


def model_folders(repository: Path) -> list[Path]:
    """The folders of a Triton repository that hold a card, by name."""
    return sorted(path.parent for path in repository.glob(f"*/{CARD_FILE}"))


def _with_weights(repository: Path) -> list[Path]:
    """Those that Triton may find: it does not start with one that is still to be trained. Raises MODEL_CARD_INVALID."""
    return [folder for folder in model_folders(repository) if load_card(folder).weights is not None]


def differing(repository: Path) -> list[str]:
    """Names of the models whose config.pbtxt does not follow from their card. Raises MODEL_CARD_INVALID."""
    names = []
    for folder in _with_weights(repository):
        for number in numbers(folder):
            weights_path(folder, load_version(folder, number))
        path = folder / CONFIG_FILE
        if not path.is_file() or path.read_text() != folder_config(folder):
            names.append(folder.name)
    return names


def write_configs(repository: Path) -> None:
    """Write the config.pbtxt of every model that has weights. Raises MODEL_CARD_INVALID."""
    for folder in _with_weights(repository):
        with locked(folder):
            write_config(folder, folder_config(folder))


def main() -> int:
    """Run the command; 1 if `--check` finds a difference."""
    parser = argparse.ArgumentParser(prog="python -m services.serving.repository", description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--check", action="store_true", help="change nothing, fail if something would change")
    arguments = parser.parse_args()
    if not arguments.check:
        write_configs(arguments.repository)
        return 0
    stale = differing(arguments.repository)
    for name in stale:
        print(f"{name}/{CONFIG_FILE} does not follow from its card: run this command without --check.", file=sys.stderr)
    return int(bool(stale))


if __name__ == "__main__":
    sys.exit(main())
