"""Every image's lock holds what the image needs at the versions that were tested, with hashes, and nothing foreign."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from images.lock import ALONE, EXTRAS, LOCKS, requirements
from tests.charts import tools

ROOT = LOCKS.parents[1]
TESTED = dict(
    line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if not line.startswith("#")
)
IMPORT = re.compile(r"^\s*(?:from|import) ((?:services|abdomenatlas)[\w.]*)", re.MULTILINE)
VERSIONS = {name.lower().replace("_", "-"): version for name, version in TESTED.items()}


def _pins(image: str) -> dict[str, tuple[str, int]]:
    """Version and number of hashes, by name."""
    entries = re.split(r"\n(?=\S)", (LOCKS / f"{image}.txt").read_text().strip())
    found = {}
    for entry in entries:
        name, version = re.fullmatch(r"([A-Za-z0-9._-]+)==([^\s;]+).*", entry.split("\n")[0].rstrip("\\ ")).groups()  # type: ignore[union-attr]
        found[name] = (version, entry.count("--hash=sha256:"))
    return found


@pytest.mark.parametrize("image", [*EXTRAS, *ALONE])
def test_a_lock_pins_what_pyproject_asks_for(image: str) -> None:
    pins = _pins(image)
    for line in requirements(image):
        wanted = re.match(r"[A-Za-z0-9._-]+", line)
        assert wanted
        assert wanted[0].lower() in pins, f"make locks: {image} lacks {line}"
    for name, (version, hashes) in pins.items():
        assert hashes >= 1
        assert VERSIONS.get(name, version).split("+")[0] == version.split("+")[0], f"make locks: {image}'s {name}"


@pytest.mark.parametrize("image", ["storage", "inference", "uncertainty", "merging", "scheduler", "cli"])
def test_only_triton_s_images_hold_torch(image: str) -> None:
    assert not {"torch", "monai"} & _pins(image).keys()
    assert ("dbos" in _pins(image)) == (image == "scheduler")
    assert ("minio" in _pins(image)) == (image == "storage")


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    tools.run(Path(sys.executable).parent / "hadolint", ROOT / "Dockerfile")


@pytest.mark.parametrize("part", [image for image in EXTRAS if not image.startswith("triton")])
def test_the_code_that_an_image_gets_imports_nothing_else_of_ours(part: str, tmp_path: Path) -> None:
    """`images/copy-code` takes along every module of the product that the part imports."""
    script = (ROOT / "images" / "copy-code").read_text().replace("/opt/venv/bin", str(tmp_path))
    subprocess.run(["sh", "-euc", script, "copy-code", part, tmp_path / "code"], cwd=ROOT, check=True)
    code = tmp_path / "code"
    for path in code.rglob("*.py"):
        for name in IMPORT.findall(path.read_text()):
            place = code.joinpath(*name.split("."))
            assert place.is_dir() or place.with_suffix(".py").exists(), f"{path} imports {name}"
