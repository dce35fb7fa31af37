"""An async caller that waits for a token leaves its event loop to the others, and the loop's default executor alone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import trio
from adapters.api import DEADLINE_S, Api, Gatekeeper
from adapters.drivers import Aiohttp, AsyncDriver, AsyncGrpc, AsyncHttpx, AsyncHttpx2, TrioHttpx, TrioHttpx2, opened
from adapters.held_manager import Held
from adapters.rpc import Rpc

from oidc_actor.adapters.headers import aheaders
from oidc_actor.testing import Provider

KINDS = [AsyncHttpx, AsyncHttpx2, Aiohttp, AsyncGrpc, TrioHttpx, TrioHttpx2]


class Forbidden(ThreadPoolExecutor):
    def submit(self, *_: Any, **__: Any) -> Future[Any]:
        raise AssertionError("the event loop's default executor was used")


async def let_go_meanwhile(held: Held, call: Awaitable[Any]) -> Any:
    """Await a call whose token comes only if the loop gets to run while it waits."""
    if trio.lowlevel.in_trio_run():
        return await let_go_meanwhile_in_trio(held, call)
    asyncio.get_running_loop().set_default_executor(Forbidden())
    task = asyncio.ensure_future(call)
    while not held.waiting:
        assert not task.done()
        await asyncio.sleep(0)
    held.gate.release()
    return await task


async def let_go_meanwhile_in_trio(held: Held, call: Awaitable[Any]) -> Any:
    found: list[Any] = []

    async def ask() -> None:
        found.append(await call)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        while not held.waiting:
            assert not found
            await trio.lowlevel.checkpoint()
        held.gate.release()
    return found[0]


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
