"""Connections whose every wait ends at one deadline: the request's, not each read's.

A socket's timeout bounds one read, so a peer that sends a byte now and then holds a reader for ever. These sockets set
their timeout anew before each operation, to what is left of the request that their thread is sending.

A connection carries another request only after one clean response (`oidc_actor.http.responses`), and only while nothing
has come behind it, in any buffer: what lies there would be taken for the answer to the next request, which may be another
client's. The responses are taken whole, so that no connection is ever between two states when it goes back to its pool.

The connections also keep quiet (neither ``http.client``'s debug level nor urllib3's warning about odd headers shows
what was sent or received), and are not used again after a rest: load balancers and address translators forget idle
connections without a word, and the next request on one would wait until its deadline. That rest is measured by the wall clock
too: a machine that was suspended, or restored from a snapshot, finds the peers of its connections gone.

TLS is always verified, against the certificates that were named (`tls_context`), and no others.
"""

from __future__ import annotations

import http.client
import os
import queue
import socket
import ssl
import sys
import threading
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.util import wait_for_read, wait_for_write

from oidc_actor.credentials.keys import ClientCertificate
from oidc_actor.http.responses import Incoming, joined, read_response, read_status_line
from oidc_actor.transport import MAX_BODY_BYTES
from oidc_actor.values import clock
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import no_file, read_file, resolve_secret
from supervision.runtime.lazy_imports import fork_waits

IDLE_LIMIT_S = 15.0
"""Seconds after which an unused connection is closed instead of used again."""


class _Progress(threading.local):
    """The request that this thread sends. A thread sends one at a time, so its sockets find by thread what they need to know.

    The order is this: `bounded` sets the deadline; requests and urllib3 take a connection out of its pool or make one, send
    and receive, all on this thread, and each socket operation asks what is left; the connection goes back to its pool;
    `bounded` ends. Another thread may take the connection as soon as it is back, and its operations ask for that thread's own
    deadline. A deadline that was kept in the socket would then be the one of the request before.

    Attributes:
        deadline: Reading of the monotonic clock at which it is over; ``None`` where the thread sends none.
        sent: Whether a byte of it may have reached the peer.
    """

    deadline: float | None = None
    sent: bool = False


_progress = _Progress()


@contextmanager
def bounded(timeout_s: float) -> Iterator[_Progress]:
    """Bound all socket operations of this thread.

    Args:
        timeout_s: Seconds from now.

    Yields:
        The progress; its ``sent`` tells afterwards how far it came.
    """
    _progress.deadline, _progress.sent = monotonic() + timeout_s, False
    try:
        yield _progress
    finally:
        _progress.deadline = None


def _bound(sock: socket.socket) -> None:
    if _progress.deadline is None:
        return
    left = _progress.deadline - monotonic()
    if left <= 0:
        raise TimeoutError("the request's time is over")
    sock.settimeout(left)


class BoundedSocket(socket.socket):
    """A TCP socket that observes the request's deadline."""

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


class BoundedTLSSocket(BoundedSocket, ssl.SSLSocket):
    """A TLS socket that observes the request's deadline. Made by a context whose ``sslsocket_class`` it is."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands within the deadline.

        It goes in steps. During a step OpenSSL may hold locks of its own, so a fork waits for its end. Between two steps this
        thread waits for the peer, and a fork does not.
        """
        while True:
            _bound(self)
            left_s = self.gettimeout()
            self.settimeout(0.0)
            try:
                with fork_waits():
                    super().do_handshake()
                    return
            except ssl.SSLWantReadError:
                wait = wait_for_read
            except ssl.SSLWantWriteError:
                wait = wait_for_write
            finally:
                self.settimeout(left_s)
            if not wait(self, timeout=left_s):
                raise TimeoutError("the handshake has not ended in time")

    def send(self, *args: Any) -> int:
        """Send within the deadline, as each piece of what ``sendall`` sends."""
        _bound(self)
        return super().send(*args)


class _Response(http.client.HTTPResponse):
    """A response that is there as a whole, or not at all, with what urllib3's pool looks at.

    What urllib3 makes of a response to be read bit by bit would be a sixth of what a request costs.
    """

    version_string, length_remaining = "HTTP/1", 0  # for urllib3's record of a request
    # Set by urllib3, and kept by no response: a connection keeps its last one, and both would keep their pool in a circle.
    _pool = property(lambda _: None, lambda *_: None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fp: Any = Incoming(self.fp.detach())

    def begin(self, **_: Any) -> None:
        """Receive it; its connection is closed behind it unless it may carry another request."""
        got = read_response(self.fp, max_body_bytes=MAX_BODY_BYTES)
        self.status, self.body = got.line.status, got.body
        self.headers: Any = joined(got.fields)
        self.will_close = not got.is_clean
        self.fp.close()
        self.fp = None

    def flush(self) -> None:
        """Do nothing: a response is never written to."""

    def _read_status(self) -> tuple[str, int, str]:
        # Asked by http.client where a proxy answers CONNECT.
        line = read_status_line(self.fp)
        return "HTTP/1.1" if line.is_1_1 else "HTTP/1.0", line.status, line.reason


class _CleanConnection(HTTPConnection):
    """What all kinds of connection share.

    Whether one may be used again is decided in this order. `send` says no, before a byte goes out. `_Response.begin` reads
    the whole response, and has the connection closed where that was not clean. `getresponse` says yes where it is still open.
    Only then does the pool get it back, and asks `is_connected` before its next request: what came meanwhile, and a long
    rest, still say no. A request that fails at any point in between leaves the no of `send`.
    """

    debuglevel = 0  # hides the class attribute that programs set on http.client.HTTPConnection to see everything
    response_class = _Response
    _may_be_used_again = False
    _rests_since: tuple[float, float] | None = None
    _unsent: list[Any] | None = None  # the request that is being put together

    @property
    def is_connected(self) -> bool:
        """Whether the connection may carry another request; asked just before it is to."""
        if not self._may_be_used_again or self._rests_since is None:
            return False
        rested_s = max(now - then for now, then in zip(_clocks(), self._rests_since, strict=True))
        return rested_s < IDLE_LIMIT_S and _is_silent(self.sock)

    def connect(self) -> None:
        """Connect; what is sent for that goes to a proxy (CONNECT), and has nothing of the request."""
        try:
            super().connect()
        finally:
            _progress.sent = False

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request; its head and its body go out at once, not as two packets."""
        unsent: list[Any] = []
        self._unsent = unsent
        try:
            super().request(*args, **kwargs)
        finally:
            self._unsent = None
        self.send(b"".join(unsent))

    def send(self, data: Any) -> None:
        """Send, and note that something was sent."""
        if self._unsent is not None:
            self._unsent.append(data)
            return
        self._may_be_used_again = False
        if self.sock is None:
            self.connect()
        _progress.sent = True
        super().send(data)

    def getresponse(self) -> Any:
        """Receive the response, all of it."""
        self.sock.settimeout(self.timeout)  # of a socket that is none of ours
        response = http.client.HTTPConnection.getresponse(self)
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


class _Resting:
    """The connections of a pool that rest; the last to come is the first to go. In place of urllib3's queue, which has a lock.

    urllib3 empties all its pools at the interpreter's exit. A forked child does that with its parent's, too: it would wait for
    ever for a lock that a thread of the parent held as it forked. Here each change is one operation of a list. Two threads that
    come at once may put in one more than there is to be room for.
    """

    def __init__(self, maxsize: int) -> None:
        self._most = maxsize
        self._connections: list[Any] = []

    def get(self, block: bool = False, timeout: float | None = None) -> Any:
        """Take one out."""
        try:
            return self._connections.pop()
        except IndexError:
            raise queue.Empty from None

    def put(self, connection: Any, block: bool = False) -> None:
        """Put one in."""
        if len(self._connections) >= self._most:
            raise queue.Full
        self._connections.append(connection)

    def qsize(self) -> int:
        """How many there are; urllib3 fills a pool with ``None`` at first."""
        return len(self._connections)


class BoundedPool(HTTPConnectionPool):
    """Plain connections to one host, for loopback and for setups that allow it."""

    ConnectionCls = _BoundedConnection
    QueueCls: Any = _Resting


class BoundedTLSPool(HTTPSConnectionPool):
    """TLS connections to one host."""

    ConnectionCls = _BoundedTLSConnection
    QueueCls: Any = _Resting


@cache
def clean_pool_class(pool_class: Any) -> Any:
    """Make the pool class of another package (SOCKS) one whose connections are used again by the same rule as ours.

    Args:
        pool_class: A class of urllib3's kind.

    Returns:
        A subclass.
    """
    connection_class = type("_Connection", (_CleanConnection, pool_class.ConnectionCls), {})
    return type("_Pool", (pool_class,), {"ConnectionCls": connection_class, "QueueCls": _Resting})


POOL_CLASSES = {"http": BoundedPool, "https": BoundedTLSPool}
"""For urllib3's ``PoolManager.pool_classes_by_scheme``."""


def _clocks() -> tuple[float, float]:
    """Readings of a clock that cannot be set, and of the wall clock, which alone shows that a machine was restored."""
    return clock.default_clock(), clock.wall_clock()


def _is_silent(sock: Any) -> bool:
    """Whether nothing has come before a request was sent: no bytes, and no end of the connection.

    Other sockets than ours (TLS within a proxy's TLS, plain SOCKS) may hold bytes where they cannot be seen.
    """
    if isinstance(sock, BoundedTLSSocket) and sock.pending():
        return False
    return isinstance(sock, BoundedSocket) and not wait_for_read(sock, timeout=0.0)


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


MAX_PEM_BYTES = 16 * 1024 * 1024
"""The longest file of certificates that is read, in bytes."""


def tls_context(ca_bundle: str, certificate: ClientCertificate | None = None) -> ssl.SSLContext:
    """Make what connections are made with.

    Args:
        ca_bundle: File or directory of the certificates to trust.
        certificate: What to show where the server asks for one (RFC 8705); ``None`` for nothing.

    Returns:
        The context.

    Raises:
        OSError: Where ``ca_bundle`` holds no certificates, or is neither a directory nor a regular file.
        ConfigError: Where the client's certificate and key cannot be used together.
    """
    with fork_waits():  # the first context sets up OpenSSL
        return _tls_context(ca_bundle, certificate)


def _tls_context(ca_bundle: str, certificate: ClientCertificate | None) -> ssl.SSLContext:
    context = _context()
    if os.path.isdir(ca_bundle):
        context.load_verify_locations(capath=ca_bundle)
    else:
        refused = no_file(Path(ca_bundle), MAX_PEM_BYTES)  # OpenSSL would wait for the writer of a pipe
        if refused is not None:
            raise OSError(0, refused)
        context.load_verify_locations(cafile=ca_bundle)
    context.sslsocket_class = BoundedTLSSocket
    problem = None if certificate is None else load_certificate(context, certificate)
    if problem is not None:
        raise ConfigError(
            f"expected a PEM certificate and the key that fits it, got: {problem}", ("client_certificate",)
        )
    return context


def _context() -> ssl.SSLContext:
    """As urllib3 makes it, but without ``SSLKEYLOGFILE``: with that file client secrets and tokens can be read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificates, and that they name the host
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_TICKET
    context.hostname_checks_common_name = False
    context.post_handshake_auth = True  # a server may ask for a client's certificate late
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    return context


def check_ca_bundle(ca_bundle: object, name: str = "ca_bundle") -> str:
    """Check what is to be trusted, given as an option.

    Args:
        ca_bundle: The candidate.
        name: What it is, for the error's message.

    Returns:
        The path of a file or directory.

    Raises:
        ConfigError: Where it holds no certificates.
    """
    if not isinstance(ca_bundle, (str, Path)):
        raise ConfigError(
            f"expected the path of a file or directory of certificates, got {ca_bundle!r}; TLS verification "
            "cannot be turned off, name the provider's CA instead",
            (name,),
        )
    try:
        tls_context(str(ca_bundle))
    except OSError as error:  # ssl.SSLError is one
        problem = error.strerror or type(error).__name__
        if _is_marked(Path(str(ca_bundle))):
            problem += "; it begins with a byte order mark: save it without"
    else:
        return str(ca_bundle)
    raise ConfigError(f"expected PEM certificates in {str(ca_bundle)!r}, got: {problem}", (name,))


def _is_marked(path: Path) -> bool:
    """Whether a file begins with a byte order mark, behind which OpenSSL finds no PEM."""
    found = read_file(path, MAX_PEM_BYTES)
    return isinstance(found, bytes) and found.startswith((BOM_UTF8, BOM_UTF16_LE, BOM_UTF16_BE))


def load_certificate(context: ssl.SSLContext, certificate: ClientCertificate) -> str | None:
    """Have connections show a client's certificate, or say why that cannot be done.

    Args:
        context: What they are made with.
        certificate: The certificate, whose files are read.
    """
    password = certificate.password
    for file in certificate.sources:
        refused = no_file(file.path, MAX_PEM_BYTES)
        if refused is not None:
            return f"{refused} ({file.path})"
    try:
        # Without a password OpenSSL would ask for one on the terminal, and wait.
        opened = "" if password is None else resolve_secret(password, "client_certificate: its password").reveal()
        context.load_cert_chain(certificate.cert_file, certificate.key_file, opened)
    except Exception as error:  # noqa: BLE001 - its frames hold the password
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        marked = "".join(
            f"; {file.path} begins with a byte order mark" for file in certificate.sources if _is_marked(file.path)
        )
        return f"{reason} ({', '.join(str(file.path) for file in certificate.sources)}){marked}"
    return None
