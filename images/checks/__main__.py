"""`python -m images.checks [storage triton ...]`: say of each image that was built whether it is right and comes up."""

import os
import sys
import time
import tomllib
from pathlib import Path

from images.checks.chart import Evaluation, Pod
from images.checks.contents import faults
from images.checks.engine import Engine, EngineError
from images.checks.node import Node

ROOT = Path(__file__).parents[2]
IMAGES = ("storage", "inference", "uncertainty", "merging", "scheduler", "cli", "models", "triton", "evaluation")


def main(names: list[str]) -> int:
    """Check the images; 0 if all is well, 1 if not. Says what is missing for those that cannot be tried."""
    if unknown := set(names) - set(IMAGES):
        print(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(IMAGES)}", file=sys.stderr)
        return 2
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    full = {name: f"{os.environ.get('REGISTRY', '')}abdomenatlas/{name}:{version}" for name in IMAGES}
    wanted = set(names or IMAGES)
    try:
        engine = Engine.find()
        wrong = _looked_at(engine, sorted(wanted), full, version)
        wrong |= _tried(engine, wanted, full)
    except EngineError as error:
        print(error, file=sys.stderr)
        return 1
    print("NOT WELL" if wrong else "all well")
    return int(wrong)


def _looked_at(engine: Engine, names: list[str], full: dict[str, str], version: str) -> bool:
    bills = Path(os.environ.get("OUT", ROOT / "build" / "images"))
    wrong = False
    for name in names:
        image = engine.image(full[name])
        if image is None:
            found = [f"is not built: images/build {name}"]
        else:
            found = faults(name, version, image["Config"], bills / f"{name}.cdx.json")
        for fault in found:
            print(f"{full[name]}: {fault}")
        if image and not found:
            print(f"{full[name]}: labels, user and contents are right ({image['Size'] / 1e6:.0f} MB)")
        wrong |= bool(found)
    return wrong


def _tried(engine: Engine, wanted: set[str], full: dict[str, str]) -> bool:
    """Run the pods of the images; stops at the first that does not come up, for the rest needs it."""
    profile = Evaluation.render()
    pods = profile.needed(wanted)
    missing = {name for pod in pods for name in pod.images if engine.image(full[name]) is None}
    if missing:
        print(f"not tried: this also needs images/build {' '.join(sorted(missing))}")
        return True
    node = Node(engine, full, profile.secrets)
    try:
        for pod in pods:
            began = time.monotonic()
            printed = node.run(pod)
            _ask_more(node, pod)
            print(f"{pod.name} ({', '.join(pod.images)}): well after {time.monotonic() - began:.0f} s", flush=True)
            if pod.name == "test":
                print(printed)
    except EngineError as error:
        print(error)
        return True
    finally:
        engine.remove()
    return False


def _ask_more(node: Node, pod: Pod) -> None:
    """What a pod must have beside what its probe looks at."""
    if pod.name == "evaluation-postgresql":
        for database in ("storage", "scheduler"):
            query = f'PGPASSWORD=$(cat "$KEYS/password") psql -h 127.0.0.1 -U atlas -c "SELECT 1" {database}'
            node.inside(pod, "bash", "-euc", query)
    if pod.name == "evaluation-s3":
        node.wait_said(pod, "with the bucket atlas")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
