"""Write the lock of every image: `python images/lock.py` (needs the package index; `make locks`).

A lock holds exactly what one image needs, with hashes: the core's dependencies and those of the image's extras, at the
versions of requirements.lock.
"""

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
"""What an image needs in another build: the one without CUDA, from torch's own index or a folder (UV_FIND_LINKS)."""
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
        command += ["--output-file", str(LOCKS / f"{image}.txt")]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    for name in sys.argv[1:] or [*EXTRAS, *ALONE]:
        write(name)
