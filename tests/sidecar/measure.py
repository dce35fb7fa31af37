"""How many token reads a second one core serves: ``PYTHONPATH=tests python -m sidecar.measure [reads]``, in a clone.

The sidecar's own CPU time is what counts, from the kernel, so that the client and other programs on the machine do not. The
same HTTP server with an answer of the same size that never changes is measured beside it: what it costs is not ours to save.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sidecar.sidecar import DEADLINE_S, Sidecar

from oidc_actor.testing import Provider

CONNECTIONS = 16
BARE = """
import socket, sys
from pathlib import Path
import uvicorn
from oidc_actor.sidecar.listening import ServerConfig
from oidc_actor.sidecar.service import _settings

headers = [(b"content-type", b"application/json"), (b"content-length", sys.argv[2].encode()), (b"cache-control", b"no-store")]
body = b"x" * int(sys.argv[2])

async def application(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})

listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen(64)
print("ready", flush=True)
uvicorn.Server(_settings(application, ServerConfig())).run([listener])
"""


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_one(connection: socket.socket) -> int:
    """Read one whole answer; its length."""
    answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200"), answer[:200]
    while b"\r\n\r\n" not in answer:
        answer += connection.recv(65536)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    while len(body) < length:
        body += connection.recv(65536)
    return len(head) + 4 + length


def measure(connections: list[socket.socket], request: bytes, reads: int, pid: int) -> str:
    began_cpu, began = cpu_s(pid), time.perf_counter()
    for _ in range(reads // len(connections)):
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            size = read_one(connection)
    for connection in connections:
        connection.close()
    took, cpu = time.perf_counter() - began, cpu_s(pid) - began_cpu
    done = reads // len(connections) * len(connections)
    return (
        f"{done / cpu:,.0f} reads per second of its CPU, {done / took:,.0f} by the clock ({done} reads of {size} bytes)"
    )


@contextmanager
def bare(path: Path, size: int) -> Iterator[int]:
    """The HTTP server alone; its process's id."""
    process = subprocess.Popen([sys.executable, "-c", BARE, str(path), str(size)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process.pid
    finally:
        process.kill()
        process.wait(DEADLINE_S)


def connected(family: int, address: Any) -> list[socket.socket]:
    connections = [socket.socket(family) for _ in range(CONNECTIONS)]
    for connection in connections:
        connection.settimeout(DEADLINE_S)
        connection.connect(address)
    return connections


def main(reads: int) -> None:
    with tempfile.TemporaryDirectory() as name, Provider(token_lifetime_s=3600) as provider:
        directory = Path(name)
        (directory / "config.toml").write_text(
            f'[server]\nunix_socket = "tokens.sock"\ntcp = "127.0.0.1:0"\n[managers.a]\nissuer_url = "{provider.issuer_url}"\n'
            f'client_id = "{provider.client_id}"\nclient_secret = {{ env = "THE_SECRET" }}\n'
        )
        with Sidecar(directory, THE_SECRET=provider.client_secret) as sidecar:
            assert sidecar.get("/token/a").token
            port = sidecar.tcp_port
            request = f"GET /token/a HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-OIDC-Actor: 1\r\n\r\n".encode()
            for kind, family, address in (
                ("unix", socket.AF_UNIX, str(sidecar.socket)),
                ("tcp", socket.AF_INET, ("127.0.0.1", port)),
            ):
                print(f"{kind}: {measure(connected(family, address), request, reads, sidecar.process.pid)}")
            size = len(sidecar.get("/token/a").body)
        with bare(directory / "bare.sock", size) as pid:
            connections = connected(socket.AF_UNIX, str(directory / "bare.sock"))
            print(f"the HTTP server alone, unix: {measure(connections, request, reads, pid)}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 50_000)
