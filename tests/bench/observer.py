"""What an open page of the observer costs, over 1,000 actors and 10,000 managers.

Everything is in this process: the actors, the managers, whose provider answers at once, the observer, and the reader of its page.
What the process uses of a core with a page open is compared with what it uses without one. Meanwhile an actor that the page shows
is killed each second.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from figures import Figure, at_most
from tenants import DEADLINE_S, options_of

from oidc_actor import TokenPool
from oidc_actor.observing import managers
from supervision import Server, Supervisor, kill
from supervision.observer import Observer

ACTORS = 1_000
MANAGERS = 10_000
GROUP = 50
NEVER = threading.Event()


class Worker(Server):
    pass


def run(*, quick: bool) -> list[Figure]:
    seconds = 15 if quick else 60
    _start()
    app = Observer("bench", parts=[managers()])
    idle, _ = _used(seconds)
    figures = [Figure("observer", "no page open, of a core", idle, "%")]
    pool = next(key for key, row in _state(app)["rows"].items() if row["label"] == "tenants")
    for what, query in (("a page", ""), ("a page, the pool open", f"open={pool}:500"), ("a search", "search=worker 1")):
        with _page(app, query.replace(" ", "+")) as page:
            NEVER.wait(2.0)  # the first look goes through everything
            share, killed = _used(seconds, page)
        more = max(0.0, share - idle)
        figures += [
            Figure("observer", f"{what}: more of a core", more, "%", **at_most(2.0, more)),
            Figure("observer", f"{what}: told in a second", page.told / seconds / 1e3, "kB"),
        ]
        if killed:
            assert page.seen, "no killed actor was seen"
            figures += [
                Figure("observer", f"{what}: a kill is seen, median", statistics.median(page.seen), "s"),
                Figure(
                    "observer", f"{what}: a kill is seen, worst", max(page.seen), "s", **at_most(2.0, max(page.seen))
                ),
            ]
    Supervisor.stop("bench")
    return figures


def _start() -> None:
    groups = [
        Supervisor.child_spec(
            [Worker.child_spec(name=f"worker {number}") for number in range(first, first + GROUP)],
            id=f"workers {first}",
            max_restarts=10**6,
        )
        for first in range(0, ACTORS, GROUP)
    ]
    Supervisor.start_link([*groups, TokenPool.child_spec(name="tenants")], name="bench")
    for number in range(MANAGERS):
        TokenPool.put("tenants", number, **options_of(number, 10))
    for number in range(MANAGERS):
        TokenPool.get_token("tenants", number, timeout=DEADLINE_S)


def _used(seconds: int, page: _Page | None = None) -> tuple[float, int]:
    """Percent of a core that this process uses in that time, and how many actors were killed in it."""
    used, began = time.process_time(), time.monotonic()
    for number in range(seconds):
        if page is not None:
            name = f"worker {10 + number % 10}"  # every page shows these
            page.killed.append((name, time.monotonic()))
            kill(name)
        NEVER.wait(1.0)
    return 100 * (time.process_time() - used) / (time.monotonic() - began), seconds if page is not None else 0


def _state(app: Observer) -> Any:
    sent: list[bytes] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message.get("body", b""))

    asyncio.run(app({**_scope(""), "path": "/state"}, asyncio.Event().wait, send))  # type: ignore[arg-type]
    return json.loads(b"".join(sent))


def _scope(query: str) -> dict[str, Any]:
    asked = {"type": "http", "method": "GET", "path": "/events", "headers": [(b"host", b"localhost")]}
    return {**asked, "query_string": query.encode()}


class _Page:
    """The reader of a page. It keeps the bodies, and reads them when it is over, so that its own work is not measured."""

    def __init__(self) -> None:
        self.killed: list[tuple[str, float]] = []
        self.bodies: list[tuple[float, bytes]] = []
        self.first = threading.Event()
        self.seen: list[float] = []

    async def send(self, message: dict[str, Any]) -> None:
        body = message.get("body", b"")
        if self.first.is_set():
            self.bodies.append((time.monotonic(), body))
        elif body.startswith(b"event: snapshot"):
            self.first.set()

    @property
    def told(self) -> int:
        return sum(len(body) for _, body in self.bodies)


@contextmanager
def _page(app: Observer, query: str) -> Iterator[_Page]:
    page, loop, gone = _Page(), asyncio.new_event_loop(), asyncio.Event()

    async def receive() -> dict[str, str]:
        await gone.wait()
        return {"type": "http.disconnect"}

    thread = threading.Thread(
        target=lambda: loop.run_until_complete(app(_scope(query), receive, page.send)), daemon=True
    )
    thread.start()
    assert page.first.wait(DEADLINE_S)
    try:
        yield page
    finally:
        loop.call_soon_threadsafe(gone.set)
        thread.join(DEADLINE_S)
        loop.close()
    for name, killed_at in page.killed:
        page.seen += [at - killed_at for at, body in page.bodies if at > killed_at and _tells(body, name)][:1]


def _tells(body: bytes, name: str) -> bool:
    if not body.startswith(b"event: changes"):
        return False
    rows = json.loads(body.partition(b"data: ")[2]).get("rows", {})
    return any(row["label"] == name and row.get("restarts") for row in rows.values())
