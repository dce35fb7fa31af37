"""A WSGI server on a loopback port of its own that can go away and come back on the same port; its certificate, for https."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import logging
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from oidc_actor.testing.port import KeptPort

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

POLL_S = 0.02
CUT_WAIT_S = 5.0
CERTIFICATE_LIFE = datetime.timedelta(days=30)

_log = logging.getLogger(__name__)


class _Handler(WSGIRequestHandler):
    """Werkzeug's handler without its request log, and with the provider's own clock in `Date`."""

    server: _WSGIServer

    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 - Werkzeug's name for it
        if type == "error":
            _log.error(message, *args)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(self.server.clock() if timestamp is None else timestamp)


class _WSGIServer(ThreadedWSGIServer):
    """Werkzeug's threaded server that knows its open connections, so that it can cut them.

    One thread accepts, and starts a thread for each connection.
    """

    def __init__(
        self,
        app: WSGIApplication,
        listening: socket.socket,
        clock: Callable[[], float],
        tls: ssl.SSLContext | None,
    ) -> None:
        self.clock = clock
        # Guards `_open`; waited on until the last request thread is gone.
        self._gone = threading.Condition()
        self._open: set[socket.socket] = set()
        host, port = listening.getsockname()
        super().__init__(host, port, app, _Handler, ssl_context=tls, fd=listening.fileno())
        if isinstance(self.socket, ssl.SSLSocket):
            # Otherwise the accept thread shakes hands, and one client that says nothing stops it for all.
            self.socket.do_handshake_on_connect = False  # type: ignore[attr-defined] # typeshed lacks it

    def process_request(self, request: Any, client_address: Any) -> None:
        # On the accept thread, before the connection's own thread starts: once the accept loop has ended every connection
        # is in the set, and `cut` misses none. Were it put there by its own thread, one that was accepted last might come late,
        # and would be answered although the provider is down.
        with self._gone:
            self._open.add(request)
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._gone:
                self._open.discard(request)
                self._gone.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        _log.exception("a request to the embedded provider failed")

    def cut(self) -> None:
        """Break every open connection and wait for its thread."""
        with self._gone:
            for connection in self._open:
                break_connection(connection)
            self._gone.wait_for(lambda: not self._open, CUT_WAIT_S)


class Listener:
    """A place on 127.0.0.1 where an application can be served; its port stays its own from construction to `close`.

    Args:
        clock: Seconds since the epoch, for the `Date` header.
        port: The port to use; 0 takes a free one.
        tls: The server's side of TLS; `None` for plain http.
    """

    def __init__(self, clock: Callable[[], float], port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self._clock = clock
        self._tls = tls
        # Guards `_server` and its thread: `up` and `down` may be called from any thread.
        self._lock = threading.Lock()
        self._server: _WSGIServer | None = None
        self._thread: threading.Thread | None = None
        self._held = KeptPort(port)
        self.port = self._held.number

    def up(self, app: WSGIApplication) -> None:
        """Accept connections, one thread for each; nothing happens if it already does."""
        with self._lock:
            if self._server is not None:
                return
            with self._held.listen() as listening:
                self._server = _WSGIServer(app, listening, self._clock, self._tls)
            self._thread = threading.Thread(
                target=self._server.serve_forever, args=(POLL_S,), name=f"oidc-provider-{self.port}", daemon=True
            )
            self._thread.start()

    def down(self) -> None:
        """Refuse connections and break the open ones; nothing happens if it is down already.

        In this order: the accept loop ends, its thread is waited for, the connections are broken, their threads are waited for.
        When it returns, no request is under way. The lock is held meanwhile, so an `up` on another thread comes after it.
        """
        with self._lock:
            server, thread = self._server, self._thread
            if server is None or thread is None:
                return
            self._server = self._thread = None
            server.shutdown()
            thread.join(CUT_WAIT_S)
            server.cut()

    def close(self) -> None:
        """Go down and give the port back."""
        self.down()
        self._held.close()


def break_connection(connection: socket.socket) -> None:
    """End a connection both ways, though its own thread may be reading it."""
    with contextlib.suppress(OSError):
        # Not SSLSocket's own shutdown: it takes the TLS state away from the thread that reads.
        socket.socket.shutdown(connection, socket.SHUT_RDWR)


class Certificates:
    """An authority of its own and a server certificate for `localhost`, `127.0.0.1` and `::1`.

    The files live in a temporary folder until `remove`.

    Attributes:
        ca_bundle: PEM file of the authority's certificate, for clients that are to trust it.
        context: What the server needs.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="oidc-provider-")
        folder = Path(self._folder.name)
        authority_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "oidc_actor.testing authority")])
        authority = (
            _template(issuer, issuer, authority_key.public_key(), authority_key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs_certificates=True), critical=True)
            .sign(authority_key, hashes.SHA256())
        )
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        addresses = [x509.IPAddress(ipaddress.ip_address(text)) for text in ("127.0.0.1", "::1")]
        server = (
            _template(issuer, subject, authority_key.public_key(), server_key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs_certificates=False), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost"), *addresses]), critical=False)
            .sign(authority_key, hashes.SHA256())
        )
        self.ca_bundle = folder / "ca.pem"
        self.ca_bundle.write_bytes(authority.public_bytes(serialization.Encoding.PEM))
        chain = folder / "server.pem"
        chain.write_bytes(
            server_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            + server.public_bytes(serialization.Encoding.PEM)
        )
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(chain)

    def remove(self) -> None:
        """Delete the files."""
        self._folder.cleanup()


def _template(
    issuer: x509.Name, subject: x509.Name, signer: ec.EllipticCurvePublicKey, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .issuer_name(issuer)
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + CERTIFICATE_LIFE)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )
