"""The sidecar as a real process, and a client for it. Nothing here sleeps: systemd's own protocol says when it is ready."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

DEADLINE_S = 30.0


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=DEADLINE_S)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(DEADLINE_S)
        self.sock.connect(self._path)


class Reply:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def token(self) -> str:
        assert self.status == 200, (self.status, self.body)
        return self.json["access_token"]


class Sidecar:
    """``oidc-actor run`` in a directory of its own, which is also where its socket and its secrets are."""

    def __init__(self, directory: Path, log_level: str = "info", descriptors: int = 0, **environment: str) -> None:
        self.directory = directory
        self.config = directory / "config.toml"
        self.socket = directory / "tokens.sock"
        self._log = directory / "log"
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(directory / "notify.sock"))
        self._notify.settimeout(DEADLINE_S)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OIDC_")}
        self._environment = {**inherited, "NOTIFY_SOCKET": str(directory / "notify.sock"), **environment}
        limit = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh"] if descriptors else []
        self._arguments = [
            *limit,
            sys.executable,
            "-m",
            "oidc_actor.cli",
            "run",
            str(self.config),
            "--log-level",
            log_level,
        ]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._arguments, stdout=log, stderr=log, env=self._environment)
        self.wait_for("READY=1")
        return self

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(DEADLINE_S)
        self._notify.close()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for(self, state: str) -> None:
        """Wait until systemd would have been told."""
        ends_at = time.monotonic() + DEADLINE_S
        while True:
            try:
                told = self._notify.recv(4096).decode().splitlines()
            except TimeoutError:
                raise AssertionError(f"{state} was not told: {self.log}") from None
            if state in told:
                return
            assert time.monotonic() < ends_at, f"{state} was not told: {self.log}"

    def hang_up(self) -> None:
        """SIGHUP; returns once the reload has ended."""
        self.process.send_signal(signal.SIGHUP)
        self.wait_for("RELOADING=1")
        self.wait_for("READY=1")

    def terminate(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.terminate()
        return self.process.wait(DEADLINE_S)

    @property
    def tcp_port(self) -> int:
        found = re.search(r"addresses=\[.*'http://127\.0\.0\.1:(\d+)'\]", self.log)
        assert found is not None, self.log
        return int(found[1])

    def get(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """One request over the Unix socket."""
        connection = UnixConnection(self.socket)
        try:
            connection.request(method, path, headers=headers)
            return Reply(connection.getresponse())
        finally:
            connection.close()

    def get_tcp(self, path: str, headers: Mapping[str, str], method: str = "GET") -> Reply:
        """One request over TCP, with exactly these headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.tcp_port, timeout=DEADLINE_S)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            return Reply(connection.getresponse())
        finally:
            connection.close()
