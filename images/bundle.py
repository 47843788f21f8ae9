"""Everything an installation without internet needs, in one folder: `python images/bundle.py OUT` (`make bundle`).

The chart, the list of its images, the script that mirrors them, the values to begin with, the documentation, and the
archives and bills of materials that `images/build` has left; `SHA256SUMS` covers all of it.
"""

import hashlib
import shutil
import sys
from pathlib import Path

import helm_python
import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "charts" / "abdomenatlas"
BUILT = ROOT / "build" / "images"
DOCS = (
    *("install.md", "install-airgapped.md", "operate.md", "sizing.md", "performance.md"),
    *("security.md", "roles.md", "settings.md"),
)
KINDS = {"abdomenatlas/triton": "cpu", "abdomenatlas/triton-gpu": "gpu"}
"""Which installations need an image; all others are for all."""


def images() -> list[tuple[str, str, str]]:
    """Repository, tag, and "all", "cpu" or "gpu", of every image that the chart may run."""
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    tag = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    found = {*_repositories(values), *KINDS}
    return [(repository, tag, KINDS.get(repository, "all")) for repository in sorted(found)]


def write(folder: Path) -> None:
    """Write the bundle into `folder`, which must not be there yet."""
    folder.mkdir(parents=True)
    helm_python.package(CHART, destination=folder)
    shutil.copy(ROOT / "images" / "mirror.sh", folder)
    lines = [" ".join(entry) for entry in images()]
    (folder / "images.txt").write_text("\n".join(lines) + "\n")
    for name in CHART.glob("values*.yaml"):
        shutil.copy(name, folder)
    (folder / "docs").mkdir()
    for page in DOCS:
        # The chart is packed here, and its values lie beside it.
        text = (ROOT / "docs" / page).read_text().replace("](../charts/abdomenatlas/", "](../")
        (folder / "docs" / page).write_text(text)
    _take("*.tar", folder / "archives")
    _take("*.cdx.json", folder / "bills-of-materials")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = [f"{_sha256(path)}  {path.relative_to(folder)}\n" for path in files]
    (folder / "SHA256SUMS").write_text("".join(sums))


def _repositories(values: object) -> set[str]:
    if not isinstance(values, dict):
        return set()
    inside = {name for value in values.values() for name in _repositories(value)}
    return inside | {values["repository"]} - {""} if "repository" in values else inside


def _take(pattern: str, into: Path) -> None:
    for path in sorted(BUILT.glob(pattern)):
        into.mkdir(exist_ok=True)
        shutil.copy(path, into)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
