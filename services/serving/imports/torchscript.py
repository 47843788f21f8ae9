"""The tensors of a TorchScript archive under the names that they had in the module, without its code.

Such an archive is a program; loading it with torch would run parts of it. Its `data.pkl` holds the modules as objects
of classes that its code defines: here all of them become plain containers.
"""

import math
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_LISTS = ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag")
MAX_ENTRIES = 100_000
_DEPTH = 64


def is_torchscript(archive: zipfile.ZipFile) -> bool:
    """Whether a file of torch holds code."""
    return any("/code/" in name or name.endswith("/constants.pkl") for name in archive.namelist())


def is_code(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is none of those that hold tensors."""
    return not re.fullmatch(r"[^/]+/(data\.pkl|data/[^/]+)", entry.filename)


def read(archive: zipfile.ZipFile) -> dict[str, Tensor]:
    """The tensors by name, such as "model.0.conv.weight".

    Raises pickle.UnpicklingError if the archive asks for anything but tensors, lists and modules, and KeyError or
    RuntimeError if it contradicts itself.
    """
    place = next((name for name in archive.namelist() if re.fullmatch(r"[^/]+/data\.pkl", name)), "")
    root = place.removesuffix("data.pkl")
    with archive.open(f"{root}data.pkl") as file:
        module = _Reader(file, archive, root).load()
    return _named(module)


class _Part:
    """A module of the archive: its attributes and nothing else."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.attributes = state


class _Reader(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Part
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch.jit._pickle" and name in _LISTS:
            return _first
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, count = pid
        data = bytearray(self._archive.read(f"{self._root}data/{key}"))
        if len(data) != count * dtype.itemsize:
            raise ValueError("a storage has another size than its record says")
        return torch.frombuffer(data, dtype=dtype) if data else torch.empty(0, dtype=dtype)


def _first(value: Any, *_: Any) -> Any:
    return value


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    if math.prod(size) > storage.numel():
        raise ValueError("a tensor is larger than its storage")
    return storage.as_strided(size, stride, offset)


def _named(module: Any) -> dict[str, Tensor]:
    """The tensors of a module and its parts. A part may be held twice and then has two names, so that a small file can
    hold more names than anyone can walk: ValueError."""
    named: dict[str, Tensor] = {}
    waiting, met = [("", module, 0)], 0
    while waiting:
        name, part, depth = waiting.pop()
        met += len(part.attributes)
        if met > MAX_ENTRIES or depth > _DEPTH:
            raise ValueError("its modules hold each other")
        places = {f"{name}.{attribute}" if name else attribute: value for attribute, value in part.attributes.items()}
        named |= {place: value for place, value in places.items() if isinstance(value, Tensor)}
        parts = [(place, value, depth + 1) for place, value in places.items() if isinstance(value, _Part)]
        waiting += reversed([found for found in parts if hasattr(found[1], "attributes")])
    return named
