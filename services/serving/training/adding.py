"""A trained network as the next version of its model: kept, but not served until it is promoted."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from torch import nn

from services.core import modelversions
from services.core.folderlock import locked
from services.serving.card import CARD_FILE, Card, Weights, file_digest, load_card, save_card
from services.serving.disk import SCRATCH, remove_leftovers, room_for
from services.serving.networks import save_weights
from services.serving.repository import folder_config
from services.serving.training.gate import Verdict

_ENTRY, _WEIGHTS = "model.py", "weights.pt"


def add_version(folder: Path, card: Card, network: nn.Module, files: Mapping[str, bytes]) -> int:
    """Add `network` to the model in `folder`, with `files` beside its weights; `card` says what it is. Returns its
    number.

    Whoever is killed on the way, or out of room, leaves what was there. Raises DISK_FULL.
    """
    remove_leftovers(folder)
    with room_for(folder):
        _pin(folder)
        number = _added(folder, card, network, files)
        modelversions.update_config(folder, lambda _: folder_config(folder))
    return number


def _added(folder: Path, card: Card, network: nn.Module, files: Mapping[str, bytes]) -> int:
    with tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH) as scratch:
        part = Path(scratch) / "version"
        part.mkdir()
        save_weights(network, part / _WEIGHTS)
        shutil.copy(folder / str(modelversions.numbers(folder)[0]) / _ENTRY, part / _ENTRY)
        for name, data in files.items():
            (part / name).write_bytes(data)
        number = modelversions.numbers(folder)[-1] + 1
        while not _placed(part, folder, card, number):
            number += 1
    return number


def comparison_files(verdict: Verdict, served: int) -> dict[str, bytes]:
    """The comparison with the version that is served, for programs and for people."""
    table = json.dumps({"served": served, **verdict.as_dict()}, indent=1)
    return {modelversions.COMPARISON_FILE: table.encode(), "comparison.md": verdict.markdown().encode()}


def replace_first(folder: Path, card: Card, network: nn.Module) -> None:
    """Write `network` as version 1 of a model that is not served: weights, card, and what Triton finds it by.

    Who is killed between the files, which all are written before the first takes its place, puts it right by the same
    call. Raises DISK_FULL, and leaves what was there.
    """
    remove_leftovers(folder)
    with room_for(folder), tempfile.TemporaryDirectory(dir=folder, prefix=SCRATCH) as scratch, locked(folder):
        made = Path(scratch)
        save_weights(network, made / _WEIGHTS)
        weights = Weights(file=f"1/{_WEIGHTS}", sha256=file_digest(made / _WEIGHTS))
        trained = card.model_copy(update={"weights": weights})
        save_card(made, trained)
        (made / modelversions.CONFIG_FILE).write_text(folder_config(folder, trained))
        (folder / "1").mkdir(exist_ok=True)
        # The card last: with it the model counts as trained, and what would be missing then nobody would write again.
        for name in (weights.file, modelversions.CONFIG_FILE, CARD_FILE):
            (made / Path(name).name).replace(folder / name)


def _placed(part: Path, folder: Path, card: Card, number: int) -> bool:
    """Give the version its number, unless another training took it."""
    weights = Weights(file=f"{number}/{_WEIGHTS}", sha256=file_digest(part / _WEIGHTS))
    label = f"{load_card(folder).label}-v{number}"
    save_card(part, card.model_copy(update={"label": label, "weights": weights}))
    try:
        part.rename(folder / str(number))
    except OSError:
        if (folder / str(number)).exists():
            return False
        raise
    return True


def _pin(folder: Path) -> None:
    """Name the versions that are served: without a policy Triton would serve whichever folder is newest."""

    def pinned(config: str) -> str:
        return modelversions.with_served(config, modelversions.served_in(folder))

    modelversions.update_config(folder, pinned)
