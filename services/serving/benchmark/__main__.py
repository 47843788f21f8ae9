"""Carry out the plan that comes in on stdin: `python -m services.serving.benchmark < plan.json`.

`atlas benchmark` writes the plan and shows the progress.

Prints a JSON line for every bit of progress, {"doing": what, "done": share}; the last one is {"report": path}, or
{"error": {reason, message, field, remedy}} with exit code 1.
"""

import json
import sys
import time
from contextlib import redirect_stdout

from pydantic import ValidationError

from services.core.errors import AtlasError, Reason
from services.serving.benchmark.plan import Plan
from services.serving.benchmark.run import benchmark

_LEAST_SECONDS = 0.5


def main() -> None:
    """Run the command."""
    said, last = "", 0.0

    def report(doing: str, done: float) -> None:
        nonlocal said, last
        if doing != said or time.monotonic() - last > _LEAST_SECONDS:
            said, last = doing, time.monotonic()
            _print({"doing": doing, "done": round(done, 4)})

    try:
        # What training tells goes beside the progress, not into it.
        with redirect_stdout(sys.stderr):
            path = benchmark(_plan(sys.stdin.read()), report)
    except AtlasError as error:
        _print(
            {
                "error": {
                    "reason": error.reason.value,
                    "message": error.message,
                    "field": error.field,
                    "remedy": error.remedy,
                }
            }
        )
        sys.exit(1)
    _print({"report": str(path)})


def _plan(text: str) -> Plan:
    try:
        return Plan.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "plan"
        raise AtlasError(Reason.FIELD_INVALID, f"{first['msg']}.", field=place, remedy="Mend the plan.") from error


def _print(data: object) -> None:
    print(json.dumps(data), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main()
