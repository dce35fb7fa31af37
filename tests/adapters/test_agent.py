"""An agent with threads and tasks, anthropic's client and openai's on trio: rotation, an outage and a 401 cost no call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest
import trio
from adapters.api import Api, Gatekeeper
from adapters.clients import MESSAGES, PAGES
from adapters.held_manager import Held
from threads import eventually, run

from oidc_actor.adapters.httpx2 import OIDCAuth
from oidc_actor.testing import Provider

pytestmark = pytest.mark.P1

THREADS = TASKS = 3
ROUNDS = 2
"""Calls of each between two happenings, at least."""


class Agent:
    """Calls until it is told to end."""

    def __init__(self, url: str, auth: OIDCAuth) -> None:
        self.url, self.auth = url, auth
        self.ends = threading.Event()
        self.calls = [0] * (THREADS + TASKS)
        self.failed: list[Exception] = []

    def thread(self, number: int) -> None:
        http = anthropic.DefaultHttpxClient(auth=self.auth, trust_env=False)
        with anthropic.Anthropic(base_url=self.url, auth_token="-", http_client=http, max_retries=0) as client:
            while not self.ends.is_set():
                try:
                    client.messages.create(model="m", max_tokens=1, messages=MESSAGES)
                except Exception as error:
                    self.failed.append(error)
                self.calls[number] += 1

    def tasks(self) -> None:
        async def one(client: openai.AsyncOpenAI, number: int) -> None:
            while not self.ends.is_set():
                try:
                    await client.chat.completions.create(model="m", messages=MESSAGES)
                except Exception as error:
                    self.failed.append(error)
                self.calls[number] += 1

        async def work() -> None:
            http = openai.DefaultAsyncHttpx2Client(auth=self.auth, trust_env=False)
            url = f"{self.url}/v1"
            async with (
                openai.AsyncOpenAI(base_url=url, api_key="-", http_client=http, max_retries=0) as client,
                trio.open_nursery() as nursery,
            ):
                for number in range(TASKS):
                    nursery.start_soon(one, client, THREADS + number)

        trio.run(work)

    def goes_on(self) -> None:
        """Return when each thread and task has made some more calls."""
        before = list(self.calls)
        eventually(lambda: all(now >= then + ROUNDS for now, then in zip(self.calls, before, strict=True)), "calls")


def test_no_call_fails(settled: Held, http: Api, provider: Provider, gatekeeper: Gatekeeper) -> None:
    http.pages = PAGES
    agent = Agent(http.url, OIDCAuth(settled.name))
    workers: list[Callable[[], Any]] = [lambda number=number: agent.thread(number) for number in range(THREADS)]  # type: ignore[misc]
    with run(*workers, agent.tasks):
        try:
            agent.goes_on()
            settled.refresh()
            agent.goes_on()
            provider.down()
            settled.clock.advance(560)  # beyond the refresh point, before the end
            agent.goes_on()
            provider.up()
            settled.clock.advance(20)
            settled.wait_for_token()
            settled.clock.advance(5)
            agent.goes_on()
            gatekeeper.revoke(settled.token)
            agent.goes_on()
        finally:
            agent.ends.set()
    assert agent.failed == []
    assert len({one.token for one in http.seen}) == 4  # the first, the next, that after the outage, that after the 401
    assert provider.tokens_issued == 4
