"""Many readers at once, threads, tasks and actors: one attempt serves them all, and nobody is left waiting."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes import UNREACHABLE
from managers import Start
from threads import DEADLINE_S, eventually

import supervision
from oidc_actor import TokenManager
from oidc_actor.reading.cell import by_name
from supervision import NoProcess


@pytest.mark.P3
def test_fifty_threads_and_fifty_tasks_are_one_request(start: Start, transport) -> None:
    with transport.held_back(), ThreadPoolExecutor(51) as pool:
        start(name="m")
        threads = [pool.submit(TokenManager.get_access_token, "m", timeout=DEADLINE_S) for _ in range(50)]

        async def tasks() -> list[str]:
            return await asyncio.gather(*(TokenManager.aget_access_token("m", timeout=DEADLINE_S) for _ in range(50)))

        loop = pool.submit(asyncio.run, tasks())
        eventually(lambda: len(waiting("m")) == 100, "a hundred readers")
        transport._open.set()
        assert {one.result(DEADLINE_S) for one in threads} == {"t1"}
        assert loop.result(DEADLINE_S) == ["t1"] * 50
    assert len(transport.requests) == 2
    assert waiting("m") == {}


def waiting(name: str):
    return by_name[name].waiting


def test_an_async_reader_blocks_neither_its_loop_nor_the_default_executor(start: Start, transport) -> None:
    async def scenario() -> str:
        loop = asyncio.get_running_loop()
        loop.run_in_executor = None  # whoever used it would fail
        task = asyncio.ensure_future(TokenManager.aget_access_token(ref, timeout=DEADLINE_S))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not task.done()
        transport._open.set()
        return await task

    with transport.held_back():
        ref = start()
        assert asyncio.run(scenario()) == "t1"


@pytest.mark.P3
def test_a_cancelled_task_leaves_nothing_behind(start: Start, transport) -> None:
    async def scenario() -> None:
        task = asyncio.ensure_future(TokenManager.aget_token("m", timeout=DEADLINE_S))
        while not waiting("m"):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with transport.held_back():
        start(name="m")
        asyncio.run(scenario())
        assert waiting("m") == {}
    assert TokenManager.get_access_token("m") == "t1"


def test_a_cancelled_task_is_not_kept_through_an_outage_however_patient_it_was(start: Start, transport, clock) -> None:
    async def scenario() -> None:
        task = asyncio.ensure_future(TokenManager.aget_token("m", timeout=86_400))
        while not by_name["m"].state.waiters:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    transport.goes_down(UNREACHABLE)
    start(name="m")
    asyncio.run(scenario())
    transport.wait_for_requests(1)
    eventually(lambda: not TokenManager.health("m").refreshing)
    clock.advance(TokenManager.health("m").next_attempt_in_s)
    transport.wait_for_requests(2)
    eventually(lambda: not TokenManager.health("m").refreshing)
    assert by_name["m"].state.waiters == ()


def test_a_reader_inside_a_pooled_actor_does_not_starve_the_pool(start: Start, transport) -> None:
    class Reader(supervision.Server):
        def on_receive(self, message):
            return TokenManager.get_access_token("m", timeout=DEADLINE_S)

    with transport.held_back():
        start(name="m")
        readers = [Reader.start_link() for _ in range(40)]
        answers = [ref.ask("read", block=False) for ref in readers]
        eventually(lambda: len(waiting("m")) == 40, "forty waiting actors")
    assert [answer.get(timeout=DEADLINE_S) for answer in answers] == ["t1"] * 40


@pytest.mark.P10
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    "end", [TokenManager.stop, supervision.kill, lambda ref: ref.stop()], ids=["stop", "kill", "pykka"]
)
def test_the_waiters_of_a_manager_that_goes_away_hear_of_it_at_once(
    end, asynchronous: bool, start: Start, transport
) -> None:
    with transport.held_back(), ThreadPoolExecutor(1) as pool:
        ref = start(name="m")
        if asynchronous:
            answer = pool.submit(lambda: asyncio.run(TokenManager.aget_token("m", timeout=DEADLINE_S)))
        else:
            answer = pool.submit(TokenManager.get_token, "m", timeout=DEADLINE_S)
        eventually(lambda: waiting("m"))
        end(ref)
        with pytest.raises(NoProcess):
            answer.result(DEADLINE_S / 2)


@pytest.mark.P2
def test_threads_that_read_while_tokens_are_replaced_never_see_a_dead_one(start: Start, transport, clock) -> None:
    transport.lifetime = 10.0
    start(name="m")
    source = TokenManager.source("m")
    source()
    ends = {f"t{number}": 0.0 for number in range(1, 200)}
    stop, wrong = threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            before = clock()
            text = source(timeout=DEADLINE_S)
            if ends[text] and ends[text] <= before:
                wrong.append((text, before))

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(read) for _ in range(4)]
        for round_ in range(1, 15):
            ends[f"t{round_}"] = clock() + 10.0
            clock.advance(5)
            transport.wait_for_posts(round_ + 1)
            eventually(lambda: source() != f"t{round_}")  # noqa: B023
        stop.set()
        for reader in readers:
            reader.result(DEADLINE_S)
    assert wrong == []
