"""A WSGI server on a loopback port of its own that can go away and come back on the same port."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler

from oidc_actor.testing.port import KeptPort

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

POLL_S = 0.02
CUT_WAIT_S = 5.0

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
