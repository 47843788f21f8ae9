"""What a client shows and whom it trusts, and channels that take renewed files up by themselves."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import grpc

from services.core.access.guard import AUTHORIZATION_KEY
from services.core.errors import AtlasError
from services.core.rpc import pem

T = TypeVar("T")
LOOK_SECONDS = 5.0
"""How often a channel looks whether its files changed, at most; only a call makes it look."""
LONGEST_TOKEN = 12 * 1024
"""A server takes 16 KiB of metadata."""


@dataclass(frozen=True)
class Credentials:
    """PEM files of the servers' authorities (`ca`) and of an own certificate, and a file that holds a token.

    Without `ca` there is no TLS. `server_name` is a name that the servers' certificates hold, where the address is none
    of them, as behind a forwarded port; "{service}" in it stands for the service's name.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    server_name: str = ""

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """The token, read anew: whoever renews it replaces the file. Raises FIELD_INVALID."""
        if self.token_file is None:
            return ()
        token = pem.contents(self.token_file)[: LONGEST_TOKEN + 1].decode(errors="replace").strip()
        if not token or len(token) > LONGEST_TOKEN or not token.isascii() or not token.isprintable():
            raise pem.unusable(self.token_file, "This file does not hold a token.")
        return ((AUTHORIZATION_KEY, f"Bearer {token}"),)

    def options(self, service: str) -> list[tuple[str, str]]:
        """Options of a channel to `service`: under which name its certificate must be, if not the address's."""
        name = self.server_name.replace("{service}", service)
        return [("grpc.ssl_target_name_override", name)] if name else []

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Authorities, key and certificate. Raises FIELD_INVALID."""
        cert, key = pem.pair(self.cert, self.key) if self.cert and self.key else (None, None)
        return pem.authorities(self.ca) if self.ca else None, key, cert


class Renewed(Generic[T]):
    """Something made of credentials that is made anew when their files change."""

    def __init__(self, credentials: Credentials, make: Callable[[grpc.ChannelCredentials], T]) -> None:
        """Raises FIELD_INVALID if the files cannot be used."""
        self._credentials, self._make = credentials, make
        self._lock, self._looked = threading.Lock(), time.monotonic()
        self._read = credentials.read()
        self._made = make(grpc.ssl_channel_credentials(*self._read))

    def now(self) -> T:
        """What there is by the files of the moment; in the middle of a rotation, by those before."""
        with self._lock:
            if time.monotonic() - self._looked >= LOOK_SECONDS:
                self._looked = time.monotonic()
                with suppress(AtlasError):
                    self._renew(self._credentials.read())
            return self._made

    def _renew(self, read: tuple[bytes | None, bytes | None, bytes | None]) -> None:
        if read != self._read:
            self._read = read
            self._made = self._make(grpc.ssl_channel_credentials(*read))


class RenewedChannel(grpc.Channel):
    """A TLS channel that is made anew when its files change; calls in flight end on the connection they began on.

    A call keeps the channel that it runs on alive by itself, so the old one is only let go of, never closed.
    Multi-callables are of the channel of the moment: make them through an interceptor, which asks at every call.
    """

    def __init__(self, address: str, credentials: Credentials, options: Sequence[tuple[str, Any]]) -> None:
        renewed = Renewed(credentials, lambda tls: grpc.secure_channel(address, tls, options=options))
        self._now = renewed.now

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """See `grpc.Channel`."""
        return self._now().unary_unary(*args, **kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """See `grpc.Channel`."""
        return self._now().unary_stream(*args, **kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """See `grpc.Channel`."""
        return self._now().stream_unary(*args, **kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """See `grpc.Channel`."""
        return self._now().stream_stream(*args, **kwargs)

    def subscribe(self, callback: Callable[[grpc.ChannelConnectivity], None], try_to_connect: bool = False) -> None:
        """Of the channel of the moment."""
        self._now().subscribe(callback, try_to_connect)

    def unsubscribe(self, callback: Callable[[grpc.ChannelConnectivity], None]) -> None:
        """Of the channel of the moment."""
        self._now().unsubscribe(callback)

    def close(self) -> None:
        """Cut off the calls of the channel of the moment."""
        self._now().close()

    def __enter__(self) -> "RenewedChannel":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
