"""Connections whose every wait ends at one deadline: the exchange's, not each read's.

A socket's timeout bounds one read, so a peer that sends a byte now and then holds a reader for ever. These sockets set
their timeout anew before each operation, to what is left of the exchange that their thread is in.

A connection carries another request only after one clean response (`oidc_actor.http.responses`), and only while nothing
has come behind it, in any buffer: what lies there would be taken for the answer to the next request, which may be another
client's. The responses are taken whole, so that no connection is ever between two states when it goes back to its pool.

The connections also keep quiet (neither ``http.client``'s debug level nor urllib3's warning about odd headers shows
what was sent or received), and are not used again after a rest: load balancers and address translators forget idle
connections without a word, and the next request on one would wait until its deadline. That rest is measured by the wall clock
too: a machine that was suspended, or restored from a snapshot, finds the peers of its connections gone.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import monotonic
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.util import wait_for_read

from oidc_actor.http.responses import Incoming, read_response, read_status_line
from oidc_actor.transport import MAX_BODY_BYTES
from oidc_actor.values import clock

IDLE_LIMIT_S = 15.0
"""Seconds after which an unused connection is closed instead of used again."""


class _Exchange(threading.local):
    """The exchange that this thread is in.

    Attributes:
        deadline: Reading of the monotonic clock at which it is over; ``None`` outside an exchange.
        sent: Whether a byte of it may have reached the peer.
    """

    deadline: float | None = None
    sent: bool = False


_exchange = _Exchange()


@contextmanager
def exchange(timeout_s: float) -> Iterator[_Exchange]:
    """Bound all socket operations of this thread.

    Args:
        timeout_s: Seconds from now.

    Yields:
        The exchange; its ``sent`` tells afterwards how far it came.
    """
    _exchange.deadline, _exchange.sent = monotonic() + timeout_s, False
    try:
        yield _exchange
    finally:
        _exchange.deadline = None


def _bound(sock: socket.socket) -> None:
    if _exchange.deadline is None:
        return
    left = _exchange.deadline - monotonic()
    if left <= 0:
        raise TimeoutError("the exchange is over")
    sock.settimeout(left)


class BoundedSocket(socket.socket):
    """A TCP socket that observes the exchange's deadline."""

    def recv(self, *args: Any) -> bytes:
        """Receive within the deadline."""
        _bound(self)
        return super().recv(*args)

    def recv_into(self, *args: Any) -> int:
        """Receive within the deadline."""
        _bound(self)
        return super().recv_into(*args)

    def sendall(self, *args: Any) -> None:
        """Send within the deadline."""
        _bound(self)
        super().sendall(*args)


class BoundedTLSSocket(ssl.SSLSocket):
    """A TLS socket that observes the exchange's deadline. Made by a context whose ``sslsocket_class`` it is."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands within the deadline."""
        _bound(self)
        super().do_handshake(block)

    def recv(self, *args: Any) -> bytes:
        """Receive within the deadline."""
        _bound(self)
        return super().recv(*args)

    def recv_into(self, *args: Any) -> int:
        """Receive within the deadline."""
        _bound(self)
        return super().recv_into(*args)

    def send(self, *args: Any) -> int:
        """Send within the deadline; ``sendall`` comes through here."""
        _bound(self)
        return super().send(*args)


class _Response(http.client.HTTPResponse):
    """A response that is there as a whole, or not at all. What follows reads its body from memory."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp: Any = Incoming(self.fp.detach())

    def begin(self, **_: Any) -> None:
        """Receive it; its connection is closed behind it unless it may carry another request."""
        got = read_response(self.fp, max_body_bytes=MAX_BODY_BYTES)
        self.version = 11 if got.line.is_1_1 else 10
        self.code = self.status = got.line.status
        self.reason = got.line.reason
        self.headers = self.msg = http.client.HTTPMessage()
        for name, value in got.fields:
            self.msg[name] = value
        self.msg.set_payload("")  # urllib3 looks whether a head's parser has left something, and would log it
        self.will_close, self.chunked, self.length = not got.is_clean, False, len(got.body)
        self.fp.close()
        self.fp = io.BytesIO(got.body)

    def flush(self) -> None:
        """Do nothing: a response is never written to."""

    def _read_status(self) -> tuple[str, int, str]:
        # Asked by http.client where a proxy answers CONNECT.
        line = read_status_line(self.fp)
        return "HTTP/1.1" if line.is_1_1 else "HTTP/1.0", line.status, line.reason


class _CleanConnection(HTTPConnection):
    """What all kinds of connection share."""

    debuglevel = 0  # hides the class attribute that programs set on http.client.HTTPConnection to see everything
    response_class = _Response
    _may_be_used_again = False
    _rests_since: tuple[float, float] | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the connection may carry another request; asked just before it is to."""
        if not self._may_be_used_again or self._rests_since is None:
            return False
        rested_s = max(now - then for now, then in zip(_clocks(), self._rests_since, strict=True))
        return rested_s < IDLE_LIMIT_S and _is_silent(self.sock)

    def send(self, data: Any) -> None:
        """Send, and note that something was sent."""
        self._may_be_used_again = False
        if self.sock is None:
            self.connect()
        _exchange.sent = True
        super().send(data)

    def getresponse(self) -> Any:
        """Receive the response, all of it."""
        response = super().getresponse()
        self._rests_since = _clocks()
        self._may_be_used_again = self.sock is not None  # else `_Response` had it closed
        return response


class _BoundedConnection(_CleanConnection):
    def _new_conn(self) -> socket.socket:
        try:
            return _connect(self._dns_host, self.port, self.socket_options or ())
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, type(error).__name__) from error


class _BoundedTLSConnection(_BoundedConnection, HTTPSConnection):
    pass


class BoundedPool(HTTPConnectionPool):
    """Plain connections to one host, for loopback and for setups that allow it."""

    ConnectionCls = _BoundedConnection


class BoundedTLSPool(HTTPSConnectionPool):
    """TLS connections to one host."""

    ConnectionCls = _BoundedTLSConnection


@cache
def clean_pool_class(pool_class: Any) -> Any:
    """Make the pool class of another package (SOCKS) one whose connections are used again by the same rule as ours.

    Args:
        pool_class: A class of urllib3's kind.

    Returns:
        A subclass.
    """
    connection_class = type("_Connection", (_CleanConnection, pool_class.ConnectionCls), {})
    return type("_Pool", (pool_class,), {"ConnectionCls": connection_class})


POOL_CLASSES = {"http": BoundedPool, "https": BoundedTLSPool}
"""For urllib3's ``PoolManager.pool_classes_by_scheme``."""


def _clocks() -> tuple[float, float]:
    """A clock that nobody sets, and the one that sees more than it where the machine was restored."""
    return clock.default_clock(), clock.wall_clock()


def _is_silent(sock: Any) -> bool:
    """Whether nothing has come that nobody asked for, the connection's end included.

    Other sockets than ours (TLS within a proxy's TLS, plain SOCKS) may hold bytes where they cannot be seen.
    """
    if isinstance(sock, BoundedTLSSocket) and sock.pending():
        return False
    return isinstance(sock, (BoundedSocket, BoundedTLSSocket)) and not wait_for_read(sock, timeout=0.0)


def _connect(host: str, port: int, options: Any) -> socket.socket:
    # The look-up is the one step without a deadline of its own: the resolver's settings bound it.
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    try:
        for position, (family, kind, protocol, _, address) in enumerate(found):
            sock = BoundedSocket(family, kind, protocol)
            try:
                for option in options:
                    sock.setsockopt(*option)
                _bound(sock)
                # A dead first address (IPv6 without a route, often) leaves time for the others.
                if (left := sock.gettimeout()) is not None:
                    sock.settimeout(left / (len(found) - position))
                sock.connect(address)
            except OSError as error:
                sock.close()
                failure = error
            else:
                return sock
        raise failure or OSError("the name has no address")
    finally:
        # The error's traceback refers to this frame, and through it to the request: no cycle may keep them.
        del failure
