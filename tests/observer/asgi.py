"""A server in place of a real one: it gives an application one request, and keeps what that sends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from threads import DEADLINE_S


def scope_of(
    path: str,
    query: str = "",
    *,
    root: str = "",
    method: str = "GET",
    client: str | None = None,
    server: str | None = None,
    **headers: str,
) -> dict[str, Any]:
    given = {"host": "localhost:8000", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {
        "type": "http",
        "method": method,
        "scheme": "http",
        "path": path,
        "root_path": root,
        "query_string": query.encode(),
        "client": None if client is None else (client, 50000),
        "server": None if server is None else (server, 8000),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
    }


class Answer:
    def __init__(self, sent: list[dict[str, Any]]) -> None:
        self.status: int = sent[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        self.body = b"".join(one.get("body", b"") for one in sent[1:])

    def json(self) -> Any:
        return json.loads(self.body)


def asked(app: Any, path: str, query: str = "", **options: Any) -> Answer:
    """The whole answer to one request."""
    return asyncio.run(_asked(app, scope_of(path, query, **options)))


async def _asked(app: Any, scope: dict[str, Any]) -> Answer:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await asyncio.wait_for(app(scope, asyncio.Event().wait, send), DEADLINE_S)
    return Answer(sent)


class Reader:
    """Reads one stream, as fast as it is told to."""

    def __init__(self, app: Any, query: str = "") -> None:
        self._gone, self.may_read = asyncio.Event(), asyncio.Event()
        self.may_read.set()
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.task = asyncio.create_task(app(scope_of("/events", query), self._receive, self._send))

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        await self.may_read.wait()
        self._messages.put_nowait(message)

    async def message(self) -> dict[str, Any]:
        return await asyncio.wait_for(self._messages.get(), DEADLINE_S)

    async def told(self) -> tuple[str, Any]:
        """The next event's name and data; beats are passed over."""
        while True:
            body = (await self.message()).get("body", b"").decode()
            if body.startswith("event: ") and not body.startswith("event: beat"):
                name, _, data = body.partition("\n")
                return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))

    async def until(self, holds: Callable[[Any], bool]) -> Any:
        """The first data of which that holds."""
        while True:
            _, data = await self.told()
            if holds(data):
                return data

    async def leave(self) -> None:
        self._gone.set()
        await asyncio.wait_for(self.task, DEADLINE_S)


@contextlib.asynccontextmanager
async def reading(app: Any, query: str = "") -> AsyncIterator[Reader]:
    reader = Reader(app, query)
    try:
        yield reader
    finally:
        reader.may_read.set()
        await reader.leave()
