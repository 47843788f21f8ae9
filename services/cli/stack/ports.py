"""TCP ports for processes that are told where to listen."""

import contextlib
import random
import socket
from collections import deque
from pathlib import Path

# Linux takes the ports of outgoing connections, and those of listeners that ask for any, from this range; a port of
# it that is free now may be taken before the process that is told of it listens there.
_TAKEN_BY_THE_KERNEL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_LEAST, _MOST, _ENOUGH = 10_000, 65_535, 1_000
# Names held so that nobody who asks here is given the same port; bounded, because each costs a descriptor.
_held: deque[socket.socket] = deque(maxlen=256)


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """`count` different ports that nobody listens on now.

    No other caller on this machine is given them while this process lives (or until it has asked for 256 more), and
    the kernel gives them to nobody where its own range leaves room.
    """
    candidates = _outside_of_the_kernels()
    random.SystemRandom().shuffle(candidates)
    found: list[int] = []
    while len(found) < count:
        if not candidates:
            raise OSError(f"fewer than {count} ports are free on {host}")
        port = candidates.pop()
        name = _hold(port)
        if name and _is_free(host, port):
            _held.append(name)
            found.append(port)
        elif name:
            name.close()
    return found


def _outside_of_the_kernels() -> list[int]:
    low, high = map(int, _TAKEN_BY_THE_KERNEL.read_text().split())
    outside = [*range(_LEAST, low), *range(high + 1, _MOST + 1)]
    return outside if len(outside) >= _ENOUGH else list(range(_LEAST, _MOST + 1))


def _hold(port: int) -> socket.socket | None:
    # An abstract name lives in the same network namespace as the port, and ends with the process that holds it.
    name = socket.socket(socket.AF_UNIX)
    with contextlib.suppress(OSError):
        name.bind(f"\0atlas-port-{port}")
        return name
    name.close()
    return None


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.bind((host, port))
        return True
    return False
