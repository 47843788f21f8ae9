"""`README.md`, which tells people what a release is, and `LICENSE.md`, which tells on what terms its cases came.

The names and the head of the card are those that Hugging Face reads.
"""

import re
from collections import Counter
from dataclasses import dataclass
from importlib.resources import files

import jinja2
import yaml

from services.cli.release.contents import Contents
from services.cli.release.models import models
from services.cli.release.provenance import ORIGINS
from services.cli.release.sources import sources
from services.cli.release.split import TEST, TRAIN

CARD = "README.md"
LICENCES = "LICENSE.md"
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"))


@dataclass(frozen=True)
class OrganCount:
    """In how many cases an organ's mask is of which origin; `empty` of them have no voxel."""

    label: int
    organ: str
    source: int
    revision: int
    ai: int
    empty: int
    unknown: int


def card(contents: Contents) -> str:
    """The dataset card in Markdown; it follows from what the release holds."""
    sides = Counter(contents.sides[case.volume.name] for case in contents.cases)
    return _render(
        "card.md.jinja",
        contents=contents,
        head=yaml.safe_dump(_head(contents), sort_keys=False, allow_unicode=True),
        organs=_organs(contents),
        sources=sources(contents),
        models=models(contents.cases),
        train=sides[TRAIN],
        test=sides[TEST],
        reviewed=sum(bool(case.reviews) for case in contents.cases),
    )


def licences(contents: Contents) -> str:
    """The licences of a release's cases in Markdown."""
    return _render("licences.md.jinja", sources=sources(contents))


def _head(contents: Contents) -> dict[str, object]:
    number = len(contents.cases)
    origins = {organ.origin for case in contents.cases for organ in case.labels.organs}
    creators = {"source": "found", "revision": "expert-generated", "ai": "machine-generated"}
    return {
        "pretty_name": f"Abdominal CT labels, {contents.campaign.name.removeprefix('campaigns/')}",
        "license": "other",
        "license_name": "by-source",
        "license_link": LICENCES,
        "annotations_creators": [creators[ORIGINS[origin]] for origin in sorted(origins) if origin in ORIGINS],
        "task_categories": ["image-segmentation"],
        "tags": ["medical", "ct", "abdomen"],
        "size_categories": [next((name for most, name in _SIZES if number < most), "n>1M")],
    }


def _organs(contents: Contents) -> list[OrganCount]:
    counts: Counter[tuple[str, str]] = Counter()
    for case in contents.cases:
        for told in case.labels.organs:
            counts[told.organ, ORIGINS.get(told.origin, "")] += 1
            counts[told.organ, "empty"] += not told.voxels
    number = len(contents.cases)
    rows = []
    for label, organ in contents.class_map.organs_by_id.items():
        source, revision, ai = (counts[organ, origin] for origin in ("source", "revision", "ai"))
        unknown = number - source - revision - ai
        rows.append(OrganCount(label, organ, source, revision, ai, counts[organ, "empty"], unknown))
    return rows


def _render(template: str, **told: object) -> str:
    environment = jinja2.Environment(
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    # Markdown, not HTML: every text from outside goes through this instead.
    environment.filters["plain"] = _plain
    return environment.from_string((files(__package__) / template).read_text()).render(told)


def _plain(text: str) -> str:
    """A text from outside as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_{}\[\]()<>#+!|~&])", r"\\\1", text)
