"""An async caller that waits for a token leaves its event loop to the others, and the loop's default executor alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from adapters.api import DEADLINE_S, Api, Gatekeeper
from adapters.drivers import Aiohttp, AsyncDriver, AsyncGrpc, AsyncHttpx, AsyncHttpx2, opened
from adapters.held_manager import Held
from adapters.rpc import Rpc

from oidc_actor.adapters.headers import aheaders
from oidc_actor.testing import Provider

KINDS = [AsyncHttpx, AsyncHttpx2, Aiohttp, AsyncGrpc]


class Forbidden(ThreadPoolExecutor):
    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        raise AssertionError("the event loop's default executor was used")


async def let_go_meanwhile(held: Held, call: Awaitable[Any]) -> Any:
    """Await a call whose token comes only if the loop gets to run while it waits."""
    asyncio.get_running_loop().set_default_executor(Forbidden())
    task = asyncio.ensure_future(call)
    while not held.waiting:
        assert not task.done()
        await asyncio.sleep(0)
    held.gate.release()
    return await task


@pytest.mark.parametrize("kind", KINDS)
def test_waiting_for_the_first_token(kind: type[AsyncDriver], cold: Held, http: Api, rpc: Rpc) -> None:
    with opened(kind, http, rpc, cold.name) as driver:
        assert driver.run(let_go_meanwhile(cold, driver.acall())) == (200, b"welcome")  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_waiting_for_another_token(
    kind: type[AsyncDriver], settled: Held, http: Api, rpc: Rpc, gatekeeper: Gatekeeper, provider: Provider
) -> None:
    gatekeeper.revoke(settled.token)
    settled.gate.shut()
    with opened(kind, http, rpc, settled.name) as driver:
        assert driver.run(let_go_meanwhile(settled, driver.acall())) == (200, b"welcome")  # type: ignore[attr-defined]
    assert provider.token_requests == 2


def test_waiting_for_a_header(cold: Held) -> None:
    async def ask() -> dict[str, str]:
        async with asyncio.timeout(DEADLINE_S):
            return await let_go_meanwhile(cold, aheaders(cold.name))

    assert asyncio.run(ask()) == {"Authorization": f"Bearer {cold.token}"}
