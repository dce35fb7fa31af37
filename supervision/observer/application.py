"""The observer as an ASGI application: a page, its snapshot, its stream of differences. It needs no framework.

**Who may read it.** All who reach it where it is mounted, as far as the program lets them: it has no login of its own. What it
refuses by itself are requests that another site's page has a browser send. The page and its files hold nothing of the system,
so a link may lead to them. What does is given to the page alone: ``Sec-Fetch-Site`` has to say so where a browser sends it,
``Origin`` must be the server's own where there is one, and no other page may frame it or read it. Names that lead here by DNS
rebinding are refused by ``hosts``, and without it on loopback, where ``Host`` has to be a name of this machine: another one's
page could be told that its name is 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import functools
import json
import re
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, TypeAlias
from urllib.parse import quote

from supervision.errors import check_count
from supervision.observer.figures import Part
from supervision.observer.pages import Page, Pages
from supervision.observer.sampling import View
from supervision.process.registry import ServerRef, find

Scope: TypeAlias = dict[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[dict[str, Any]]]
Send: TypeAlias = Callable[[dict[str, Any]], Awaitable[None]]

BEAT_S = 5.0
"""Seconds without a message after which the page is told that it is still connected."""

UNREAD_S = 20.0
"""Seconds that a reader may leave a message unread before its stream ends."""

LEAVE_S = 0.5
"""Seconds between two looks whether the server is stopping."""

_FILES = {
    "": ("index.html", b"text/html; charset=utf-8"),
    "app.js": ("app.js", b"text/javascript; charset=utf-8"),
    "style.css": ("style.css", b"text/css; charset=utf-8"),
    "icon.svg": ("icon.svg", b"image/svg+xml"),
}

_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_GUARDS = [
    (b"cache-control", b"no-store"),
    (b"content-security-policy", _POLICY),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]

_JSON = b"application/json"

_LOCAL = re.compile(rb"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?")


@functools.cache
def _file(name: str) -> bytes:
    return (files(__package__) / "page" / name).read_bytes()


# --- which requests are refused; pure ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Asked:
    """The headers of a request that matter here; each ``None`` where it is not there."""

    host: bytes | None = None
    origin: bytes | None = None
    site: bytes | None = None
    mode: bytes | None = None

    @classmethod
    def of(cls, headers: Collection[tuple[bytes, bytes]]) -> _Asked:
        found = {name: value.strip().lower() for name, value in headers}
        hosts = [value for name, value in headers if name == b"host"]
        return cls(
            found.get(b"host") if len(hosts) == 1 else None,
            found.get(b"origin"),
            found.get(b"sec-fetch-site"),
            found.get(b"sec-fetch-mode"),
        )


def refusal(
    asked: _Asked, hosts: Collection[bytes] | None, scheme: str, *, is_page: bool, is_local: bool = False
) -> str | None:
    """Why a request is refused, or ``None``.

    Args:
        asked: its headers.
        hosts: what ``Host`` may say; ``None`` for a name of this machine where the client is on it, and else for anything.
        scheme: ``"http"`` or ``"https"``, as the server knows it.
        is_page: whether it asks for the page or one of its files, which hold nothing of the system.
        is_local: whether the client has come over loopback.
    """
    if hosts is not None and asked.host not in hosts:
        return "the Host header names another machine"
    if hosts is None and is_local and _LOCAL.fullmatch(asked.host or b"") is None:
        return (
            "the Host header names another machine; where it is a name of this server, give it: Observer(hosts=[...])"
        )
    if asked.site not in (None, b"same-origin", b"none") and not (is_page and asked.mode == b"navigate"):
        return "requests of other pages are refused"
    own = None if asked.host is None else b"%s://%s" % (scheme.encode(), asked.host)
    if asked.origin is not None and asked.origin != own and not is_page:
        return "requests of other pages are refused"
    return None


# --- the checks of arguments -------------------------------------------------------------------------------------------


def _check_parts(parts: object) -> None:
    if not isinstance(parts, Sequence):
        raise TypeError(f"parts: expected a list of parts, such as [managers()], got {type(parts).__name__}")
    for part in parts:
        if lacking := [
            name for name in ("columns", "loggers", "figures", "summary", "event") if not hasattr(part, name)
        ]:
            wanted = "expected parts, which have columns, loggers, figures, summary and event"
            hint = "; call it, and give what it returns" if callable(part) else ""
            raise TypeError(f"parts: {wanted}, got a {type(part).__name__} without {', '.join(lacking)}{hint}")


def _check_hosts(hosts: object) -> None:
    if hosts is None:
        return
    if isinstance(hosts, str) or not isinstance(hosts, Collection):
        raise TypeError(f"hosts: expected a collection of texts, got {hosts!r}")
    for one in hosts:
        if not isinstance(one, str):
            raise TypeError(f"hosts: expected a collection of texts, got {one!r} in it")
        if not one or set(one) & set("/@ ,"):
            raise ValueError(f"hosts: expected what a Host header says, such as 'localhost:8000', got {one!r}")


# --- the application --------------------------------------------------------------------------------------------------


class Observer:
    """A page that shows supervision trees while they live, to mount in any ASGI program.

    Nothing is looked at while no page is open. Events for the timeline are kept from the moment that this is made.
    """

    def __init__(
        self,
        *supervisors: ServerRef,
        parts: Sequence[Part] = (),
        hosts: Collection[str] | None = None,
        most_pages: int = 16,
        exception_texts: bool = False,
    ) -> None:
        """Prepare; nothing starts yet.

        Args:
            *supervisors: the trees to show, each a ref or a name. A name is looked up at each look, and so follows a restart. A
                server without a supervisor, such as a token manager, is a tree of one row.
            parts: what other packages add to the rows of their own actors, such as ``oidc_actor.observing.managers()``.
            hosts: what a request's ``Host`` may say, such as ``"localhost:8000"``; ``None`` for ``localhost``, ``127.0.0.1`` and
                ``[::1]`` where the client has come over loopback, as a proxy on this machine does, and else for anything.
            most_pages: how many pages may be open at a time, and how many snapshots under way.
            exception_texts: whether the texts of exceptions are shown; without, only their types, because a text is the
                program's own and may quote anything.

        Raises:
            TypeError: an argument of another type.
            ValueError: no supervisor, a host with more than a name and a port, or a ``most_pages`` below 1.
        """
        if not supervisors:
            raise ValueError("supervisors: expected one at least, got none")
        for one in supervisors:
            find(one)  # raises the TypeError
        _check_parts(parts)
        _check_hosts(hosts)
        if not isinstance(exception_texts, bool):
            raise TypeError(f"exception_texts: expected True or False, got {exception_texts!r}")
        check_count("most_pages", most_pages)
        if most_pages < 1:
            raise ValueError(f"most_pages: expected 1 at least, got {most_pages!r}")
        self._hosts = None if hosts is None else frozenset(one.lower().encode() for one in hosts)
        self._states = most_pages
        self._pages = Pages(supervisors, tuple(parts), most_pages, with_texts=exception_texts)

    def close(self) -> None:
        """End all streams; for a program that stops its server by itself. Pages may be opened again after it. Any thread."""
        self._pages.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or the server's lifespan."""
        if scope["type"] == "http":
            await self._serve(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})
        else:
            raise ValueError(f"scope: expected http, got {scope['type']!r}")

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self.close()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        root, path = scope.get("root_path", "").rstrip("/"), scope["path"]
        if root and (path == root or path.startswith(f"{root}/")):
            path = path[len(root) :]  # servers have it there since ASGI 2.5
        name = path[1:]
        is_page = name in _FILES
        if not is_page and name not in ("state", "events"):
            await _refuse(send, 404, "the paths are ./, ./state and ./events")
            return
        asked = _Asked.of(scope["headers"])
        # A Unix socket has neither, and no page can reach it. The client may be one that a page has named: uvicorn takes it from
        # `X-Forwarded-For` where the connection has come over loopback.
        ends = {end[0].removeprefix("::ffff:") for end in (scope.get("client"), scope.get("server")) if end is not None}
        is_local = not ends.isdisjoint(("127.0.0.1", "::1"))
        reason = refusal(asked, self._hosts, scope.get("scheme", "http"), is_page=is_page, is_local=is_local)
        if reason is not None:
            await _refuse(send, 403, reason)
        elif scope["method"] not in ("GET", "HEAD"):
            await _refuse(send, 405, "use GET", (b"allow", b"GET, HEAD"))
        elif not path:  # the page's own addresses are relative to a folder
            await _answer(send, 307, b"", b"text/plain", (b"location", f"{quote(root.rpartition('/')[2])}/".encode()))
        elif is_page:
            file, content_type = _FILES[name]
            await _answer(send, 200, _file(file), content_type, head=scope["method"] == "HEAD")
        elif scope["method"] == "HEAD":
            await _answer(send, 200, b"", _JSON if name == "state" else b"text/event-stream", head=True)
        elif name == "state":
            await self._state(scope, send)
        else:
            await self._events(scope, receive, send)

    async def _state(self, scope: Scope, send: Send) -> None:
        if self._states < 1:
            await _refuse(send, 503, "too many snapshots at a time", (b"retry-after", b"1"))
            return
        self._states -= 1  # requests are served on the loop's thread; one more loop could let one more through
        try:
            body = await asyncio.to_thread(self._pages.state, View.read(scope["query_string"]))
        finally:
            self._states += 1
        await _answer(send, 200, body, _JSON)

    # --- the stream ---------------------------------------------------------------------------------------------------

    async def _events(self, scope: Scope, receive: Receive, send: Send) -> None:
        page = Page(View.read(scope["query_string"]))
        if not self._pages.add(page):
            await _refuse(send, 503, "too many pages are open", (b"retry-after", b"5"))
            return
        gone = asyncio.create_task(_wait_for_end(page, receive))
        try:
            headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no"), *_GUARDS]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            body = b"retry: 2000\n\n"
            while not page.is_closed:
                await asyncio.wait_for(_send_body(send, body), UNREAD_S)
                body = await page.message(BEAT_S) or b"event: beat\ndata: {}\n\n"
            await asyncio.wait_for(_send_body(send, b"", more=False), UNREAD_S)
        except (
            OSError
        ):  # it reads nothing in time, or has gone; the server closes a connection whose answer is not whole
            pass
        finally:
            self._pages.remove(page)
            gone.cancel()


async def _wait_for_end(page: Page, receive: Receive) -> None:
    """Close the page when its reader has gone, or the server is about to.

    A server that is told to stop waits for the answers that are under way, and this one would never end. Nothing in ASGI tells of
    that. uvicorn marks such a request: it is not to keep its connection.
    """
    asking = asyncio.ensure_future(_disconnect(receive))
    cycle = getattr(receive, "__self__", None)
    keeps = getattr(cycle, "keep_alive", None)
    try:
        while not asking.done() and (keeps is not True or getattr(cycle, "keep_alive", True)):
            await asyncio.wait([asking], timeout=LEAVE_S if keeps is True else None)
    finally:
        asking.cancel()
    page.is_closed = True
    page.ring()


async def _disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_body(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})


async def _answer(
    send: Send, status: int, body: bytes, content_type: bytes, *headers: tuple[bytes, bytes], head: bool = False
) -> None:
    length = (b"content-length", b"%d" % len(body))
    start = [(b"content-type", content_type), length, *_GUARDS, *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await _send_body(send, b"" if head else body, more=False)


async def _refuse(send: Send, status: int, description: str, *headers: tuple[bytes, bytes]) -> None:
    await _answer(send, status, json.dumps({"error": description}).encode(), _JSON, *headers)
