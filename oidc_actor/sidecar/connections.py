"""Connections end: each request ends in time, or its connection does, and there are never too many connections.

uvicorn reads the requests, answers them, and closes a connection that has long been idle after an answer. It has no bound for the
length of a head (RFC 6585, section 5), for the time that a request or the reading of an answer takes, or for the number of
connections. Those bounds are here. Every connection is looked at once a second, so the times are up to a second longer.

When there are as many connections as there may be, a new one replaces the oldest whose peer has to send or to read something, or
else one that is kept between two requests, and none where one is just ending. If all of them are being answered, new ones wait.

Everything runs on the event loop's thread, so that nothing here is interrupted; but three things come in any order: what a peer
sends, what the application answers, and the look once a second. For one request the order is

1. ``data_received``, which runs the parser, and within it ``on_message_begin`` and ``on_headers_complete``. There a token that
   lives is sent at once; for all else a task of the application answers, so that ``is_answering`` may begin and end while
2. further pieces arrive: ``on_body``, then ``on_message_complete``. A peer that never sends the rest has its answer, and is
   waited for all the same: ``_waits_since`` runs from the first byte to the last, also after an early answer.
3. ``on_response_complete``, before or after 2.

A piece may hold the end of one request and the beginning of the next, which uvicorn answers after it. So a refusal of the second
(`HTTPConnection._refuse`) must not be written into the answer of the first: while one is due, nothing more is read, and uvicorn
closes after it.
"""

from __future__ import annotations

import asyncio
import errno
import resource
import socket
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import TypeAlias

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from oidc_actor.sidecar.log import log

HEAD_BYTES = 64 * 1024
"""The longest head of a request, from its first line to the last header."""

REQUEST_S = 5.0
"""Seconds from the first byte of a request, or from the connection's beginning, to its last, a body included."""

ANSWER_S = 30.0
"""Seconds that a peer may leave an answer unread."""

MOST = 1024
"""The most connections of one listener, however many descriptors there are: each may hold a head."""

GRACE_S = 0.1
"""Seconds that a new connection has to send something before another replaces it."""

PAUSE_S = 0.05
"""Seconds between two looks for room, and between two attempts to accept."""

AtOnce: TypeAlias = Callable[[bytes, list[tuple[bytes, bytes]], tuple[str, int | None] | None], bytes | None]
"""Gives the answer to a plain GET where it need not be waited for; `oidc_actor.sidecar.asgi.Application.at_once`."""


def most_connections(descriptors: int | None = None) -> int:
    """How many connections a listener may have: a quarter of the descriptors.

    With two listeners the other half is left to the provider's connections, the token files and the rest of the process.

    Args:
        descriptors: How many the process may have; ``None`` asks the system.
    """
    if descriptors is None:
        descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if descriptors == resource.RLIM_INFINITY else max(1, min(MOST, descriptors // 4))


class Peers:
    """The connections of one listener. On the event loop's thread only."""

    def __init__(self, most: int) -> None:
        """Begin with none.

        Args:
            most: How many there may be.
        """
        self.most = most
        self.connections: dict[HTTPConnection, None] = {}  # the oldest first

    def make_room(self) -> bool:
        """Free a descriptor for one more connection if none is left; false where the new one has to wait."""
        if len(self.connections) < self.most:
            return True
        if any(one.is_ending for one in self.connections):
            return False  # its place is free in a moment: no other one is given up for it
        idle = [one for one in self.connections if one.is_idle]
        if not idle:
            return False
        first = min(idle, key=lambda one: (not one.is_waited_for, one.idle_since))
        if first.is_waited_for and time.monotonic() - first.idle_since < GRACE_S:
            return False  # nor is a connection between two requests given up for it: a flood would end all of those
        first.give_up()
        return True


async def accept(listener: socket.socket, peers: Peers, connect: Callable[[], asyncio.Protocol]) -> None:
    """Accept connections, one by one, until cancelled. Without a free descriptor it goes on, and does not spin.

    Args:
        listener: The listening socket; it is not closed here.
        peers: The listener's connections, which must have room for each new one.
        connect: Makes the protocol of a connection.
    """
    loop, failing = asyncio.get_running_loop(), False
    listener.setblocking(False)
    while True:
        try:
            accepted, _ = await loop.sock_accept(listener)
        except OSError as error:
            if error.errno != errno.ECONNABORTED:  # that peer has gone already
                if not failing:
                    log("accept_failed", error=error.strerror or type(error).__name__)
                failing = True
                await asyncio.sleep(PAUSE_S)
            continue
        failing = False
        try:
            while not peers.make_room():
                await asyncio.sleep(PAUSE_S)
            await loop.connect_accepted_socket(connect, accepted)
        except OSError:  # the peer has gone
            accepted.close()
        except asyncio.CancelledError:
            accepted.close()
            raise


class _Part(Enum):
    """Which part of a request is read next."""

    NONE = auto()
    HEAD = auto()
    BODY = auto()


class HTTPConnection(HttpToolsProtocol):
    """One connection of uvicorn's, with a bound to everything that its peer does."""

    def __init__(self, settings: uvicorn.Config, state: ServerState, peers: Peers, at_once: AtOnce) -> None:
        super().__init__(settings, state, {})
        self._peers = peers
        self._at_once = at_once
        self._part = _Part.NONE
        self._piece = 0  # bytes in the piece that has just arrived
        self._first = 0  # bytes in the piece in which the present request began, at an unknown offset
        self._read = (
            0  # bytes since the beginning of that piece; so the head has at least `_read - _first`, at most `_read`
        )
        self._waits_since: float | None = time.monotonic()  # the peer has to end a request; None while it need not
        self._answered_at = 0.0
        self._unread_since: float | None = None  # the first look that found an answer unread; None while there is none
        self._is_refused = self._is_too_long = False

    # --- its peers, and the clock -------------------------------------------------------------------------------------

    @property
    def is_answering(self) -> bool:
        """Whether a request has been read whose answer is not complete."""
        cycle: RequestResponseCycle | None = self.cycle  # None before the first, against uvicorn's annotation
        return cycle is not None and not cycle.response_complete

    @property
    def is_idle(self) -> bool:
        """Whether little is lost if it is given up: no request is being answered, or its peer does not read the answers."""
        return self._is_unread or not (self.transport.is_closing() or self.is_answering)

    @property
    def is_ending(self) -> bool:
        """Whether it has been closed, with nothing left to send: it counts until the event loop's next turn."""
        return self.transport.is_closing() and not self.transport.get_write_buffer_size()

    @property
    def is_waited_for(self) -> bool:
        """Whether its peer has something to do: to send a request, or the rest of one, or to take an answer."""
        return self._waits_since is not None or self._is_unread

    @property
    def idle_since(self) -> float:
        """When it became idle, by the monotonic clock; the loop's own may be too coarse to tell two connections apart."""
        if self._is_unread and self._unread_since is not None:
            return self._unread_since
        return self._answered_at if self._waits_since is None else self._waits_since

    @property
    def _is_unread(self) -> bool:
        """Whether the last look found an answer unread, and one is unread now."""
        return self._unread_since is not None and self.transport.get_write_buffer_size() > 0

    def give_up(self) -> None:
        """Close it at once, without what was still to be sent, so that its descriptor is free."""
        self._peers.connections.pop(self, None)
        self.transport.abort()

    def look(self, now: float) -> None:
        """Refuse or close what has taken too long. Called once a second.

        Args:
            now: The monotonic clock's time.
        """
        if not self.transport.get_write_buffer_size():
            self._unread_since = None
        elif self._unread_since is None:
            self._unread_since = now
        elif now - self._unread_since >= ANSWER_S:
            self.give_up()
            return
        since = self._waits_since
        if self.is_answering or self.transport.is_closing():
            return
        if since is None:
            if now - self._answered_at >= self.timeout_keep_alive:
                self.transport.close()
            return
        if now - since < REQUEST_S:
            return
        if self._part is _Part.HEAD and not self._is_refused:
            self._refuse(408, b"Request Timeout", b"expected the end of the request within 5 s")
        self.transport.close()

    # --- asyncio ------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Count it among the listener's connections."""
        super().connection_made(transport)
        self._peers.connections[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Count it no more."""
        self._peers.connections.pop(self, None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived. After a refusal it is thrown away: if it were left unread, the kernel could drop the answer."""
        if self._is_refused:
            return
        self._piece = len(data)
        self._read += self._piece
        if self._waits_since is None:
            self._waits_since = time.monotonic()
        super().data_received(data)
        if self._part is not _Part.NONE and (self._is_too_long or self._read - self._first > HEAD_BYTES):
            self._refuse(431, b"Request Header Fields Too Large", b"expected a head of at most 64 KiB")

    # --- uvicorn: what its parser finds -------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._part = _Part.HEAD
        self._read = self._first = self._piece
        if self._waits_since is None:  # the request before it ended in the same piece
            self._waits_since = time.monotonic()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Answer the request, unless its head is too long. One that asks for another protocol is the last: the parser stops."""
        if self._is_too_long or (self._read > HEAD_BYTES and self._head_bytes() > HEAD_BYTES):
            self._is_too_long = True
            return
        self._part = _Part.BODY
        if self._answered_at_once():
            return
        super().on_headers_complete()
        if self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def _answered_at_once(self) -> bool:
        """Answer a plain GET for a token that lives: without a task, a cycle of uvicorn's, or a timer.

        Not while an earlier request is due, whose answer goes first, nor while the peer leaves answers unread: a task waits then.
        """
        parser = self.parser
        if (
            self.is_answering
            or self.flow.write_paused
            or parser.get_method() != b"GET"
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
            or parser.should_upgrade()
        ):
            return False
        written = self._at_once(self.url, self.headers, self.server)
        if written is None:
            return False
        own = [b"%b: %b\r\n" % header for header in self.server_state.default_headers]  # the date
        self.transport.write(b"".join((b"HTTP/1.1 200 OK\r\n", *own, written)))
        self.server_state.total_requests += 1
        self._answered_at = time.monotonic()
        return True

    def on_body(self, body: bytes) -> None:
        """Throw the body away: no route wants one."""

    def on_message_complete(self) -> None:
        """The request has ended; the peer need not send another one while this is being answered."""
        if self._is_too_long:
            return
        self._part = _Part.NONE
        self._waits_since = None
        if self.is_answering:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """The answer has been written. That the connection is idle from here on is seen by `look`, without a timer."""
        self._answered_at = time.monotonic()
        super().on_response_complete()
        self._unset_keepalive_if_required()

    def _unsupported_upgrade_warning(self) -> None:
        """Warn of nothing: a client that offers HTTP/2 (Java's does, at every first request) is served."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request."""
        self._refuse(400, b"Bad Request", msg.encode("ascii", "replace"))

    # --- refusals -----------------------------------------------------------------------------------------------------

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _refuse(self, status: int, phrase: bytes, description: bytes) -> None:
        """Answer with a refusal, and end the connection in four steps (RFC 9112, section 9.6).

        1. Nothing more is parsed. If an answer is due, it comes first, and uvicorn closes after it: that is all.
        2. The refusal is written, unless the request has its answer already.
        3. Our half is closed (``write_eof``), so that the peer sees the end. Closing both halves now could lose the refusal: the
           kernel answers a peer that still writes with a reset, on which the peer drops what it has not read.
        4. The peer closes its half, or `look` closes ours when the time for a request is over.
        """
        self._is_refused = True
        self._unset_keepalive_if_required()
        if self.is_answering:
            self.cycle.keep_alive = False
            return
        if self.transport.is_closing():
            return
        self._waits_since = time.monotonic()
        if self._part is not _Part.BODY:  # a request whose head is complete has its answer
            head = b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(head % (status, phrase, len(description)) + description)
        self.transport.write_eof()
