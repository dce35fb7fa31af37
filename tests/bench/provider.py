"""A token endpoint in a process of its own: light, keep-alive, each request's behaviour in its path.

``POST /token?key=a&delay=0.2&life=60&until=100`` answers after ``delay`` seconds with a token of ``life`` seconds; beyond the
``until``-th request with that ``key`` the connection stays open and nothing ever comes. ``GET /requests?key=a`` answers with
the times at which the requests with that key came, on the machine's boot-time clock; ``GET /summary`` with `Summary`. Its origin
is an issuer, whose metadata name a token endpoint.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Summary:
    """What the provider saw.

    Attributes:
        requests: All token requests.
        clients: How many keys there are.
        fewest: Requests of the key with the fewest.
        least_left_s: Seconds that a key's last token still had to live when it asked for the next; the least of all.
        burst: First requests of a key within one second, at most.
        connections: Connections that were opened.
    """

    requests: int = 0
    clients: int = 0
    fewest: int = 0
    least_left_s: float = math.inf
    burst: int = 0
    connections: int = 0


_came: defaultdict[str, list[float]] = defaultdict(list)
_first: Counter[int] = Counter()
_ends: dict[str, float] = {}
_seen = Summary()
_never = asyncio.Event()
_METADATA: dict[str, str] = {}


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    _seen.connections += 1
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = 0
            for line in head.split("\r\n"):
                if line.lower().startswith("content-length:"):
                    length = int(line.split(":")[1])
            body = await reader.readexactly(length)
            method, target, _ = head.split(" ", 2)
            members = (
                _METADATA if target == "/.well-known/openid-configuration" else await _answer(method, target, body)
            )
            if members is None:
                await _never.wait()
            text = json.dumps(members).encode()
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
            )
            await writer.drain()
    writer.close()


async def _answer(method: str, target: str, body: bytes) -> Any:
    address = urlsplit(target)
    asked = dict(parse_qsl(address.query))
    if address.path == "/summary":
        return _summary()
    key = asked.get("key", "")
    came = _came[key]
    if method == "GET":
        return came
    now = time.clock_gettime(time.CLOCK_BOOTTIME)
    if came:
        _seen.least_left_s = min(_seen.least_left_s, _ends[key] - now)
    else:
        _first[int(now)] += 1
    came.append(now)
    _seen.requests += 1
    if len(came) > float(asked.get("until", "inf")):
        return None
    if "delay" in asked:
        await asyncio.sleep(float(asked["delay"]))
    life_s = float(asked.get("life", 3600))
    end = _ends[key] = now + life_s
    return {"access_token": f"{key}.{end:.6f}.".ljust(600, "t"), "token_type": "Bearer", "expires_in": life_s}


def _summary() -> dict[str, Any]:
    _seen.clients, _seen.fewest = len(_came), min(map(len, _came.values()), default=0)
    _seen.burst = max(_first.values(), default=0)
    return asdict(_seen)


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    origin = f"http://127.0.0.1:{port}"
    _METADATA.update(issuer=origin, token_endpoint=f"{origin}/token?key=discovered", jwks_uri=f"{origin}/jwks")
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # its parent has gone


class Endpoint:
    """The running provider, as its parent sees it."""

    def __init__(self, port: int) -> None:
        self.origin = f"http://127.0.0.1:{port}"

    def token(self, key: str, **asked: float) -> str:
        """The address of a token endpoint that behaves as asked."""
        return f"{self.origin}/token?key={key}" + "".join(f"&{name}={value}" for name, value in asked.items())

    def requests(self, key: str) -> list[float]:
        """When the requests with a key came."""
        came: list[float] = self._get(f"/requests?key={key}")
        return came

    def summary(self) -> Summary:
        """What came so far, of all keys."""
        return Summary(**self._get("/summary"))

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(self.origin + path, timeout=10) as answer:
            return json.load(answer)


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
