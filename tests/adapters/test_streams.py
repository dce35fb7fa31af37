"""When connections that outlive a token must have been opened anew."""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import AsyncGenerator, Awaitable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
import trio
from adapters.api import DEADLINE_S
from adapters.held_manager import LIFETIME_S, Held
from fakes import AUTH, ISSUER, ScriptedTransport

from oidc_actor import TokenManager
from oidc_actor.streams import Renewal, on_renewal, renewals
from supervision import NoProcess, Supervisor, kill, whereis

T = TypeVar("T")


def run(what: Awaitable[T]) -> T:
    async def in_time() -> T:
        async with asyncio.timeout(DEADLINE_S):
            return await what

    return asyncio.run(in_time())


def is_in(moment: datetime | None, seconds: float) -> bool:
    """Whether a moment is that many seconds from now, give or take what a test takes."""
    assert moment is not None
    return abs(moment - datetime.now(UTC) - timedelta(seconds=seconds)) < timedelta(seconds=DEADLINE_S)


def test_a_listener_is_told_when_the_token_before_ends(settled: Held) -> None:
    told: queue.Queue[Renewal] = queue.Queue()
    subscription = on_renewal(settled.name, told.put)
    settled.clock.advance(560)  # 35 s before its end: the first was 5 s old
    renewal = told.get(timeout=DEADLINE_S)
    assert renewal.token.access_token == settled.wait_for_token()
    assert renewal.reconnect_in_s == pytest.approx(LIFETIME_S - 565)
    assert is_in(renewal.reconnect_before, LIFETIME_S - 565)
    assert settled.token not in repr(renewal)
    subscription.cancel()
    settled.refresh()
    assert told.empty()


def test_after_an_outage_the_time_is_past(settled: Held) -> None:
    told: queue.Queue[Renewal] = queue.Queue()
    on_renewal(settled.name, told.put)
    settled.gate.shut()
    settled.clock.advance(LIFETIME_S + 100)
    settled.gate.release()
    renewal = told.get(timeout=DEADLINE_S)
    assert renewal.reconnect_in_s == 0
    assert is_in(renewal.reconnect_before, -105)


def test_a_first_token_has_none_before_it(cold: Held) -> None:
    told: queue.Queue[Renewal] = queue.Queue()
    on_renewal(cold.name, told.put)
    cold.gate.release()
    renewal = told.get(timeout=DEADLINE_S)
    assert renewal == Renewal(renewal.token, None, None)


def test_the_iterator_gives_the_present_token_and_then_each_new_one(cold: Held) -> None:
    async def three() -> list[Renewal]:
        found = []
        async with contextlib.aclosing(renewals(cold.name)) as arriving:
            cold.gate.release()
            async for renewal in arriving:
                found.append(renewal)
                if len(found) == 3:
                    break
                cold.clock.advance(560)
        return found

    first, second, third = run(three())
    assert len({one.token.access_token for one in (first, second, third)}) == 3
    assert (first.reconnect_before, first.reconnect_in_s) == (None, None)
    assert [second.reconnect_in_s, third.reconnect_in_s] == [pytest.approx(40), pytest.approx(40)]


def test_under_trio_it_gives_the_same(cold: Held) -> None:
    async def two() -> list[str]:
        found = []
        with trio.fail_after(DEADLINE_S):
            async with contextlib.aclosing(renewals(cold.name)) as arriving:
                cold.gate.release()
                async for renewal in arriving:
                    found.append(renewal.token.access_token)
                    if len(found) == 2:
                        break
                    cold.clock.advance(560)
        return found

    assert len(set(trio.run(two))) == 2


def test_a_slow_consumer_gets_the_newest_and_the_end_of_the_one_that_it_had(settled: Held) -> None:
    async def skip(arriving: AsyncGenerator[Renewal]) -> tuple[Renewal, Renewal]:
        first = await anext(arriving)
        settled.refresh()
        settled.clock.advance(5)
        settled.refresh()
        second = await anext(arriving)
        await arriving.aclose()
        return first, second

    first, second = run(skip(renewals(settled.name)))
    assert first.token.access_token != second.token.access_token == settled.token
    assert second.reconnect_in_s == 0


def test_the_iteration_ends_when_the_manager_is_stopped(settled: Held) -> None:
    async def follow() -> list[Renewal]:
        found = []
        async for renewal in renewals(settled.name):
            found.append(renewal)
            asyncio.get_running_loop().call_soon(TokenManager.stop, settled.name)
        return found

    assert len(run(follow())) == 1
    with pytest.raises(NoProcess):
        run(anext(renewals(settled.name)))
    with pytest.raises(NoProcess):
        on_renewal("nobody", print)
    TokenManager.start_link(name=settled.name, issuer_url=ISSUER, auth=AUTH, transport=ScriptedTransport())
    settled.ref = whereis(settled.name)  # type: ignore[assignment]  # for the fixture to stop


def test_the_iteration_goes_on_across_a_crash_and_ends_with_the_supervisor() -> None:
    transport = ScriptedTransport()
    spec = TokenManager.child_spec(
        name="streams.crash", issuer_url=ISSUER, auth=AUTH, transport=transport, min_interval_seconds=0
    )
    supervisor = Supervisor.start_link([spec], max_restarts=3, max_seconds=60)

    async def follow() -> list[str]:
        found = []
        async for renewal in renewals("streams.crash"):
            found.append(renewal.token.access_token)
            if len(found) == 1:
                kill("streams.crash")
                await asyncio.to_thread(TokenManager.force_refresh, "streams.crash", wait=True, timeout=DEADLINE_S)
            else:
                asyncio.get_running_loop().call_soon(Supervisor.stop, supervisor)
        return found

    assert run(follow()) == ["t1", "t2"]


def test_the_iteration_fails_where_a_crashed_manager_is_not_restarted() -> None:
    TokenManager.start_link(name="streams.dead", issuer_url=ISSUER, auth=AUTH, transport=ScriptedTransport())

    async def follow() -> None:
        async for _ in renewals("streams.dead"):
            asyncio.get_running_loop().call_soon(kill, "streams.dead")

    with pytest.raises(NoProcess):
        run(follow())
    with pytest.raises(NoProcess):
        TokenManager.stop("streams.dead")  # which takes the token of the killed one from the readers that come
