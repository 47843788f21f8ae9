"""Write `docs/settings.md` from the services' typed settings: `python docs/reference.py`, or `--check` in CI."""

import sys
from importlib import import_module
from pathlib import Path

from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from services.core.rpc.settings import ServiceSettings

SERVICES = ("storage", "inference", "uncertainty", "merging", "scheduler")
PAGE = Path(__file__).with_name("settings.md")
HEAD = """# Settings

Every service is configured by environment variables alone, read once at its start. A secret (a database URL, an S3
key) may also lie in a file that `<VARIABLE>_FILE` names. Made from the code by `make docs`.
"""


def render() -> str:
    """The whole page."""
    return HEAD + "".join(_section(name) for name in SERVICES)


def _section(service: str) -> str:
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


if __name__ == "__main__":
    page = render()
    if "--check" in sys.argv:
        sys.exit(None if PAGE.exists() and PAGE.read_text() == page else f"{PAGE} is out of date: run make docs")
    PAGE.write_text(page)
