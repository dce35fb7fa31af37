"""`FaultProxy`: a TCP proxy on loopback that goes wrong when told to, for tests with any provider behind it."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Literal, Self
from urllib.parse import urlsplit

from oidc_actor.testing.faults import Break, Corrupt, Delay, Drip, Interim, Truncate
from oidc_actor.testing.port import HOST
from oidc_actor.testing.relay import Address, Faults, RelayServer

DEFAULT_PORTS = {"http": 80, "https": 443}


class FaultProxy:
    """A TCP proxy on 127.0.0.1 before one server; it passes everything on until it is told otherwise.

    All it knows of HTTP is the blank line that ends a head, so it can stand before any provider, over TLS too (where a
    head and a body cannot be told apart). The provider must name the proxy's `url` in its metadata, or its clients go past
    the proxy: `public_url` of the embedded `Provider`, `hostname` of Keycloak, the `issuer` of the npm `oidc-provider`.

    A fault is for the next `n` requests, in the order of the calls, on any connection;
    `n=None` is for all of them until `heal`. `refuse` and `down` hold until `up`. Every wait has a deadline, and all methods may
    be called from any thread between start and stop.

    Args:
        target: The server behind it, as a URL or as `host:port`. May be assigned later; connections to `None` are broken.
        port: The port to use; 0 takes a free one.
        hold_limit_s: Seconds after which a connection that `stall` holds is broken.

    Example:
        >>> from oidc_actor.testing import FaultProxy
        >>> with FaultProxy("http://127.0.0.1:9000") as proxy:
        ...     proxy.reset(2)  # the next two requests meet a broken connection
        ...     proxy.url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(self, target: str | None = None, *, port: int = 0, hold_limit_s: float = 60.0) -> None:
        self._port = port
        self._hold_limit_s = hold_limit_s
        self._server: RelayServer | None = None
        self._faults = Faults()
        self.target = target

    def __repr__(self) -> str:
        return f"<FaultProxy {self.url} before {self.target}>" if self._server else "<FaultProxy not started>"

    # --- life ---

    def start(self) -> Self:
        """Take a port and listen; nothing happens if it does already.

        Raises:
            OSError: The given `port` is taken.
        """
        if self._server is None:
            self._server = RelayServer(self._faults, self._port, self._hold_limit_s)
            self._server.listen()
        return self

    def stop(self) -> None:
        """Break every connection and give the port back; nothing happens if it is stopped already."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- where it is ---

    @property
    def target(self) -> str | None:
        """The server behind it; assign to change it for the connections to come."""
        return self._target

    @target.setter
    def target(self, value: str | None) -> None:
        scheme, address = _parsed(value)
        self._scheme = scheme
        self._target = value
        self._faults.address = address

    @property
    def url(self) -> str:
        """Its own root, with the scheme of the target (http where that has none) and no trailing slash."""
        return f"{self._scheme}://{HOST}:{self._running().port}"

    # --- what goes wrong with the next requests ---

    def cut(self, n: int | None = 1, *, after_bytes: int | None = None) -> None:
        """Close the connection (FIN).

        Args:
            n: How many requests; `None` is all of them until `heal`.
            after_bytes: After that many bytes of the answer, so that with 0 the request is carried out and its answer
                lost. `None` is before the request is passed on: the server never sees it.
        """
        self._faults.queue(Break("close", after_bytes), n)

    def reset(self, n: int | None = 1, *, after_bytes: int | None = None) -> None:
        """Break the connection (RST).

        Args:
            n: How many requests; `None` is all of them until `heal`.
            after_bytes: As for `cut`.
        """
        self._faults.queue(Break("reset", after_bytes), n)

    def stall(self, n: int | None = 1, *, after_bytes: int | None = None) -> None:
        """Keep the connection and pass nothing more on until `heal`, then go on.

        Args:
            n: How many requests; `None` is all of them until `heal`.
            after_bytes: As for `cut`.
        """
        self._faults.queue(Break("hold", after_bytes), n)

    def drip(self, n: int | None = 1, *, chunk_bytes: int = 1, interval_s: float = 0.05) -> None:
        """Pass the answer on in small pieces.

        Args:
            n: How many requests; `None` is all of them until `heal`.
            chunk_bytes: Bytes of a piece.
            interval_s: Seconds before each.
        """
        if chunk_bytes < 1:
            raise ValueError(f"chunk_bytes must be at least 1, got {chunk_bytes!r}")
        self._faults.queue(Drip(chunk_bytes, interval_s), n)

    def delay(self, delay_s: float, n: int | None = 1) -> None:
        """Pass the answer on late.

        Args:
            delay_s: By how many seconds.
            n: How many requests; `None` is all of them until `heal`.
        """
        self._faults.queue(Delay(delay_s), n)

    def interim(self, n: int | None = 1, *, status: int = 103, count: int = 1, delay_s: float = 0.0) -> None:
        """Send interim responses (1xx) before the answer.

        Args:
            n: How many requests; `None` is all of them until `heal`.
            status: Their status.
            count: How many.
            delay_s: Seconds from the last of them to the answer.
        """
        self._faults.queue(Interim(status, count, delay_s), n)

    def truncate(self, n: int | None = 1, *, body_bytes: int = 0) -> None:
        """Pass on the answer's head and the beginning of its body, then close (FIN).

        Args:
            n: How many requests; `None` is all of them until `heal`.
            body_bytes: Bytes of the body that are passed on.
        """
        self._faults.queue(Truncate(body_bytes), n)

    def corrupt(self, n: int | None = 1, *, part: Literal["head", "body"] = "body") -> None:
        """Flip the highest bit of every byte of a part of the answer.

        Args:
            n: How many requests; `None` is all of them until `heal`.
            part: The head or the body.
        """
        self._faults.queue(Corrupt(part), n)

    def heal(self) -> None:
        """Forget every fault not used yet, and let the held connections go on. `refuse` and `down` stay: see `up`."""
        self._faults.clear()
        if self._server is not None:
            self._server.heal()

    # --- what goes wrong with all connections, at once ---

    def refuse(self) -> None:
        """Refuse new connections until `up`; those that are open live on. The port is kept."""
        self._running().refuse()

    def down(self) -> None:
        """Go away until `up`: refuse new connections and break (RST) those that are open. The port is kept."""
        # In this order: a connection that came after the others were broken would stay open while the proxy is down.
        self._running().refuse()
        self._running().end_all("reset")

    def up(self) -> None:
        """Accept connections again, on the same port."""
        self._running().listen()

    def cut_open(self) -> None:
        """Close (FIN) every connection that is open now."""
        self._running().end_all("close")

    def reset_open(self) -> None:
        """Break (RST) every connection that is open now."""
        self._running().end_all("reset")

    # --- counting ---

    @property
    def connections(self) -> int:
        """How many connections were accepted in all."""
        return self._faults.connections

    @property
    def exchanges(self) -> int:
        """How many requests began in all, those that met a fault included."""
        return self._faults.requests

    @property
    def open_connections(self) -> int:
        """How many connections there are now."""
        return self._running().open_connections

    def wait_for_exchanges(self, count: int, *, timeout_s: float) -> bool:
        """Wait until a number of requests have begun in all.

        Args:
            count: That number.
            timeout_s: Seconds to wait.

        Returns:
            `False` at the deadline.
        """
        return self._faults.wait_for_requests(count, timeout_s)

    def wait_until_quiet(self, *, timeout_s: float) -> bool:
        """Wait until no connection is open.

        Args:
            timeout_s: Seconds to wait.

        Returns:
            `False` at the deadline.
        """
        return self._running().wait_until_quiet(timeout_s)

    def _running(self) -> RelayServer:
        if self._server is None:
            raise RuntimeError("the proxy is not started: use it in a with statement, or call start() first")
        return self._server


def _parsed(target: str | None) -> tuple[str, Address | None]:
    """Scheme and address of a URL or `host:port`."""
    if target is None:
        return "http", None
    bare = "//" not in target
    parts = urlsplit(f"http://{target}" if bare else target)
    try:
        port = parts.port or (None if bare else DEFAULT_PORTS.get(parts.scheme))
    except ValueError:
        port = None
    if not parts.hostname or port is None:
        raise ValueError(f"target: expected a URL or host:port, as in http://127.0.0.1:8080, got {target!r}")
    family, _, _, _, sockaddr = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)[0]
    return parts.scheme, Address(family, sockaddr)
