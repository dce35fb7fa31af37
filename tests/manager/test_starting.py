"""A manager that is just being started, seen by those who come early: its name is there, its cell not yet."""

import asyncio
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import trio
from fakes import AUTH, ISSUER, ScriptedTransport
from managers import Start
from threads import DEADLINE_S, eventually

from oidc_actor import NoTokenError, TokenManager
from oidc_actor.reading import waiting_reads
from oidc_actor.reading.waiters import ThreadWaiter
from supervision import NoProcess, StartError, whereis


class Held:
    """A start that stays where it is until it is let go, or told to fail."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.go = threading.Event()
        self.error: Exception | None = None
        self.pool = pool

    def begin(self) -> None:
        """Start it, up to where its name is there."""
        options = {"auth": AUTH, "issuer_url": ISSUER, "transport": ScriptedTransport()}
        self.started = self.pool.submit(lambda: TokenManager.start_link(name="starting", **options))
        eventually(lambda: whereis("starting") is not None, "the name")

    def meanwhile(self, work: Callable[[], object]) -> "Future[object]":
        """Have somebody come early, on a thread of its own."""
        return self.pool.submit(work)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    on_start = TokenManager.on_start
    with ThreadPoolExecutor(8) as pool:
        one = Held(pool)

        def hold(manager: TokenManager) -> None:
            assert one.go.wait(DEADLINE_S)
            if one.error is not None:
                raise one.error
            on_start(manager)

        monkeypatch.setattr(TokenManager, "on_start", hold)
        one.begin()
        yield one
        one.go.set()
        one.started.exception(DEADLINE_S)


def test_a_start_that_fails_says_what_it_came_of_and_shows_no_option(held: Held) -> None:
    held.error = ValueError("not today")
    held.go.set()
    error = held.started.exception(DEADLINE_S)
    assert isinstance(error, StartError)
    assert error.__cause__ is held.error
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    (start,) = (frame for frame in frames if frame.f_code.co_name == "start_link" and "launch" in frame.f_code.co_names)
    assert start.f_locals["_options"] == {}
    (caller,) = (frame for frame in frames if frame.f_code.co_name == "signed")
    assert caller.f_locals["options"] == {}


EARLY: dict[str, Callable[[object], object]] = {
    "get_token": lambda server: TokenManager.get_token(server).access_token,
    "get_access_token": lambda server: TokenManager.get_access_token(server),
    "aget_token": lambda server: asyncio.run(TokenManager.aget_access_token(server)),
    "aget_token, trio": lambda server: trio.run(TokenManager.aget_access_token, server),
    "aforce_refresh": lambda server: asyncio.run(TokenManager.aforce_refresh(server)),
    "source": lambda server: TokenManager.source(server)(),
    "force_refresh": lambda server: TokenManager.force_refresh(server, wait=True),
    "health": lambda server: TokenManager.health(server).state,
    "subscribe": lambda server: TokenManager.subscribe(server, print).cancel(),
}


@pytest.mark.parametrize("by", ["name", "ref"])
def test_those_who_come_early_wait_for_it(held: Held, by: str) -> None:
    server = "starting" if by == "name" else whereis("starting")
    early = {name: held.meanwhile(lambda call=call: call(server)) for name, call in EARLY.items()}
    assert not any(one.done() for one in early.values())
    held.go.set()
    held.started.result(DEADLINE_S)
    found = {name: one.result(DEADLINE_S) for name, one in early.items()}
    assert found["get_token"] == found["get_access_token"] == found["aget_token"] == found["aget_token, trio"]
    TokenManager.stop("starting")


def test_those_who_do_not_wait_are_told_that_it_is_starting(held: Held) -> None:
    with pytest.raises(NoTokenError, match="the manager is starting"):
        TokenManager.get_access_token("starting", timeout=0)
    with pytest.raises(NoTokenError, match="the manager is starting"):
        asyncio.run(TokenManager.aget_access_token("starting", timeout=0))
    TokenManager.force_refresh("starting")  # a cast: it is about to ask for a token anyway


def test_those_who_wait_hear_of_a_start_that_fails(held: Held) -> None:
    early = held.meanwhile(lambda: TokenManager.get_access_token("starting"))
    held.error = RuntimeError("no start")
    held.go.set()
    assert isinstance(early.exception(DEADLINE_S), NoProcess)


def test_it_can_be_stopped_as_soon_as_it_has_its_name(held: Held) -> None:
    stopped = held.meanwhile(lambda: TokenManager.stop("starting"))
    held.go.set()
    stopped.result(DEADLINE_S)
    assert whereis("starting") is None


def test_the_wait_for_a_start_is_part_of_the_wait_for_a_refresh(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    start(name="m")
    readings, waits = iter([100.0, 107.0]), []
    monkeypatch.setattr(waiting_reads, "time", SimpleNamespace(monotonic=lambda: next(readings)))
    monkeypatch.setattr(ThreadWaiter, "wait", lambda _, timeout_s: waits.append(timeout_s))
    with pytest.raises(NoTokenError):
        TokenManager.force_refresh("m", wait=True, timeout=10.0)
    assert waits == [3.0]


def test_a_name_that_nobody_has_is_no_start(held: Held) -> None:
    with pytest.raises(NoProcess):
        TokenManager.get_access_token("another")
