"""`python -m charts.schema` writes the chart's values and their schema; `--check` says whether they are up to date."""

import sys
from pathlib import Path

from charts.schema.write import values_schema, values_yaml

CHART = Path(__file__).parents[1] / "abdomenatlas"

if __name__ == "__main__":
    for name, text in (("values.yaml", values_yaml()), ("values.schema.json", values_schema())):
        path = CHART / name
        if "--check" not in sys.argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            sys.exit(f"{path} is out of date: run make chart")
