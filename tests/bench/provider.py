"""A token endpoint in a process of its own: light, keep-alive, each request's behaviour in its path.

``POST /token?key=a&delay=0.2&life=60&until=100`` answers after ``delay`` seconds with a token of ``life`` seconds; beyond the
``until``-th request with that ``key`` the connection stays open and nothing ever comes. ``GET /requests?key=a`` answers with
the times at which the requests with that key came, on the machine's boot-time clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_came: defaultdict[str, list[float]] = defaultdict(list)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = 0
            for line in head.split("\r\n"):
                if line.lower().startswith("content-length:"):
                    length = int(line.split(":")[1])
            body = await reader.readexactly(length)
            method, target, _ = head.split(" ", 2)
            members = await _answer(method, target, body)
            if members is None:
                await asyncio.Event().wait()
            text = json.dumps(members).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
            )
            await writer.drain()
    writer.close()


async def _answer(method: str, target: str, body: bytes) -> Any:
    asked = dict(parse_qsl(urlsplit(target).query))
    came = _came[asked.get("key", "")]
    if method == "GET":
        return came
    came.append(time.clock_gettime(time.CLOCK_BOOTTIME))
    if len(came) > float(asked.get("until", "inf")):
        return None
    if "delay" in asked:
        await asyncio.sleep(float(asked["delay"]))
    return {
        "access_token": f"{asked.get('key', '')}.{len(came)}." + "t" * 600,
        "token_type": "Bearer",
        "expires_in": float(asked.get("life", 3600)),
    }


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # its parent has gone


class Endpoint:
    """The running provider, as its parent sees it."""

    def __init__(self, port: int) -> None:
        self._origin = f"http://127.0.0.1:{port}"

    def token(self, key: str, **asked: float) -> str:
        """The address of a token endpoint that behaves as asked."""
        return f"{self._origin}/token?key={key}" + "".join(f"&{name}={value}" for name, value in asked.items())

    def requests(self, key: str) -> list[float]:
        """When the requests with a key came."""
        with urllib.request.urlopen(f"{self._origin}/requests?key={key}", timeout=10) as answer:
            came: list[float] = json.load(answer)
        return came


@contextlib.contextmanager
def running() -> Iterator[Endpoint]:
    """Start the provider, and end it."""
    with subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield Endpoint(int(process.stdout.readline()))
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_main())
