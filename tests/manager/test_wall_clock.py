"""The wall clock jumps under running managers: a restored machine, a clock that is set."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes import ISSUER, UNREACHABLE
from manager.test_fork import in_child
from managers import Start
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import GetToken, NoTokenError, OIDCConfig, TokenManager, after_restore
from oidc_actor.adapters.headers import headers
from oidc_actor.adapters.presenter import Presenter
from oidc_actor.reading import directory
from oidc_actor.reading.cell import by_name
from oidc_actor.streams import renewals

pytestmark = pytest.mark.P11

Jump = Callable[[float], None]


@pytest.fixture
def step(monkeypatch: pytest.MonkeyPatch) -> Iterator[Jump]:
    """Steps the wall clock; nobody compares before the next look."""
    offset_s = 0.0

    def step(by_s: float) -> None:
        nonlocal offset_s
        offset_s += by_s

    monkeypatch.setattr("oidc_actor.values.clock.wall_clock", lambda: time.time() + offset_s)
    after_restore()
    yield step
    offset_s = 0.0
    after_restore()


@pytest.fixture
def jump(step: Jump) -> Jump:
    """A jump, and the look that follows it."""

    def jump(by_s: float) -> None:
        step(by_s)
        after_restore()

    return jump


READS: list[Callable[..., str]] = [
    lambda **wait: TokenManager.get_token("m", **wait).access_token,
    lambda **wait: TokenManager.get_access_token("m", **wait),
    lambda **wait: asyncio.run(TokenManager.aget_token("m", **wait)).access_token,
    lambda **wait: asyncio.run(TokenManager.aget_access_token("m", **wait)),
    lambda **wait: TokenManager.get_access_token("m", min_validity=1, **wait),
    lambda **wait: TokenManager.source("m")(**wait),
    lambda **wait: TokenManager.source("m").token(**wait).access_token,
    lambda **wait: headers("m", **wait)["Authorization"].removeprefix("Bearer "),
    lambda **wait: Presenter("m", **wait).bearer().token,
]


@pytest.mark.parametrize("read", READS)
def test_no_read_gets_a_token_that_is_past_its_end_once_the_clocks_have_been_compared(
    read: Callable[..., str], start: Start, transport, clock, jump: Jump
) -> None:
    start(name="m")
    assert read(timeout=5) == "t1"
    clock.advance(2)
    with transport.held_back():
        jump(7200)
        with pytest.raises(NoTokenError, match=r"no token: (by the wall clock|the last one is being replaced)"):
            read(timeout=0)
        transport.wait_for_posts(2)
    assert read(timeout=5) == "t2"
    assert len(transport.posts) == 2


def test_a_source_that_was_made_before_and_the_mailbox_hold_it_back_too(
    start: Start, transport, clock, jump: Jump
) -> None:
    ref = start(name="m")
    source = TokenManager.source("m")
    assert source() == "t1"
    clock.advance(2)
    with transport.held_back():
        jump(7200)
        with pytest.raises(NoTokenError):
            source(timeout=0)
        with pytest.raises(NoTokenError):
            ref.ask(GetToken(), timeout=DEADLINE_S)
        assert not TokenManager.health("m").ready
    assert source() == "t2"


def test_the_process_looks_by_itself(
    start: Start, transport, clock, step: Jump, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "COMPARE_S", 0.02)
    directory._clock_watch.value._look()  # whose next look comes soon, and so on
    start(name="m")
    TokenManager.get_token("m")
    clock.advance(2)
    step(7200)
    eventually(lambda: TokenManager.get_access_token("m") == "t2")


@pytest.mark.parametrize("by_s", [-7200, -6, 4.9, 200])
def test_a_step_that_no_refresh_point_lies_in_is_harmless(
    by_s: float, start: Start, transport, clock, jump: Jump
) -> None:
    start(name="m")
    TokenManager.get_token("m")
    clock.advance(2)
    jump(by_s)
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    assert TokenManager.health("m").state == "fresh"
    assert len(transport.posts) == 1


def test_small_steps_are_harmless_however_many(start: Start, transport, clock, jump: Jump) -> None:
    start(name="m")
    TokenManager.get_token("m")
    for _ in range(100):
        jump(4)
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    assert len(transport.posts) == 1


@pytest.mark.P1
def test_within_the_token_s_life_it_is_refreshed_and_served_meanwhile(
    start: Start, transport, clock, jump: Jump
) -> None:
    start(name="m")
    TokenManager.get_token("m")
    clock.advance(2)
    with transport.held_back():
        jump(250)
        transport.wait_for_posts(2)
        assert TokenManager.get_access_token("m", timeout=0) == "t1"
    eventually(lambda: TokenManager.get_access_token("m") == "t2")


def test_with_the_provider_down_it_is_served_on_with_a_warning_and_no_listener_is_told(
    start: Start, transport, clock, jump: Jump
) -> None:
    start(name="m")
    TokenManager.get_token("m")
    told: list[object] = []
    TokenManager.subscribe("m", told.append)
    clock.advance(2)
    transport.goes_down(UNREACHABLE)
    jump(7200)
    assert TokenManager.get_access_token("m", timeout=5) == "t1"
    assert by_name["m"].counts["token_served_on"] == by_name["m"].counts["clock_jumped"] == 1
    assert told == []
    clock.advance(297.9)
    assert TokenManager.get_access_token("m", timeout=0) == "t1"
    clock.advance(0.1)
    with pytest.raises(NoTokenError):
        TokenManager.get_access_token("m", timeout=0)


def test_with_the_provider_silent_it_is_served_on_after_ten_seconds(start: Start, transport, clock, jump: Jump) -> None:
    start(name="m")
    TokenManager.get_token("m")
    clock.advance(2)
    with transport.held_back():
        jump(7200)
        transport.wait_for_posts(2)
        clock.advance(9.9)
        TokenManager.health("m")  # answered after the tick
        with pytest.raises(NoTokenError):
            TokenManager.get_access_token("m", timeout=0)
        clock.advance(0.1)
        TokenManager.health("m")
        assert TokenManager.get_access_token("m", timeout=0) == "t1"
        jump(10)  # a second one withholds it again, and joins the attempt under way
        with pytest.raises(NoTokenError):
            TokenManager.get_access_token("m", timeout=0)
    assert TokenManager.get_access_token("m", timeout=5) == "t2"


def test_a_token_that_came_after_the_jump_is_not_concerned(start: Start, transport, clock, step: Jump) -> None:
    start(name="m")
    TokenManager.get_token("m")
    clock.advance(2)
    step(7200)
    TokenManager.force_refresh("m", wait=True)
    after_restore()
    assert TokenManager.get_access_token("m", timeout=0) == "t2"
    assert TokenManager.health("m").refreshes == len(transport.posts) == 2


@pytest.mark.P6
def test_many_managers_of_one_issuer_refresh_at_its_rate(start: Start, transport, clock, jump: Jump) -> None:
    names = [f"m{number}" for number in range(150)]
    for name in names:
        start(name=name)
    for name in names:
        TokenManager.get_token(name)
    clock.advance(2)
    jump(7200)
    for name in names:
        TokenManager.health(name)
    eventually(lambda: len(transport.posts) >= 150 + 99)
    assert len(transport.posts) < 2 * 150
    for _ in range(100):
        clock.advance(0.01)
    eventually(lambda: len(transport.posts) == 2 * 150)


def test_managers_that_are_not_concerned_are_not_told(
    start: Start, transport, clock, jump: Jump, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(name="short")
    TokenManager.get_token("short")
    transport.lifetime = 86_400
    start(name="long")
    TokenManager.get_token("long")
    TokenManager.health("long")
    told: list[object] = []
    monkeypatch.setattr("oidc_actor.reading.cell.Cell.tell", lambda cell, message: told.append(cell.name))
    jump(7200)
    assert told == ["short"]


def test_a_crashed_managers_token_is_judged_by_its_successor(start: Start, transport, clock, jump: Jump) -> None:
    ref = start(name="m")
    TokenManager.get_token("m")
    clock.advance(2)
    supervision.kill(ref)
    jump(7200)
    assert TokenManager.get_access_token("m", timeout=0) == "t1"  # nobody would bring another
    with transport.held_back():
        start(name="m")
        transport.wait_for_posts(2)
        with pytest.raises(NoTokenError):
            TokenManager.get_access_token("m", timeout=0)
    assert TokenManager.get_access_token("m") == "t2"


def test_where_a_clock_stands_still_during_a_suspend_that_is_a_jump(start: Start, transport, jump: Jump) -> None:
    start(name="m", clock=time.monotonic, min_interval_seconds=0.01)
    assert TokenManager.get_access_token("m") == "t1"
    jump(3600)
    assert TokenManager.get_access_token("m") == "t2"


def test_streams_do_not_yield_a_token_that_is_served_on(start: Start, transport, clock, jump: Jump) -> None:
    start(name="m")
    TokenManager.get_token("m")
    clock.advance(2)

    async def seen() -> list[str]:
        found = []
        async for renewal in renewals("m"):
            found.append(renewal.token.access_token)
            if len(found) == 1:
                transport.goes_down(UNREACHABLE)
                jump(7200)
                assert await TokenManager.aget_access_token("m") == "t1"
                transport.comes_up()
                TokenManager.force_refresh("m")
                clock.advance(2)
            else:
                break
        return found

    assert asyncio.run(asyncio.wait_for(seen(), DEADLINE_S)) == ["t1", "t2"]


@pytest.mark.P12
def test_the_look_ends_with_the_last_manager_and_begins_with_the_next(start: Start, monkeypatch) -> None:
    later: list[Callable[[], None]] = []
    monkeypatch.setattr(directory._clock_watch, "value", directory._ClockWatch())
    monkeypatch.setattr(directory, "call_later", lambda delay_s, callback: later.append(callback))
    start(name="m")
    start(name="n")
    (look,) = later  # one for all
    later.clear()
    look()
    assert len(later) == 1
    monkeypatch.setattr(directory, "is_any", lambda: False)
    later.pop()()
    assert later == []
    start(name="o")
    assert len(later) == 1


@pytest.mark.P12
def test_a_manager_that_starts_while_the_last_look_ends_is_looked_at(start: Start, monkeypatch) -> None:
    later: list[Callable[[], None]] = []
    monkeypatch.setattr(directory._clock_watch, "value", directory._ClockWatch())
    monkeypatch.setattr(directory, "call_later", lambda delay_s, callback: later.append(callback))
    start(name="m")

    def is_none_left() -> bool:
        start(name="n")
        return False

    monkeypatch.setattr(directory, "is_any", is_none_left)
    later.pop()()
    assert len(later) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_forked_child_looks_too(start: Start, transport, clock, step: Jump) -> None:
    start(name="m")
    TokenManager.get_token("m")
    clock.advance(2)

    def check() -> None:
        assert TokenManager.get_access_token("m", timeout=0) == "t1"
        step(7200)
        after_restore()
        assert TokenManager.get_access_token("m") == "t2"
        assert directory._clock_watch.value.is_running

    def check_later() -> None:
        step(7200)  # before the first use in the child
        TokenManager.health("m")
        assert TokenManager.get_access_token("m") == "t2"

    in_child(check)
    in_child(check_later)
    assert TokenManager.get_access_token("m", timeout=0) == "t1"


def test_a_token_whose_request_was_under_way_is_as_old_as_the_wall_clock_says(
    start: Start, transport, clock, jump: Jump
) -> None:
    start(name="m")
    TokenManager.get_token("m")
    clock.advance(2)
    with transport.held_back():
        TokenManager.force_refresh("m")
        transport.wait_for_posts(2)
        jump(7200)
    eventually(lambda: TokenManager.health("m").refreshes == 2, "the old answer")
    with pytest.raises(NoTokenError, match="by the wall clock"):
        TokenManager.get_access_token("m", timeout=0)
    clock.advance(1)
    assert TokenManager.get_access_token("m", timeout=5) == "t3"


def test_so_is_the_first_one_and_its_reader_waits_for_the_next(start: Start, transport, clock, jump: Jump) -> None:
    config = OIDCConfig(issuer=ISSUER, token_endpoint=f"{ISSUER}/token")
    with ThreadPoolExecutor(1) as pool:
        with transport.held_back():
            start(name="m", issuer_url=None, oidc_config=config)
            transport.wait_for_posts(1)
            reader = pool.submit(TokenManager.get_access_token, "m", timeout=DEADLINE_S)
            jump(7200)
        eventually(lambda: TokenManager.health("m").refreshes == 1, "the old answer")
        clock.advance(1)
        assert reader.result(DEADLINE_S) == "t2"


def test_a_request_from_before_the_jump_that_fails_gives_no_dead_token_back(
    start: Start, transport, clock, jump: Jump
) -> None:
    start(name="m")
    TokenManager.get_token("m")
    clock.advance(2)
    transport.then(UNREACHABLE)
    with transport.held_back():
        TokenManager.force_refresh("m")
        transport.wait_for_posts(2)
        jump(7200)  # no connection lives through a restore
    eventually(lambda: TokenManager.health("m").last_error is not None, "the failure")
    with pytest.raises(NoTokenError, match="by the wall clock"):
        TokenManager.get_access_token("m", timeout=0)
    clock.advance(1)
    assert TokenManager.get_access_token("m", timeout=5) == "t2"


def test_a_successor_judges_what_its_predecessor_s_request_brings(start: Start, transport, clock, jump: Jump) -> None:
    config = OIDCConfig(issuer=ISSUER, token_endpoint=f"{ISSUER}/token")
    with transport.held_back():
        ref = start(name="m", issuer_url=None, oidc_config=config)
        transport.wait_for_posts(1)
        supervision.kill(ref)
        jump(7200)
        start(name="m", issuer_url=None, oidc_config=config)
    eventually(lambda: TokenManager.health("m").refreshes == 1, "the old answer")
    with pytest.raises(NoTokenError, match="by the wall clock"):
        TokenManager.get_access_token("m", timeout=0)
    clock.advance(1)
    assert TokenManager.get_access_token("m", timeout=5) == "t2"
