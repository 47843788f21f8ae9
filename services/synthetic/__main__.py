"""Write synthetic cases: `python -m services.synthetic OUT --cases 6 --seed 1`."""

import argparse
from pathlib import Path

from services.synthetic.cases import make_case, write_case
from services.synthetic.profiles import PROFILES
from services.synthetic.sources import MIXED, SOURCES


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m services.synthetic", description="Write synthetic abdominal CTs.")
    parser.add_argument(
        "out", type=Path, help="one folder a case goes in here: ct.nii.gz and segmentations/<organ>.nii.gz"
    )
    parser.add_argument("--cases", type=int, default=6, help="how many (default 6)")
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the first case; the next ones count on (default 1)"
    )
    parser.add_argument(
        "--profile", choices=sorted(PROFILES), default="demo", help="how and whom is scanned (default demo)"
    )
    parser.add_argument(
        "--source", choices=["mixed", *SOURCES], default="mixed", help="which organs come labelled (default: in turn)"
    )
    parser.add_argument("--truth", type=Path, help="write all nine organs of every case here as well")
    arguments = parser.parse_args()
    for number in range(arguments.cases):
        case = make_case(arguments.seed + number, profile=arguments.profile)
        name = f"synthetic_{case.seed:05d}"
        kind = MIXED[number % len(MIXED)] if arguments.source == "mixed" else arguments.source
        write_case(case, arguments.out / name, SOURCES[kind])
        if arguments.truth:
            write_case(case, arguments.truth / name)
        print(f"{name}: {case.geometry}, {case.phase}, labelled: {', '.join(SOURCES[kind]) or 'nothing'}")


if __name__ == "__main__":
    main()
