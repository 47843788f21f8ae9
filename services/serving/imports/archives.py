"""Tensors out of files that strangers made, without running anything that such a file brings along."""

import _codecs
import argparse
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from services.core.errors import AtlasError, Reason
from services.serving.imports import torchscript

MAX_BYTES = 8 * 2**30
_DEPTH = 3
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"
"""How a pickle begins, and with it what torch wrote before it wrote zip archives."""
_HARMLESS: list[Any] = [
    argparse.Namespace,
    _codecs.encode,
    np.dtype,
    np.ndarray,
    *{type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "b1")},
    *((getattr(np.core.multiarray, name), f"{module}.multiarray.{name}")
      for module in ("numpy.core", "numpy._core") for name in ("scalar", "_reconstruct")),
]  # fmt: skip
"""What checkpoints hold beside tensors, such as nnU-Net's curves: numbers in NumPy's form, and parsed options."""


def read_tensors(path: Path) -> dict[str, Mapping[str, Tensor]]:
    """The tables of tensors of a checkpoint or TorchScript archive, by their place in it ("" is the file itself).

    Raises FILE_TOO_LARGE, FILE_TRUNCATED, WEIGHTS_UNSAFE if reading would mean running code, and FIELD_INVALID if there
    is no tensor.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise AtlasError(
            Reason.FILE_TOO_LARGE,
            f"It has {size >> 20} MiB, more than {MAX_BYTES >> 20}.",
            field=path.name,
            remedy="Save the weights alone, without the optimizer: torch.save(model.state_dict(), ...).",
        )
    if zipfile.is_zipfile(path):
        contents = _from_zip(path, size)
    else:
        with path.open("rb") as file:
            start = file.read(len(_ZIP))
        if start == _ZIP or not start:
            raise _truncated(path)
        if not start.startswith(_PICKLE):
            raise _foreign(path)
        contents = _checkpoint(path, is_zip=False)
    tables = _tables(path, contents)
    if not tables:
        raise AtlasError(
            Reason.FIELD_INVALID, "No tensor with a name is in it.", field=path.name, remedy="Name a file of weights."
        )
    return tables


def _from_zip(path: Path, size: int) -> object:
    try:
        with zipfile.ZipFile(path) as archive:
            has_code = torchscript.is_torchscript(archive)
            # Code may be compressed; it is not read.
            entries = [entry for entry in archive.infolist() if not (has_code and torchscript.is_code(entry))]
            if len(entries) > torchscript.MAX_ENTRIES or sum(entry.file_size for entry in entries) > size:
                raise _unsafe(path, "it unpacks to more than it is")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise _unsafe(path, "its entries are compressed, which torch never does")
            if has_code:
                return torchscript.read(archive)
    except (zipfile.BadZipFile, EOFError, OSError) as error:
        raise _truncated(path) from error
    except pickle.UnpicklingError as error:
        raise _unsafe(path, str(error)) from error
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError, MemoryError) as error:
        raise AtlasError(
            Reason.FIELD_INVALID,
            "This TorchScript archive cannot be read.",
            field=path.name,
            remedy="Fetch the file again, or have its tensors saved alone: torch.save(module.state_dict(), ...).",
        ) from error
    return _checkpoint(path, is_zip=True)


def _checkpoint(path: Path, *, is_zip: bool) -> object:
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|global:?|class|function) ([\w.]+\.\w+)", str(error))
        if named is None and not is_zip:
            raise _foreign(path) from error
        raise _unsafe(path, f"it asks for {named[1]}" if named else "its pickle does more than hold tensors") from error
    except (EOFError, OSError) as error:
        raise _truncated(path) from error
    except (RuntimeError, MemoryError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise AtlasError(
            Reason.FILE_TRUNCATED,
            "The checkpoint cannot be read to its end.",
            field=path.name,
            remedy="Fetch the file again.",
        ) from error


def _tables(path: Path, contents: object) -> dict[str, Mapping[str, Tensor]]:
    """Every mapping from names to tensors, the outer ones first."""
    found: dict[str, Mapping[str, Tensor]] = {}
    waiting, met = [("", contents, 0)], 0
    while waiting:
        place, table, depth = waiting.pop()
        if not isinstance(table, Mapping) or depth == _DEPTH:
            continue
        met += len(table)
        if met > torchscript.MAX_ENTRIES:
            raise _unsafe(path, "it holds the same tables in too many places")
        named = {name: value for name, value in table.items() if isinstance(name, str)}
        tensors = {name: value for name, value in named.items() if isinstance(value, Tensor) and _is_plain(value)}
        if tensors:
            found[place] = tensors
        inner = [(f"{place}.{name}" if place else name, value, depth + 1) for name, value in named.items()]
        waiting += reversed(inner)
    return found


def _is_plain(tensor: Tensor) -> bool:
    """Whether it holds its numbers: sparse, quantised and meta tensors do not."""
    return tensor.layout is torch.strided and not tensor.is_quantized and tensor.device.type == "cpu"


def _unsafe(path: Path, why: str) -> AtlasError:
    return AtlasError(
        Reason.WEIGHTS_UNSAFE,
        f"It is not read: {why[:200]}.",
        field=path.name,
        remedy="Ask its author for a file of tensors alone: torch.save(model.state_dict(), ...).",
    )


def _foreign(path: Path) -> AtlasError:
    return AtlasError(
        Reason.FIELD_INVALID,
        "It is neither a checkpoint of torch nor TorchScript.",
        field=path.name,
        remedy="Name a file that torch.save or torch.jit.save wrote (.pt, .pth, .ckpt, .ts), or the folder of a MONAI "
        "bundle or of an nnU-Net v2 result.",
    )


def _truncated(path: Path) -> AtlasError:
    return AtlasError(Reason.FILE_TRUNCATED, "The file is cut off.", field=path.name, remedy="Fetch the file again.")
