"""Under load, with a thread switch every microsecond: no ask or call that races an end is lost, and nothing hangs."""

import contextlib
import random
import threading
import time
from typing import Any

import pykka
import pytest
from actors import Boom, begin
from pykka import ActorDeadError, ActorRegistry
from threads import DEADLINE_S, eventually, run

from supervision import DynamicSupervisor, NoProcess, Server, ServerDied, call, cast, kill, monitor, stop
from supervision.process.process import abandoned_count
from supervision.process.registry import process_of
from supervision.runtime import dispatcher

pytestmark = pytest.mark.usefixtures("switch_often")


class _Echo:
    def on_receive(self, message: Any) -> Any:
        if message == "crash":
            raise Boom
        return message


class Echo(_Echo, Server):
    pass


class ThreadEcho(Echo):
    runtime = "thread"


class PlainEcho(_Echo, pykka.ThreadingActor):
    use_daemon_thread = True


ASKERS = 3
ASKS = 30


@pytest.mark.parametrize(("cls", "count"), [(Echo, 1_500), (ThreadEcho, 300), (PlainEcho, 300)])
def test_no_ask_is_lost_and_no_stop_hangs(cls: Any, count: int) -> None:
    """Each actor gets 90 asks from three threads, and two stops at any point of that, and is watched by two."""
    seed = random.Random(1)
    downs: list[Any] = []
    futures: list[Any] = []
    stops: list[Any] = []

    def race(refs: list[Any], number: int) -> None:
        mine, last = [], []
        for ref in refs:
            for turn in range(ASKS):
                if (number == 0 and turn == stop_at[ref]) or (number == 1 and turn == stop_at[ref] // 2):
                    last.append(ref.stop(block=False))
                mine.append(ref.ask(turn, block=False))
        futures.extend(mine)
        stops.extend(last)

    sup = DynamicSupervisor.start_link()
    for _ in range(0, count, 100):
        refs = [begin(cls, sup=sup) for _ in range(100)]
        stop_at = {ref: seed.randrange(ASKS) for ref in refs}
        for ref in refs:
            monitor(ref, downs.append)
            monitor(ref, downs.append)
        with run(*[lambda refs=refs, number=number: race(refs, number) for number in range(ASKERS)]):
            pass
    answered = 0
    for future in futures:
        with contextlib.suppress(ActorDeadError):
            answered += future.get(timeout=DEADLINE_S) is not None  # pykka.Timeout: it was lost
    stopped = [future.get(timeout=DEADLINE_S) for future in stops]
    assert len(futures) == count * ASKERS * ASKS
    assert 0 < answered < len(futures)
    assert len(stopped) == 2 * count
    assert sum(stopped) >= count
    eventually(lambda: len(downs) >= 2 * count, f"{len(downs)} of {2 * count} told")
    assert len({down.monitor for down in downs}) == len(downs) == 2 * count
    assert ActorRegistry.get_all() == [sup]


@pytest.mark.parametrize("cls", [Echo, ThreadEcho, PlainEcho])
def test_no_call_hangs_and_every_one_hears_the_truth(cls: Any) -> None:
    """Calls that race a crash, a stop or a kill end with an answer, or with the server's own reason."""

    lies: list[Any] = []

    def ask(ref: Any) -> None:
        for turn in range(10):
            with contextlib.suppress(NoProcess):
                try:
                    if call(ref, turn, timeout=DEADLINE_S) != turn:
                        lies.append(turn)
                except ServerDied as error:
                    if error.reason != process_of(ref).reason:  # type: ignore[union-attr]
                        lies.append(error)

    ends = (stop, kill, lambda ref: ref.stop(timeout=DEADLINE_S), lambda ref: cast(ref, "crash"))
    for end in ends * 20:
        ref = begin(cls)
        monitor(ref, lambda _: None)
        with run(*[lambda ref=ref: ask(ref)] * 3, lambda ref=ref, end=end: end(ref)):
            pass
        eventually(lambda ref=ref: not ref.is_alive())
    assert not lies
    eventually(lambda: abandoned_count() == 0)


class Link(Server):
    """Passes a call on to the next in the chain. Chains only go upwards, or two of them could wait for each other."""

    def on_receive(self, chain: Any) -> Any:
        with contextlib.suppress(NoProcess, ServerDied):
            return call(f"link {chain[0]}", chain[1:], timeout=DEADLINE_S) if chain else "the end"


def test_actors_that_call_each_other_while_they_are_killed() -> None:
    done = threading.Event()
    ends: list[Any] = []

    def churn(number: int) -> None:
        while not done.is_set():
            kill(f"link {number}")
            Link.start_link(name=f"link {number}")

    def use(number: int) -> None:
        dice = random.Random(number)
        for _ in range(200):
            if time.monotonic() > ends_at:  # on a starved machine fewer do
                return
            with contextlib.suppress(NoProcess, ServerDied):
                ends.append(call("link 0", sorted(dice.sample(range(1, 10), 4)), timeout=DEADLINE_S))

    for number in range(10):
        Link.start_link(name=f"link {number}")
    ends_at = time.monotonic() + DEADLINE_S
    with run(*[lambda number=number: churn(number) for number in range(3, 10, 3)]):
        try:
            with run(*[lambda number=number: use(number) for number in range(4)]):
                pass
        finally:
            done.set()
    assert "the end" in ends
    eventually(lambda: dispatcher._pool.value.blocked == 0)
    eventually(lambda: abandoned_count() == 0)
