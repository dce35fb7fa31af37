"""The recipe for runtimes that freeze a process: SIGSTOP is the freezer, and a wall clock that jumps is the snapshot."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oidc_actor.testing import Provider

HERE = Path(__file__).parent
DEADLINE_S = 30.0
RUNTIME = """
import json, os, sys, time
from oidc_actor.values import clock

ahead_s = 0.0
clock.wall_clock = lambda: time.time() + ahead_s

from lambda_function import handler
from snapshot_restore_py import get_after_restore

for line in sys.stdin:
    command, _, argument = line.strip().partition(" ")
    if command == "restore":  # hours later, in a copy of this process
        ahead_s += float(argument)
        for function, arguments, options in get_after_restore():
            function(*arguments, **options)
    print(json.dumps(handler({}, None)), flush=True)
"""


class Runtime:
    """A process that imports the function once and calls it for each line."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._process = subprocess.Popen(
            [sys.executable, "-c", RUNTIME],
            cwd=HERE,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "OIDC_ISSUER_URL": provider.issuer_url,
                "OIDC_CLIENT_ID": provider.client_id,
                "OIDC_CLIENT_SECRET": provider.client_secret,
                "API_URL": provider.resource_url,
            },
        )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)

    def call(self, command: str = "call") -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return json.loads(self._answers.get(timeout=DEADLINE_S))["statusCode"]

    def freeze(self) -> None:
        """Returns once not one thread of it runs."""
        self._process.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(self._process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self._process.kill()
        self._process.wait(DEADLINE_S)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def runtime(oidc_provider: Provider) -> Iterator[Runtime]:
    running = Runtime(oidc_provider)
    yield running
    running.end()


@pytest.mark.oidc_provider(token_lifetime_s=600)
def test_a_cold_start_makes_one_request_and_a_warm_call_none(oidc_provider: Provider, runtime: Runtime) -> None:
    assert [runtime.call() for _ in range(5)] == [200] * 5
    assert oidc_provider.token_requests == 1


@pytest.mark.oidc_provider(token_lifetime_s=3)
def test_a_token_that_ended_during_the_freeze_is_not_sent(oidc_provider: Provider, runtime: Runtime) -> None:
    assert runtime.call() == 200
    runtime.freeze()
    oidc_provider.wait_for_requests(sys.maxsize, timeout_s=0.2)  # what was on its way has come
    frozen_at = oidc_provider.token_requests
    assert not oidc_provider.wait_for_requests(frozen_at + 1, timeout_s=3.2), "there is no background time"
    oidc_provider.token_lifetime_s = 600
    runtime.thaw()
    assert runtime.call() == 200
    assert oidc_provider.token_requests == frozen_at + 1, "the timer and the call share it"
    assert oidc_provider.wait_for_requests(2, timeout_s=0, endpoint="resource")
    assert not oidc_provider.wait_for_requests(3, timeout_s=0, endpoint="resource"), "no 401, so no second try"


@pytest.mark.oidc_provider(token_lifetime_s=600, delay_s=0.3)
def test_an_answer_that_came_during_the_freeze_is_used(oidc_provider: Provider, runtime: Runtime) -> None:
    assert oidc_provider.wait_for_requests(1, timeout_s=DEADLINE_S)
    runtime.freeze()
    assert not oidc_provider.wait_for_requests(2, timeout_s=0.5)
    assert oidc_provider.tokens_issued == 1
    runtime.thaw()
    assert runtime.call() == 200
    assert oidc_provider.token_requests == 1


@pytest.mark.oidc_provider(token_lifetime_s=600)
def test_a_copy_restored_from_a_snapshot_gets_a_token_of_its_own_time(
    oidc_provider: Provider, runtime: Runtime
) -> None:
    assert runtime.call() == 200
    assert runtime.call("restore 60") == 200
    assert oidc_provider.token_requests == 1, "a minute later it still lives"
    assert runtime.call("restore 3600") == 200
    assert oidc_provider.token_requests == 2


@pytest.mark.oidc_provider(token_lifetime_s=600)
def test_a_cold_start_in_an_outage_answers_and_the_next_call_has_a_token(oidc_provider: Provider) -> None:
    oidc_provider.fail_next(None)
    running = Runtime(oidc_provider)
    try:
        assert running.call() == 503
        oidc_provider.heal()
        assert running.call() == 200
    finally:
        running.end()
