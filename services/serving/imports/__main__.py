"""What `atlas models` runs: JSON on stdout, an error of the product as JSON too, with exit code 1."""

import argparse
import json
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from services.core.errors import AtlasError


def main() -> int:
    """Run one command."""
    arguments = _parser().parse_args()
    # What libraries have to say goes elsewhere: stdout is the answer's.
    with redirect_stdout(sys.stderr):
        try:
            answer, code = arguments.run(arguments)
        except AtlasError as error:
            answer, code = {"error": _error(error)}, 1
    json.dump(answer, sys.stdout)
    return int(code)


def _import(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    # torch takes seconds to import; listing needs none of it.
    from services.serving.imports.draft import Wishes
    from services.serving.imports.importing import import_model

    wishes = Wishes(**json.loads(arguments.wishes))
    report = import_model(
        arguments.source, arguments.repository, wishes, replace=arguments.replace, write=not arguments.dry_run
    )
    answer = {
        "card": report.card.model_dump(mode="json", exclude_none=True),
        "layout": report.layout,
        "table": report.table,
        "prefix": report.matching.prefix,
        "names": [vars(pairing) for pairing in report.matching.pairings],
        "notes": report.notes,
    }
    if report.refusal:
        return answer | {"error": _error(report.refusal)}, 1
    return answer, 0


def _add(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from services.serving import zoo
    from services.serving.imports.install import add

    card = add(zoo.to_train(arguments.card), arguments.name, arguments.repository)
    return {"card": card.model_dump(mode="json", exclude_none=True)}, 0


def _list(arguments: argparse.Namespace) -> tuple[dict[str, Any], int]:
    from services.serving import zoo
    from services.serving.repository import model_folders

    models = [_described(folder) for folder in model_folders(arguments.repository)]
    cards = [zoo.load(name).model_dump(mode="json", exclude_none=True) for name in zoo.names()]
    return {"models": models, "zoo": cards}, 0


def _described(folder: Path) -> dict[str, Any]:
    """The card of a model folder, or why it has none."""
    from services.serving.card import load_card

    try:
        return load_card(folder).model_dump(mode="json", exclude_none=True)
    except AtlasError as error:
        return {"name": folder.name, "error": _error(error)}


def _error(error: AtlasError) -> dict[str, str]:
    return {"reason": error.reason, "message": error.message, "field": error.field, "remedy": error.remedy}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.serving.imports", description=__doc__)
    commands = parser.add_subparsers(required=True)
    lists = commands.add_parser("list")
    lists.add_argument("repository", type=Path)
    lists.set_defaults(run=_list)
    adds = commands.add_parser("add")
    adds.add_argument("card", help="a card of the zoo")
    adds.add_argument("repository", type=Path)
    adds.add_argument("--name", required=True)
    adds.set_defaults(run=_add)
    imports = commands.add_parser("import")
    imports.add_argument("source", type=Path)
    imports.add_argument("repository", type=Path)
    imports.add_argument("--wishes", required=True, help="JSON with the fields of Wishes")
    imports.add_argument("--replace", action="store_true")
    imports.add_argument("--dry-run", action="store_true")
    imports.set_defaults(run=_import)
    return parser


if __name__ == "__main__":
    sys.exit(main())
