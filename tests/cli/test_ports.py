"""Ports that are given out are nobody else's."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from services.cli.stack import ports
from services.cli.stack.ports import free_ports


def test_ports_are_free_and_different() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    for port in found:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_no_port_is_one_that_the_kernel_gives_to_connections() -> None:
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    assert not [port for port in free_ports(50) if low <= port <= high]


@pytest.fixture
def four_candidates(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    four = free_ports(4)
    ports._held.clear()
    monkeypatch.setattr(ports, "_outside_of_the_kernels", lambda: list(four))
    return four


def test_another_process_is_given_other_ports(four_candidates: list[int]) -> None:
    mine = free_ports(2)
    other = f"""
from services.cli.stack import ports
ports._outside_of_the_kernels = lambda: {four_candidates}
print(*ports.free_ports(2))
"""
    theirs = subprocess.run([sys.executable, "-c", other], check=True, capture_output=True, text=True).stdout
    assert {*mine, *map(int, theirs.split())} == set(four_candidates)


def test_a_port_that_is_listened_on_is_passed_over(four_candidates: list[int]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", four_candidates[0]))
        assert set(free_ports(3)) == set(four_candidates[1:])
        with pytest.raises(OSError, match="fewer than 1 ports are free"):
            free_ports(1)
    assert free_ports(1) == four_candidates[:1]


def test_where_the_kernel_takes_all_ports_there_are_still_some(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    whole = tmp_path / "ip_local_port_range"
    whole.write_text("1024\t65535\n")
    monkeypatch.setattr(ports, "_TAKEN_BY_THE_KERNEL", whole)
    assert len(set(free_ports(20))) == 20
