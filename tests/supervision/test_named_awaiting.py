"""`named` while a supervisor restarts the name: what it says, and with ``await_restart=True`` how it waits for the successor."""

from __future__ import annotations

import asyncio
import importlib
import pickle
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

import pykka
import pytest
from threads import DEADLINE_S, elsewhere, run

from supervision import (
    Backoff,
    ChildSpec,
    Server,
    ServerRestarting,
    SupervisionError,
    Supervisor,
    acall,
    call,
    kill,
    named,
)

LATER = Backoff(initial=30.0, jitter=0)
SOON = Backoff(initial=0.1, maximum=0.1, jitter=0)

Ref = Any


class _Shop:
    numbers: queue.SimpleQueue[int]

    def __init__(self) -> None:
        super().__init__()
        self.number = self.numbers.get_nowait()
        self.price = 0
        self.heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.inner = Inner()

    def on_receive(self, message: Any) -> Any:
        self.heard.put(message)
        return self.number, message

    def which(self) -> int:
        return self.number

    def put(self, value: Any) -> None:
        self.heard.put(value)


@pykka.traversable
class Inner:
    field = "inner"


class Plain(_Shop, pykka.ThreadingActor):
    """An unmodified Pykka class."""


class Pooled(_Shop, Server):
    """A server."""


@pytest.fixture(params=[Plain, Pooled], ids=lambda cls: cls.__name__)
def cls(request: pytest.FixtureRequest) -> Any:
    numbers: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(1, 1_000):
        numbers.put(number)
    return type(request.param.__name__, (request.param,), {"numbers": numbers})


@pytest.fixture
def start(cls: Any) -> Callable[[Backoff | None], Any]:
    return lambda backoff: Supervisor.start_link(
        [ChildSpec("shop", cls, name="shop", backoff=backoff)], max_restarts=1_000
    )


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait without a timeout of its caller's is a short one."""
    monkeypatch.setattr(importlib.import_module("supervision.named"), "SUCCESSOR_S", 0.05)


def awaiting() -> Any:
    return named("shop", await_restart=True)


def get(future: Any) -> Any:
    return future.get(timeout=DEADLINE_S)


def called_by_a_task(ref: Any) -> Any:
    return asyncio.run(asyncio.wait_for(acall(ref, "a", timeout=DEADLINE_S), 2 * DEADLINE_S))


USES: dict[str, Callable[[Ref, Any], Any]] = {
    "ask": lambda ref, proxy: ref.ask("a", timeout=DEADLINE_S)[0],
    "ask without a timeout": lambda ref, proxy: ref.ask("a")[0],
    "ask for a future": lambda ref, proxy: get(ref.ask("a", block=False))[0],
    "call": lambda ref, proxy: call(ref, "a", timeout=DEADLINE_S)[0],
    "call without a timeout": lambda ref, proxy: call(ref, "a", timeout=None)[0],
    "acall": lambda ref, proxy: called_by_a_task(ref)[0],
    "a method": lambda ref, proxy: get(proxy.which()),
    "an attribute": lambda ref, proxy: get(proxy.number),
    "a method of a new proxy": lambda ref, proxy: get(ref.proxy().which()),
    "an attribute of a new proxy": lambda ref, proxy: get(ref.proxy().number),
}


@pytest.mark.parametrize("use", USES.values(), ids=list(USES))
def test_it_waits_for_the_successor(start: Any, use: Callable[[Ref, Any], Any]) -> None:
    sup = start(SOON)
    ref = awaiting()
    proxy = ref.proxy()
    for number in (1, 2, 3):
        assert use(ref, proxy) == number
        kill(ref)
    Supervisor.stop(sup)


def test_what_has_no_answer_waits_too(start: Any) -> None:
    sup = start(SOON)
    proxy = awaiting().proxy()
    for send in (awaiting().tell, proxy.put.defer):
        kill("shop")
        send("a")
        assert get(proxy.heard).get(timeout=DEADLINE_S) == "a"
    kill("shop")
    proxy.price = 3
    assert get(proxy.price) == 3
    kill("shop")
    assert get(awaiting().proxy().inner.field) == "inner"
    Supervisor.stop(sup)


def test_messages_of_one_thread_keep_their_order(start: Any) -> None:
    sup = start(SOON)
    heard = awaiting().proxy().heard
    kill("shop")
    for number in range(50):
        (awaiting().tell if number % 2 else lambda one: awaiting().ask(one, block=False))(number)
    heard = get(awaiting().proxy().heard)
    assert [heard.get(timeout=DEADLINE_S) for _ in range(50)] == list(range(50))
    Supervisor.stop(sup)


def test_one_that_does_not_wait_says_that_it_is_being_restarted(start: Any) -> None:
    sup = start(LATER)
    ref = named("shop")
    proxy: Any = ref.proxy()
    kill("shop")
    says = r"^'shop' not found: a supervisor is restarting 'shop'"
    for use in (
        lambda: ref.tell("a"),
        lambda: ref.ask("a"),
        lambda: get(ref.ask("a", block=False)),
        lambda: get(proxy.which()),
    ):
        with pytest.raises(pykka.ActorDeadError, match=says):
            use()
    with pytest.raises(ServerRestarting, match=r"^a supervisor is restarting 'shop'") as caught:
        call(ref, "a")
    assert caught.value.server == "shop"
    assert not ref.is_alive()
    Supervisor.stop(sup)


@pytest.mark.usefixtures("brief")
def test_there_is_no_successor_in_time(start: Any) -> None:
    sup = start(LATER)
    ref = awaiting()
    proxy: Any = ref.proxy()
    kill("shop")
    uses: list[Callable[[], Any]] = [
        lambda: ref.tell("a"),
        lambda: ref.ask("a", timeout=0.05),
        lambda: get(ref.ask("a", block=False)),
        lambda: get(proxy.which()),
        lambda: proxy.put.defer("a"),
        lambda: ref.proxy().which,
    ]
    for use in uses:
        with pytest.raises(pykka.ActorDeadError, match=r"'shop'.* was not up within 0.05 s"):
            use()
    with pytest.raises(ServerRestarting, match=r"was not up within 0.05 s"):
        call(ref, "a", timeout=0.05)
    Supervisor.stop(sup)


def test_it_waits_for_nothing_that_does_not_come(start: Any) -> None:
    sup = start(None)
    ref = awaiting()
    proxy: Any = ref.proxy()
    Supervisor.terminate_child(sup, "shop")
    began = time.monotonic()
    for use in (lambda: ref.tell("a"), lambda: ref.ask("a"), lambda: get(proxy.which()), lambda: ref.proxy().which):
        with pytest.raises(pykka.ActorDeadError, match=r"^'shop' not found$"):
            use()
    assert time.monotonic() - began < 3.0
    Supervisor.stop(sup)


def test_a_wait_ends_when_the_restart_is_cancelled(start: Any) -> None:
    sup = start(LATER)
    kill("shop")
    began, raised = threading.Barrier(4), queue.SimpleQueue[Any]()

    def use(one: Callable[[Any], Any]) -> None:
        began.wait(DEADLINE_S)
        try:
            one(awaiting())
        except BaseException as error:
            raised.put(type(error))

    uses: list[Callable[[Any], Any]] = [
        lambda ref: ref.tell("a"),
        lambda ref: ref.ask("a"),
        lambda ref: get(ref.ask("a", block=False)),
    ]
    with run(*(lambda one=one: use(one) for one in uses)):
        began.wait(DEADLINE_S)
        Supervisor.terminate_child(sup, "shop")
    assert [raised.get(timeout=DEADLINE_S) for _ in range(3)] == [pykka.ActorDeadError] * 3
    Supervisor.stop(sup)


def test_what_means_one_incarnation_never_waits(start: Any) -> None:
    sup = start(LATER)
    ref = awaiting()
    proxy: Any = ref.proxy()
    kill("shop")
    began = time.monotonic()
    assert not ref.is_alive()
    assert ref.stop() is False
    assert not hasattr(ref, "actor_urn")
    assert not hasattr(ref.proxy(), "pykka_traversable")
    assert not hasattr(proxy, "_private")
    assert "which" in dir(proxy)
    assert repr(ref) == "<ActorRef named 'shop': no live actor>"
    assert time.monotonic() - began < 3.0
    Supervisor.stop(sup)


def test_a_start_that_fails_gets_no_message(cls: Any) -> None:
    """A message to a successor that is starting waits until that is up: it is not lost with an attempt that fails."""
    starts = iter(["good", "bad", "bad", "good"])

    class Shaky(cls):  # type: ignore[misc]
        def on_start(self) -> None:
            if next(starts) == "bad":
                raise OSError("not yet")

    sup = Supervisor.start_link([ChildSpec("shop", Shaky, name="shop", backoff=SOON)], max_restarts=5, max_seconds=60)
    proxy = awaiting().proxy()
    kill("shop")
    future = proxy.which()
    proxy.put.defer("b")
    assert get(future) == 4
    assert get(proxy.heard).get(timeout=DEADLINE_S) == "b"
    Supervisor.stop(sup)


def test_a_wait_that_could_only_deadlock_is_refused(cls: Any) -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()

    class First(cls):  # type: ignore[misc]
        def on_start(self) -> None:
            if self.number > 2:
                try:
                    heard.put(named("shop", await_restart=True).ask("a"))
                except BaseException as error:
                    heard.put(error)

    specs = [ChildSpec("first", First, name="first"), ChildSpec("shop", cls, name="shop")]
    sup = Supervisor.start_link(specs, strategy="one_for_all")
    kill("shop")
    assert isinstance(heard.get(timeout=DEADLINE_S), SupervisionError)
    assert Supervisor.count_children(sup).active == 2
    Supervisor.stop(sup)


def test_as_a_value() -> None:
    assert awaiting() == named("shop")
    assert hash(awaiting()) == hash(named("shop"))
    assert pickle.loads(pickle.dumps(awaiting())).await_restart is True
    assert pickle.loads(pickle.dumps(named("shop"))).await_restart is False
    with pytest.raises(TypeError, match="await_restart: expected a bool, got 5"):
        named("shop", await_restart=5)  # type: ignore[arg-type]


def test_restarts_go_by_without_a_failed_use(cls: Any) -> None:
    """Four threads use a proxy while its actor is killed 40 times: each use has an answer, or its actor ended before it came."""
    sup = Supervisor.start_link([ChildSpec("shop", cls, name="shop")], max_restarts=1_000, max_seconds=60)
    proxy, over = awaiting().proxy(), threading.Event()
    counts: queue.SimpleQueue[int] = queue.SimpleQueue()

    def use() -> None:
        count = 0
        while not over.is_set():
            proxy.put.defer(1)
            try:
                number = get(proxy.which())
            except pykka.ActorDeadError as error:
                number = None if "ended before it answered" in str(error) else str(error)
            else:
                count += 1
            assert number is None or isinstance(number, int)
        counts.put(count)

    with run(use, use, use, use):
        for _ in range(40):
            kill("shop")
            elsewhere(lambda: Supervisor.count_children(sup))
        over.set()
    assert all(counts.get(timeout=DEADLINE_S) > 0 for _ in range(4))
    Supervisor.stop(sup)
