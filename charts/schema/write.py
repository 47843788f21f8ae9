"""`values.yaml` and `values.schema.json` from the models."""

import json
import textwrap
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from charts.schema.settings import Settings
from charts.schema.values import ChartValues

_WIDTH = 110
_HEAD = """\
# Values of the chart, written by `make chart` from charts/schema; change the models there.
# A name that does not stand here is refused. Where something "is there already", the chart only refers to it.
"""


def values_yaml() -> str:
    """The default values, each under the sentence that explains it."""
    return _HEAD + "".join(_lines(ChartValues(), depth=0))


def values_schema() -> str:
    """The JSON schema by which Helm checks values."""
    schema = ChartValues.model_json_schema(by_alias=True)
    _tidy(schema)
    return json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", **schema}, indent=1) + "\n"


def _lines(values: BaseModel, depth: int) -> list[str]:
    lines: list[str] = []
    indent = "  " * depth
    for name, field in type(values).model_fields.items():
        value = getattr(values, name)
        key = field.alias or name
        if depth == 0:
            lines.append("\n")
        text = " ".join((field.description or "").split())
        lines += [f"{indent}# {line}\n" for line in textwrap.wrap(text, _WIDTH - len(indent))]
        if isinstance(value, BaseModel) and not isinstance(value, Settings):
            lines += [f"{indent}{key}:\n", *_lines(value, depth + 1)]
        else:
            lines += _entry(key, to_jsonable_python(value, exclude_none=True), indent)
    return lines


def _entry(key: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, list) and len(value) > 1:  # one element a line
        return [f"{indent}{key}:\n", *(f"{indent}  - {json.dumps(element)}\n" for element in value)]
    return [f"{indent}{key}: {json.dumps(value)}\n"]


def _tidy(node: Any) -> None:
    """Drop what Helm does not need and what is no value: titles, and the null of settings that were not given."""
    if isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if node.get("default", "") is None:
            del node["default"]
        for child in node.values():
            _tidy(child)
    elif isinstance(node, list):
        for child in node:
            _tidy(child)
