"""A recipe's program as a real process that serves HTTP, and a client for it. Nothing here sleeps without a deadline."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import requests

RECIPES = Path(__file__).parent / "recipes"
DEADLINE_S = 30.0
LOOK_S = 0.02
NEVER = threading.Event()


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


class Program:
    """One program, with the processes that it starts; what it writes goes to a file."""

    def __init__(self, command: Sequence[str], log: Path, environment: dict[str, str], port: int = 0) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = log
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("OIDC_")}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                cwd=RECIPES,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**inherited, "PYTHONUNBUFFERED": "1", **environment},
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def get(self, path: str, session: requests.Session | None = None) -> requests.Response:
        return (session or requests).get(self.url + path, timeout=DEADLINE_S)

    def wait_for(self, path: str, status: int = 200) -> requests.Response:
        """Ask until it answers so; fails at the deadline, or when the program has ended."""
        last: Any = None

        def answers() -> bool:
            nonlocal last
            try:
                last = self.get(path)
            except requests.ConnectionError:
                return False
            return bool(last.status_code == status)

        self.eventually(answers, f"{status} on {path}")
        answer: requests.Response = last
        return answer

    def eventually(self, condition: Any, what: str) -> None:
        ends_at = time.monotonic() + DEADLINE_S
        while not condition():
            assert self.process.poll() is None, f"it has ended with {self.process.returncode}:\n{self.log}"
            assert time.monotonic() < ends_at, f"no {what}:\n{self.log}"
            NEVER.wait(LOOK_S)

    def pids(self, path: str, count: int) -> set[int]:
        """The processes that answer a path with their ``pid``: ask, each time on a new connection, until there are so many."""
        found: set[int] = set()

        def asked() -> bool:
            with contextlib.suppress(requests.ConnectionError):
                answer = self.get(path)
                assert answer.status_code == 200, (answer.status_code, answer.text, self.log)
                found.add(answer.json()["pid"])
            return len(found) >= count

        self.eventually(asked, f"{count} processes behind {path}")
        return found

    def terminate(self) -> int:
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end:\n{self.log}") from None

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)


@contextlib.contextmanager
def program(command: Sequence[str], log: Path, environment: dict[str, str], port: int = 0) -> Iterator[Program]:
    """Run it; at the end it and all that it has started are killed."""
    running = Program(command, log, environment, port)
    try:
        yield running
    finally:
        running.kill()


def environment_for(provider: Any) -> dict[str, str]:
    """What the recipes read."""
    return {
        "OIDC_ISSUER_URL": provider.issuer_url,
        "OIDC_CLIENT_ID": provider.client_id,
        "OIDC_CLIENT_SECRET": provider.client_secret,
        "API_URL": provider.issuer_url,
    }


def reject_next(provider: Any) -> None:
    """Have the API answer 401 once, as one that does not know the token any more."""
    provider.fail_next(status=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}, endpoint="resource")


def assert_no_secret(running: Program, provider: Any) -> None:
    """Neither the secret nor a token (a JWT) is in what it wrote."""
    assert provider.client_secret not in running.log
    assert "eyJ" not in running.log
