"""A model folder written beside the others, proved, and only then put in its place."""

import ctypes
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from services.core.errors import AtlasError, Reason
from services.core.modelversions import CONFIG_FILE
from services.serving.card import Card, Weights, file_digest, save_card
from services.serving.channels import organ_logits
from services.serving.disk import room_for
from services.serving.networks import load_network
from services.serving.repository import config_text
from services.serving.runtime import on_cpu

_HERE, _EXCHANGE = -100, 2
"""AT_FDCWD and RENAME_EXCHANGE of Linux."""
_PROBABILITY_TOLERANCE = 1e-3
_WEIGHTS_FILE = "1/weights.pt"
_ENTRY = '''"""Triton's entry point; the card beside this folder says what is loaded."""

from services.serving.triton_model import TritonPythonModel

__all__ = ["TritonPythonModel"]
'''


def install(network: nn.Module, card: Card, repository: Path, *, replace: bool) -> Card:
    """Write the folder of a model with these weights, exactly as they are, and return its card.

    What is served under the name stays untouched until the network answered for one window. Raises RESOURCE_CONFLICT
    if there is one and it may not be replaced, WEIGHTS_MISMATCH if the answer is not finite, and DISK_FULL.
    """
    require_free(card.name, repository, replace=replace)
    with _beside(repository) as scratch:
        folder = scratch / card.name
        # With the digest of its weights, under which a converted network is kept.
        written = _proved(network, card.model_copy(update={"weights": _write_weights(network, folder)}))
        _describe(folder, written)
        load_network(folder, written)
        _put(folder, repository / card.name)
    return written


def add(card: Card, name: str, repository: Path) -> Card:
    """Write the folder of a model that is to be trained, and return its card.

    Triton finds it once it has weights and a config.pbtxt. Raises NAME_INVALID, RESOURCE_CONFLICT if there is a model
    of that name, and DISK_FULL.
    """
    require_name(name)
    require_free(name, repository, replace=False, remedy="Give another --name.")
    added = card.model_copy(update={"name": name})
    with _beside(repository) as scratch:
        folder = scratch / name
        _write_entry(folder)
        save_card(folder, added)
        _put(folder, repository / name)
    return added


@contextmanager
def _beside(repository: Path) -> Iterator[Path]:
    """A scratch folder in the repository. Raises DISK_FULL where what is written there does not fit."""
    repository.mkdir(parents=True, exist_ok=True)
    # Not in a sibling of the models: a server that looks for them by config.pbtxt must never see half a folder.
    scratch = Path(tempfile.mkdtemp(prefix=".import-", dir=repository))
    try:
        with room_for(repository, "Make room."):
            yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def require_name(name: str) -> None:
    """Raise NAME_INVALID unless a model may be called so."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,62}", name):
        raise AtlasError(
            Reason.NAME_INVALID,
            f"{name[:80]!r} is no name of a model.",
            field="--name",
            remedy="Use up to 63 of a-z, 0-9 and _, beginning with a letter.",
        )


def require_free(
    name: str,
    repository: Path,
    *,
    replace: bool,
    remedy: str = "Give another --name, or --replace to put this one in its place.",
) -> None:
    """Raise RESOURCE_CONFLICT if a model of that name is there and may not be replaced."""
    if (repository / name).exists() and not replace:
        raise AtlasError(
            Reason.RESOURCE_CONFLICT,
            f"{repository} has a model {name} already.",
            field="--name",
            remedy=remedy,
        )


def _write_weights(network: nn.Module, folder: Path) -> Weights:
    path = folder / _WEIGHTS_FILE
    path.parent.mkdir(parents=True)
    try:
        torch.save(network.state_dict(), path)
    except RuntimeError as error:  # torch's own writer tells of a full disk so
        raise OSError(errno.ENOSPC, str(error)) from error
    return Weights(file=_WEIGHTS_FILE, sha256=file_digest(path))


def _write_entry(folder: Path) -> None:
    (folder / "1").mkdir(parents=True, exist_ok=True)
    (folder / "1" / "model.py").write_text(_ENTRY)


def _describe(folder: Path, card: Card) -> None:
    _write_entry(folder)
    save_card(folder, card)
    (folder / CONFIG_FILE).write_text(config_text(card))


@torch.inference_mode()
def _proved(network: nn.Module, card: Card) -> Card:
    """The card, after the network answered for one window; with torch, if OpenVINO cannot compute it or disagrees."""
    window = torch.rand((1, 1, *card.window), generator=torch.Generator().manual_seed(0))
    try:
        logits = network(window)
        organs = organ_logits(logits[0].float(), card)
    except (RuntimeError, ValueError) as error:
        raise AtlasError(
            Reason.WEIGHTS_MISMATCH,
            f"The network cannot compute a window of {card.window}: {str(error)[:200]}",
            field="window",
            remedy="Give the card a window that the network's strides divide.",
        ) from error
    if organs.shape != (len(card.organs), *card.window) or not organs.isfinite().all():
        raise AtlasError(
            Reason.WEIGHTS_MISMATCH,
            "With these weights the network's answer is not a number everywhere.",
            field="weights",
            remedy="Fetch the file again, or ask its author.",
        )
    agrees = card.cpu_runtime == "torch" or _by_openvino(network, card, window, logits)
    return card if agrees else card.model_copy(update={"cpu_runtime": "torch"})


def _by_openvino(network: nn.Module, card: Card, window: Tensor, expected: Tensor) -> bool:
    try:
        found = on_cpu(network, card, torch.get_num_threads())(window)
    except Exception:  # OpenVINO has a class of its own for every step that can fail
        return False
    return bool(torch.allclose(found.sigmoid(), expected.sigmoid(), atol=_PROBABILITY_TOLERANCE))


def _put(folder: Path, place: Path) -> None:
    """Put the folder in its place. What was there comes to where the folder was: at no moment is there neither, where
    the file system can exchange two folders."""
    if not place.exists():
        folder.rename(place)
        return
    paths = os.fsencode(folder), os.fsencode(place)
    if ctypes.CDLL(None, use_errno=True).renameat2(_HERE, paths[0], _HERE, paths[1], _EXCHANGE):
        # Some file systems, such as those of networks, cannot exchange.
        _replace(folder, place)


def _replace(folder: Path, place: Path) -> None:
    """Put the folder in the place of another, which comes back if that fails, and is deleted only afterwards."""
    # Not in the scratch folder, which goes whatever happens.
    kept = Path(tempfile.mkdtemp(prefix=".replaced-", dir=place.parent)) / place.name
    try:
        place.rename(kept)
        folder.rename(place)
    finally:
        if not place.exists():
            kept.rename(place)
        shutil.rmtree(kept.parent, ignore_errors=True)
