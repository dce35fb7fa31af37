"""Every async form under asyncio and trio: it waits beside other tasks, leaves nothing, and with a token never yields."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import httpx
import pytest
import trio
from fakes import ScriptedTransport, failing, refused
from loops import Loop
from managers import Start
from threads import DEADLINE_S, eventually, in_background

from oidc_actor import NoTokenError, TokenManager
from oidc_actor.adapters.headers import aheaders
from oidc_actor.adapters.httpx import OIDCAuth
from oidc_actor.reading.cell import by_name
from oidc_actor.streams import renewals
from oidc_actor.testing import ManualClock
from supervision import NoProcess


@pytest.fixture(params=["asyncio", "trio"])
def loop(request: pytest.FixtureRequest) -> Loop:
    return Loop(request.param)


async def first_renewal() -> str:
    async with contextlib.aclosing(renewals("m")) as arriving:
        return (await anext(arriving)).token.access_token


async def first_field() -> str:
    request = httpx.Request("GET", "https://api.example.com")
    async with contextlib.aclosing(OIDCAuth("m", timeout=DEADLINE_S).async_auth_flow(request)) as flow:
        return str((await anext(flow)).headers["Authorization"]).removeprefix("Bearer ")


async def header() -> str:
    return (await aheaders("m", timeout=DEADLINE_S))["Authorization"].removeprefix("Bearer ")


async def whole() -> str:
    return (await TokenManager.aget_token("m", timeout=DEADLINE_S)).access_token


async def whole_of_source() -> str:
    return (await TokenManager.source("m").atoken(DEADLINE_S)).access_token


READS: dict[str, Callable[[], Awaitable[str]]] = {
    "aget_token": whole,
    "aget_access_token": partial(TokenManager.aget_access_token, "m", timeout=DEADLINE_S),
    "atoken": whole_of_source,
    "aaccess_token": lambda: TokenManager.source("m").aaccess_token(DEADLINE_S),
    "aheaders": header,
    "httpx": first_field,
    "renewals": first_renewal,
}
WAITS = READS | {"aforce_refresh": partial(TokenManager.aforce_refresh, "m", timeout=DEADLINE_S)}


@pytest.mark.P1
def test_with_a_token_none_yields_or_needs_a_loop(start: Start) -> None:
    start(name="m")
    assert TokenManager.get_access_token("m") == "t1"
    calls = {name: read for name, read in READS.items() if name != "renewals"}  # which waits for the next, on a loop
    for call in (*calls.values(), lambda: TokenManager.aforce_refresh("m", rejected="t0")):
        with pytest.raises(StopIteration) as returned:
            call().__await__().send(None)  # what yields would return here
        assert returned.value.value in ("t1", None)


def entered_by(coroutine: Coroutine[Any, Any, object]) -> list[str]:
    """The functions that it enters, itself included, until it returns; it must not yield."""
    names: list[str] = []
    sys.setprofile(lambda frame, event, _: names.append(frame.f_code.co_name) if event == "call" else None)
    try:
        coroutine.send(None)
    except StopIteration:
        return names
    finally:
        sys.setprofile(None)
    raise AssertionError("it has yielded")


def test_with_a_token_a_read_is_one_function_and_one_look_at_the_clock(start: Start) -> None:
    start(name="m", clock=time.monotonic)
    assert TokenManager.get_access_token("m") == "t1"
    source = TokenManager.source("m")
    reads = (source.atoken, source.aaccess_token, partial(TokenManager.aget_token, "m"))
    for read in (*reads, partial(TokenManager.aget_access_token, "m")):
        assert len(entered_by(read())) == 1


def test_all_wait_for_one_request_while_other_tasks_run(loop: Loop, start: Start, transport: ScriptedTransport) -> None:
    threads = 0

    async def let_go() -> None:
        nonlocal threads
        while len(by_name["m"].waiting) < len(READS):
            await (trio.lowlevel.checkpoint() if loop.name == "trio" else asyncio.sleep(0))
        threads = threading.active_count()
        transport._open.set()

    with transport.held_back():
        start(name="m")
        transport.wait_for_requests(1)
        before = threading.active_count()
        found = loop.run(lambda: loop.together(*READS.values(), let_go))
    assert found == ["t1"] * len(READS) + [None]
    assert len(transport.posts) == 1
    assert threads <= before
    assert not by_name["m"].waiting


@pytest.mark.P10
@pytest.mark.parametrize("wait", WAITS)
def test_one_that_is_cancelled_leaves_nothing(
    loop: Loop, wait: str, start: Start, transport: ScriptedTransport
) -> None:
    with transport.held_back():
        start(name="m")
        loop.run(lambda: loop.cancelled(WAITS[wait]))
        assert not by_name["m"].waiting
    assert not by_name["m"].subscriptions
    assert TokenManager.get_access_token("m") == "t1"


@pytest.mark.P10
def test_a_deadline_of_the_callers_library_leaves_nothing(
    loop: Loop, start: Start, transport: ScriptedTransport
) -> None:
    async def in_time() -> None:
        if loop.name == "trio":
            with trio.move_on_after(0.01):
                await TokenManager.aget_token("m", timeout=DEADLINE_S)
        else:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.01):
                    await TokenManager.aget_token("m", timeout=DEADLINE_S)

    with transport.held_back():
        start(name="m")
        loop.run(in_time)
        assert not by_name["m"].waiting


@pytest.mark.parametrize("wait", WAITS)
def test_those_who_wait_hear_at_once_of_a_stop(
    loop: Loop, wait: str, start: Start, transport: ScriptedTransport
) -> None:
    async def wait_for_it() -> Any:
        with pytest.raises(NoProcess) if wait != "renewals" else pytest.raises(StopAsyncIteration):
            await WAITS[wait]()

    def stop() -> None:
        eventually(lambda: by_name["m"].waiting, "the waiter")
        TokenManager.stop("m")

    with transport.held_back():
        start(name="m")
        stopping = in_background(stop)
        loop.run(wait_for_it)
    stopping.join(DEADLINE_S)


def test_a_refresh_has_the_outcomes_of_the_form_for_threads(
    loop: Loop, start: Start, transport: ScriptedTransport, clock: ManualClock
) -> None:
    async def refresh(**options: Any) -> None:
        await TokenManager.aforce_refresh("m", **{"timeout": DEADLINE_S} | options)

    start(name="m")
    assert TokenManager.get_access_token("m") == "t1"
    clock.advance(10)
    loop.run(refresh)
    assert TokenManager.get_access_token("m", timeout=0) == "t2"
    clock.advance(10)
    loop.run(partial(refresh, rejected="t1"))  # replaced already
    loop.run(partial(refresh, rejected="t2"))
    assert TokenManager.get_access_token("m", timeout=0) == "t3"
    clock.advance(10)
    transport.then(failing(500))
    with pytest.raises(NoTokenError, match="500"):
        loop.run(refresh)
    assert TokenManager.get_access_token("m", timeout=0) == "t3"
    clock.advance(10)
    with transport.held_back(), pytest.raises(NoTokenError, match=r"within 0\.05 s"):
        loop.run(partial(refresh, timeout=0.05))
    with pytest.raises(NoProcess):
        loop.run(partial(TokenManager.aforce_refresh, "nobody"))


def test_a_permanent_error_ends_the_wait_at_once(loop: Loop, start: Start, transport: ScriptedTransport) -> None:
    transport.default = refused("invalid_client", 401)
    start(name="m")
    with pytest.raises(NoTokenError, match="invalid_client"):
        loop.run(whole)


def test_without_a_loop_a_wait_says_so_and_leaves_nothing(start: Start, transport: ScriptedTransport) -> None:
    with transport.held_back():
        start(name="m")
        with pytest.raises(RuntimeError):
            whole().__await__().send(None)
        assert not by_name["m"].waiting


def test_trio_as_a_guest_of_asyncio(start: Start, transport: ScriptedTransport) -> None:
    """Two loops in one thread: each task is woken by its own."""

    async def both() -> list[str]:
        running, done = asyncio.get_running_loop(), asyncio.Event()
        outcomes: list[Any] = []

        def finished(outcome: Any) -> None:
            outcomes.append(outcome)
            done.set()

        trio.lowlevel.start_guest_run(
            whole, run_sync_soon_threadsafe=running.call_soon_threadsafe, done_callback=finished
        )
        mine = asyncio.ensure_future(whole())
        while len(by_name["m"].waiting) < 2:
            await asyncio.sleep(0)
        transport._open.set()
        await done.wait()
        return [await mine, outcomes[0].unwrap()]

    with transport.held_back():
        start(name="m")
        assert asyncio.run(both()) == ["t1", "t1"]
