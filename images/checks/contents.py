"""What an image says of itself and holds: labels, user, and packages against its lock."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from images.lock import EXTRAS, LOCKS

USER = "10001:10001"
PRODUCT = "abdomenatlas"
LABELS = ("title", "version", "licenses", "description")
WITH_TORCH = ("triton", "triton-gpu")
DEBIAN = {
    "models": ("base-files",),
    "evaluation": ("ceph-mon", "ceph-osd", "postgresql", "radosgw"),
}
"""Packages of Debian by which images without a lock are known."""

_OF_DEBIAN = re.compile(r"^/usr/lib/python3[0-9.]*/dist-packages/")
_VENDORED = re.compile("/setuptools/_vendor/")
"""Copies that setuptools carries inside it: its own lock entry and hash cover them."""


def faults(name: str, version: str, config: Mapping[str, Any], bill: Path) -> list[str]:
    """What is wrong with an image; `config` is as `image inspect` shows it, `bill` a CycloneDX file."""
    found = [*_configured(name, version, config)]
    if not bill.exists():
        return [*found, f"{bill} is missing: images/build {name} writes it"]
    try:
        components = json.loads(bill.read_text()).get("components") or []
    except ValueError:
        return [*found, f"{bill} is cut off: images/build {name} writes it"]
    return [*found, *_held(name, components)]


def _configured(name: str, version: str, config: Mapping[str, Any]) -> list[str]:
    found = [] if config.get("User") == USER else [f"runs as {config.get('User') or 'root'}, not as {USER}"]
    labels = config.get("Labels") or {}
    values = {label: labels.get(f"org.opencontainers.image.{label}", "") for label in LABELS}
    found += [f"has no label {label}" for label, value in values.items() if not value]
    if values["title"] != f"abdomenatlas-{name}" or values["version"] != version:
        found.append(f"is labelled {values['title']} {values['version']}, not abdomenatlas-{name} {version}")
    return found


def _held(name: str, components: list[Mapping[str, Any]]) -> list[str]:
    debian = _packages(components, "deb")
    python = _packages(components, "pypi")
    found = [f"its bill of materials lacks Debian's {p}" for p in DEBIAN.get(name, ("python3.11",)) if p not in debian]
    found += [] if PRODUCT in python or name not in EXTRAS else [f"its bill of materials lacks {PRODUCT}"]
    found += [f"holds {p}" for p in ("torch", "monai") if p in python and name not in WITH_TORCH]
    if name not in EXTRAS:
        more = _packages([c for c in components if not _is_at(c, _OF_DEBIAN)], "pypi")
        return found + [f"holds {p}, which no package of Debian brings" for p in sorted(more)]
    locked = pins(name)
    found += [f"lacks {p} {v} of its lock" for p, v in locked.items() if python.get(p) != v]
    # The product says its own name and version, so that a bill of materials has it.
    return found + [f"holds {p}, which its lock does not" for p in sorted(python.keys() - locked.keys() - {PRODUCT})]


def pins(name: str) -> dict[str, str]:
    """Version by normalised name of what an image's lock brings."""
    text = (LOCKS / f"{name}.txt").read_text()
    if name == "triton":
        text += (LOCKS / "tritonserver.txt").read_text()
    return {_normal(p): v for p, v in re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, re.MULTILINE)}


def _packages(components: list[Mapping[str, Any]], kind: str) -> dict[str, str]:
    wanted = [c for c in components if str(c.get("purl", "")).startswith(f"pkg:{kind}/") and not _is_at(c, _VENDORED)]
    return {_normal(c["name"]) if kind == "pypi" else c["name"]: c["version"] for c in wanted}


def _is_at(component: Mapping[str, Any], places: re.Pattern[str]) -> bool:
    """Say whether it was found there, as syft tells it."""
    return any(places.search(str(p.get("value"))) for p in component.get("properties", []))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
