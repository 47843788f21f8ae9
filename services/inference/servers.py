"""Which servers one gRPC address names: behind a headless service there are as many as it has pods."""

import socket

Option = tuple[str, str]


def servers(address: str) -> list[tuple[str, list[Option]]]:
    """A target for each server behind `address`, and the channel options that let its certificate be checked.

    `address` is host:port, dns:///host:port or ipv4:address:port,address:port. A host that has no address now is its
    own only target, so that gRPC says what is wrong.
    """
    scheme, listed, rest = address.partition("ipv4:")
    if listed and not scheme:
        return [(f"ipv4:{target}", []) for target in rest.split(",")]
    host, _, port = address.removeprefix("dns:///").rpartition(":")
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    except OSError:
        return [(address, [])]
    named = [("grpc.default_authority", host), ("grpc.ssl_target_name_override", host)]
    v6 = socket.AF_INET6
    targets = {f"ipv6:[{ip}]:{port}" if family == v6 else f"ipv4:{ip}:{port}" for family, *_, (ip, *_) in found}
    return [(target, named) for target in sorted(targets)]
