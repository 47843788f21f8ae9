"""Write the pages that follow from the code: `python docs/reference.py`, or `--check` in CI."""

import sys
from importlib import import_module
from pathlib import Path

from known_datasets import datasets_page
from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from sizing import sizing_page

from services.core.access.roles import RULES
from services.core.rpc.settings import ServiceSettings
from services.serving.card import Agreement, Card, load_card

SERVICES = ("storage", "inference", "uncertainty", "merging", "scheduler")
DOCS = Path(__file__).parent
SETTINGS_HEAD = """# Settings

Every service is configured by environment variables alone, read once at its start. A secret (a database URL, an S3
key) may also lie in a file that `<VARIABLE>_FILE` names. Made from the code by `make docs`.
"""
ROLES_HEAD = """# Who may call what

Each role may do what the ones before it may: viewer, annotator, operator, admin. A service of the product calls under
its own certificate. A change is in the audit log, under what the named field of its request says. Health checks are
open to all. Made from `services/core/access/roles.py` by `make docs`; [security.md](security.md) explains it.

"""
MODELS_HEAD = """# The demonstration networks

Trained on synthetic CTs and nothing else. **Not for clinical use.** Mean DSC over organs, from the cards in `models/`;
measured by `python -m services.serving.evaluate models/* --real-data FOLDER`, on the real CTs as it is. Made from the
cards by `make docs`.
"""


def settings_page() -> str:
    """Every variable of every service."""
    return SETTINGS_HEAD + "".join(map(_settings_section, SERVICES))


def roles_page() -> str:
    """Every method, and who may call it."""
    rows = (
        f"| `{method.split('.')[-1]}` | {rule.role.name.lower()} | {', '.join(sorted(rule.services))} "
        f"| {f'`{rule.changes}`' if rule.changes else ''} |\n"
        for method, rule in RULES.items()
    )
    head = "| method | least role | services | audited change |\n|---|---|---|---|\n"
    return ROLES_HEAD + head + "".join(rows)


def models_page() -> str:
    """What the shipped models reach, overall and per organ."""
    cards = [load_card(path.parent) for path in sorted((DOCS.parent / "models").glob("*/model.yaml"))]
    references = [agreement.reference for agreement in cards[0].reaches]
    return MODELS_HEAD + "".join(_models_table(cards, reference) for reference in references)


def _settings_section(service: str) -> str:
    settings: type[ServiceSettings] = import_module(f"services.{service}.settings").Settings
    prefix = settings.model_config["env_prefix"]
    rows = []
    for name, field in settings.model_fields.items():
        description = field.description
        if description is None:  # an override without words of its own
            description = ServiceSettings.model_fields[name].description
        default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
        default = "" if default in (None, PydanticUndefined) else str(default)
        text = " ".join((description or "").split()).replace("|", "\\|")
        rows.append(f"| `{prefix}{name.upper()}` | {f'`{default}`' if default else ''} | {text} |\n")
    return f"\n## {service}\n\n| variable | default | meaning |\n|---|---|---|\n{''.join(rows)}"


def _models_table(cards: list[Card], reference: str) -> str:
    found = {card.name: next((a for a in card.reaches if a.reference == reference), None) for card in cards}
    organs = list(dict.fromkeys(organ for a in found.values() if a for organ in a.dsc))
    names = " | ".join(organ.replace("_", " ") for organ in organs)
    rows = [_models_row(name, agreement, organs) for name, agreement in found.items() if agreement]
    cases = max(agreement.cases for agreement in found.values() if agreement)
    title = f"\n## Against {reference} ({cases} case{'s' if cases > 1 else ''})\n\n"
    return title + f"| model | mean | {names} |\n|---|--:|{'--:|' * len(organs)}\n" + "".join(rows)


def _models_row(name: str, agreement: Agreement, organs: list[str]) -> str:
    scores = [agreement.mean_dsc, *(agreement.dsc.get(organ) for organ in organs)]
    return f"| {name} | {' | '.join('-' if score is None else f'{score:.3f}' for score in scores)} |\n"


if __name__ == "__main__":
    pages = {
        "settings.md": settings_page,
        "roles.md": roles_page,
        "models.md": models_page,
        "sizing.md": sizing_page,
        "datasets.md": datasets_page,
    }
    for page, write in pages.items():
        text = write()
        path = DOCS / page
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path} is out of date: run make docs")
