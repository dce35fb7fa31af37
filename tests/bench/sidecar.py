"""Reads of the sidecar over TCP and over its socket, next to a fixed answer of the same size by the same HTTP server.

What counts is the processor time of the server's process, all its threads, by the kernel's clock for it; the client is another
process. Both servers get the same bytes in the same turns.
"""

from __future__ import annotations

import contextlib
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import provider
from figures import Figure, Goal, at_least, median_ratio

CONNECTIONS = 16
DEADLINE_S = 30.0
CONFIG = """
[server]
unix_socket = "tokens.sock"
tcp = "127.0.0.1:0"
[managers.a]
token_endpoint = "{endpoint}"
client_id = "bench"
client_secret = {{ file = "secret" }}
"""
FIXED = """
import socket, sys
import uvicorn
from oidc_actor.sidecar.listening import ServerConfig
from oidc_actor.sidecar.service import _settings

body = b"x" * int(sys.argv[2])
headers = [(b"content-type", b"application/json"), (b"content-length", sys.argv[2].encode()), (b"cache-control", b"no-store")]

async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

unix, tcp = socket.socket(socket.AF_UNIX), socket.socket()
unix.bind(sys.argv[1])
tcp.bind(("127.0.0.1", 0))
for one in (unix, tcp):
    one.listen(64)
print(f"addresses=http://127.0.0.1:{tcp.getsockname()[1]}", file=sys.stderr, flush=True)
uvicorn.Server(_settings(application, ServerConfig())).run([unix, tcp])
"""


class Served:
    """A server that runs, and connections to it."""

    def __init__(self, process: subprocess.Popen[str], path: Path) -> None:
        self.process = process
        assert process.stderr is not None
        found = None
        while found is None:
            line = process.stderr.readline()
            assert line, "the server has ended"
            found = re.search(r"addresses=.*http://127\.0\.0\.1:(\d+)", line)
        self._request = (
            f"GET /token/a HTTP/1.1\r\nHost: 127.0.0.1:{found[1]}\r\nX-OIDC-Actor: 1\r\nAccept: */*\r\n\r\n".encode()
        )
        self._addresses: dict[str, tuple[int, Any]] = {
            "TCP": (socket.AF_INET, ("127.0.0.1", int(found[1]))),
            "its socket": (socket.AF_UNIX, str(path)),
        }
        self._connections: list[socket.socket] = []

    def connect(self, over: str) -> None:
        """Connect anew."""
        family, address = self._addresses[over]
        for one in self._connections:
            one.close()
        self._connections = [socket.socket(family) for _ in range(CONNECTIONS)]
        for one in self._connections:
            one.settimeout(DEADLINE_S)
            one.connect(address)

    def size(self) -> int:
        """Bytes of the body of an answer."""
        self._connections[0].sendall(self._request)
        return _read_one(self._connections[0])

    def reads_per_cpu_second(self, rounds: int) -> float:
        """Read by all connections at a time, so many times."""
        connections, request = self._connections, self._request
        clock = (~self.process.pid << 3) | 2  # the kernel's clock of that process's own time: clock_getcpuclockid(3)
        began = time.clock_gettime(clock)
        for _ in range(rounds):
            for connection in connections:
                connection.sendall(request)
            for connection in connections:
                _read_one(connection)
        return rounds * len(connections) / (time.clock_gettime(clock) - began)


def _read_one(connection: socket.socket) -> int:
    answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.partition(b"content-length: ")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65536)
    return length


@contextlib.contextmanager
def _served(path: Path, *words: str) -> Iterator[Served]:
    process = subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True)
    try:
        yield Served(process, path)
    finally:
        process.kill()
        process.wait(DEADLINE_S)


def run(*, quick: bool) -> list[Figure]:
    """Measure both servers in turns."""
    turns, rounds = (20, 100) if quick else (60, 200)
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        endpoint = stack.enter_context(provider.running())
        (directory / "secret").write_text("secret")
        (directory / "secret").chmod(0o600)
        config = directory / "config.toml"
        config.write_text(CONFIG.format(endpoint=endpoint.token("a")))
        ours = stack.enter_context(
            _served(directory / "tokens.sock", "-m", "oidc_actor.cli", "run", str(config), "--log-level", "info")
        )
        ours.connect("TCP")
        path = directory / "fixed.sock"
        fixed = stack.enter_context(_served(path, "-c", FIXED, str(path), str(ours.size())))
        figures = []
        for over in ("TCP", "its socket"):
            found: dict[Served, list[float]] = {ours: [], fixed: []}
            for served in found:
                served.connect(over)
            for turn in range(turns + 1):
                for served, reads in found.items():
                    figure = served.reads_per_cpu_second(rounds)
                    if turn:  # the first warms both
                        reads.append(figure)
            ratio = median_ratio(found[ours], found[fixed])
            goal: Goal = at_least(0.95, ratio) if over == "TCP" else {}
            reached, bare = (statistics.median(found[one]) for one in (ours, fixed))
            figures += [
                Figure("sidecar", f"reads over {over}", reached, "/CPU s", ratio, "a fixed answer", **goal),
                Figure("sidecar", f"a fixed answer over {over}, uvicorn", bare, "/CPU s"),
            ]
        return figures
