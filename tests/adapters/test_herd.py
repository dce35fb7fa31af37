"""200 threads and 200 tasks on one manager, through three adapters: one token request, and one more for one 401."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import aiohttp
import httpx
import pytest
import requests
from adapters.api import Api, Gatekeeper
from adapters.drivers import TLS
from adapters.held_manager import Held
from threads import eventually

import oidc_actor.adapters.aiohttp
import oidc_actor.adapters.httpx
import oidc_actor.adapters.requests
from oidc_actor.testing import Provider

pytestmark = pytest.mark.P3

THREADS = TASKS = 200
TIMEOUT_S = 30.0


class Herd:
    def __init__(self, manager: Held, http: Api) -> None:
        self.url = f"{http.url}/echo"
        self.name = manager.name
        self.requests = oidc_actor.adapters.requests.OIDCAuth(self.name, timeout=TIMEOUT_S)
        self.httpx = oidc_actor.adapters.httpx.OIDCAuth(self.name, timeout=TIMEOUT_S)
        self.aiohttp = oidc_actor.adapters.aiohttp.OIDCAuth(self.name, timeout=TIMEOUT_S)

    def run(self) -> list[int]:
        """All at once; the statuses."""
        with ThreadPoolExecutor(THREADS) as pool:
            threads = [pool.submit(self._in_thread) for _ in range(THREADS)]
            statuses = asyncio.run(self._in_tasks())
            return [*statuses, *(thread.result(TIMEOUT_S) for thread in threads)]

    def _in_thread(self) -> int:
        with requests.Session() as session:
            session.trust_env = False
            return session.get(self.url, auth=self.requests, timeout=TIMEOUT_S).status_code

    async def _in_tasks(self) -> list[int]:
        limits, timeout = httpx.Limits(max_connections=None), aiohttp.ClientTimeout(TIMEOUT_S)
        async with (
            httpx.AsyncClient(auth=self.httpx, verify=TLS, limits=limits, timeout=TIMEOUT_S, trust_env=False) as client,
            aiohttp.ClientSession(
                middlewares=[self.aiohttp], connector=aiohttp.TCPConnector(limit=0), timeout=timeout
            ) as session,
        ):

            async def by_httpx() -> int:
                return (await client.get(self.url)).status_code

            async def by_aiohttp() -> int:
                async with session.get(self.url) as answer:
                    return answer.status

            async with asyncio.timeout(TIMEOUT_S):
                return await asyncio.gather(*(one() for one in [by_httpx, by_aiohttp] * (TASKS // 2)))


def once(condition: Callable[[], bool], then: Callable[[], None]) -> threading.Thread:
    """Do something on another thread as soon as a condition holds."""

    def wait() -> None:
        eventually(condition)
        then()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


def test_one_request_for_all(cold: Held, http: Api, provider: Provider, gatekeeper: Gatekeeper) -> None:
    herd = Herd(cold, http)
    letting_go = once(lambda: cold.waiting == THREADS + TASKS, cold.gate.release)
    assert herd.run() == [200] * (THREADS + TASKS)
    letting_go.join(TIMEOUT_S)
    assert provider.token_requests == 1
    assert set(http.tokens) == {cold.token}

    refused = cold.token
    cold.clock.advance(5)
    gatekeeper.revoke(refused)
    assert herd.run() == [200] * (THREADS + TASKS)
    assert provider.token_requests == 2
    assert set(http.tokens) == {refused, cold.token}
