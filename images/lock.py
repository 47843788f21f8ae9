"""Write the lock of every image: `python images/lock.py` (needs the package index; `make locks`).

A lock holds exactly what one image needs, with hashes: the core's dependencies and those of the image's extras, at the
versions of requirements.lock. `triton` needs the build of torch without CUDA: TORCH_INDEX says where it is, PyTorch's
own index of CPU builds or a mirror of it, as for the Dockerfile (or UV_FIND_LINKS, a folder with the wheel).
"""

import os
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCKS = ROOT / "images" / "locks"
EXTRAS = {
    "storage": ["storage"],
    "inference": ["inference"],
    "uncertainty": [],
    "merging": [],
    "scheduler": ["scheduler"],
    "cli": ["cli"],
    "triton": ["serving", "training"],
    "triton-gpu": ["serving", "training"],
}
"""Which extras of pyproject.toml an image has, beside the core's dependencies."""
REPLACED = {"triton": {"torch==2.13.0": "torch==2.13.0+cpu"}}
"""What an image needs in another build than PyPI's."""
ALONE = {"tritonserver": "nvidia-pytriton==0.7.0"}
"""Wheels of which only the files are wanted: their own requirements would bring other versions of ours."""
PYTHON = {"triton-gpu": "3.12"}
"""Python of an image, where it is not that of the others: the vendor's image brings its own."""


def requirements(image: str) -> list[str]:
    """What an image needs, as pyproject.toml says it."""
    if image in ALONE:
        return [ALONE[image]]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [line for extra in EXTRAS[image] for line in project["optional-dependencies"].get(extra, [])]
    replaced = REPLACED.get(image, {})
    return [replaced.get(line, line) for line in (*project["dependencies"], *extras)]


def write(image: str) -> None:
    """Resolve the lock of one image."""
    with tempfile.NamedTemporaryFile("w", suffix=".in") as wanted:
        wanted.write("\n".join(requirements(image)))
        wanted.flush()
        command = [sys.executable, "-m", "uv", "pip", "compile", wanted.name, "--quiet", "--generate-hashes"]
        command += ["--python-version", PYTHON.get(image, "3.11")]
        command += ["--python-platform", "x86_64-manylinux_2_36", "--no-header", "--no-annotate"]
        command += ["--no-deps"] if image in ALONE else ["--constraint", str(ROOT / "requirements.lock")]
        command += _torch_options() if image in REPLACED else []
        command += ["--output-file", str(LOCKS / f"{image}.txt")]
        if subprocess.run(command, check=False).returncode:
            raise SystemExit(f"{image} cannot be locked" + _remedy(image))


def _torch_options() -> list[str]:
    # The hash may be that of another build of the same version, and uv keeps a hash that it finds in a lock.
    options = ["--upgrade-package", "torch"]
    if index := os.environ.get("TORCH_INDEX"):
        # That index has old versions of other packages too, with which uv would be content.
        options += ["--index", index, "--index-strategy", "unsafe-best-match"]
    return options


def _remedy(image: str) -> str:
    if image not in REPLACED or os.environ.get("TORCH_INDEX"):
        return ""
    (torch,) = REPLACED[image].values()
    return f": PyPI does not have {torch}; TORCH_INDEX=<PyTorch's own index of CPU builds> make locks"


if __name__ == "__main__":
    for name in sys.argv[1:] or [*EXTRAS, *ALONE]:
        write(name)
