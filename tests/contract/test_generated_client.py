"""The generated package is all that another system needs."""

import subprocess
import sys
from pathlib import Path

from tests.contract.service_process import ServiceProcess

SCRIPT = Path(__file__).with_name("generated_client.py")


def test_a_client_is_written_from_the_generated_package_alone(services: dict[str, ServiceProcess]) -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, services["storage"].address],
        env={"PYTHONPATH": str(SCRIPT.parents[2] / "gen")},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "ok\n", done.stderr
