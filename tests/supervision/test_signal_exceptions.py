"""What a signal handler raises passes through every function that waits, and is nobody's failure."""

import asyncio
import contextlib
import functools
import gc
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pytest
from actors import Boom, Plain, Pooled, Threaded
from children import World, ref_of
from threads import DEADLINE_S, eventually, run

from supervision import (
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    NoProcess,
    Server,
    ServerDied,
    StartError,
    Supervisor,
    acall,
    call,
    cast,
    kill,
    monitor,
    named,
    stop,
    whereis,
)
from supervision.process import registry
from supervision.process.process import abandoned_count
from supervision.runtime.reports import is_interrupt
from supervision.supervising import Operation


def leave(*_: Any) -> None:
    sys.exit(7)


def give_up(signum: int, frame: Any) -> None:
    raise TimeoutError("the program's own")


def break_off(signum: int, frame: Any) -> None:
    signal.signal(signum, signal.SIG_DFL)  # the second one ends the program, as many handlers have it
    raise KeyboardInterrupt


class Handler:
    def __call__(self, signum: int, frame: Any) -> None:
        raise SystemExit(7)

    def method(self, signum: int, _frame: Any = None) -> None:
        raise SystemExit(7)


HANDLERS: dict[str, tuple[Any, type[BaseException]]] = {
    "exit": (leave, SystemExit),
    "interrupt": (break_off, KeyboardInterrupt),
    "error": (give_up, TimeoutError),
    "lambda": (lambda *_: sys.exit(7), SystemExit),
    "object": (Handler(), SystemExit),
    "method": (Handler().method, SystemExit),
    "partial": (functools.partial(give_up), TimeoutError),
    "Ctrl-C": (signal.default_int_handler, KeyboardInterrupt),
}
every_handler = pytest.mark.parametrize(("handler", "kind"), HANDLERS.values(), ids=HANDLERS.keys())


@pytest.fixture
def handled(handler: Any) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, handler)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Lets go of those that block."""
    made = threading.Event()
    yield made
    made.set()
    eventually(lambda: abandoned_count() == 0)


@pytest.fixture
def block(released: threading.Event) -> Callable[..., None]:
    """Has the main thread, which waits for it, get the signal, and blocks."""

    def blocks(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        released.wait(DEADLINE_S)

    return blocks


def start_supervisor(block: Any) -> None:
    Supervisor.start_link([ChildSpec("slow", Threaded, ({"on_start": block},))])


def start_subtree(block: Any) -> None:
    below = Supervisor.child_spec([ChildSpec("slow", Threaded, ({"on_start": block},))], id="below")
    Supervisor.start_link([below])


def start_dynamic(block: Any) -> None:
    class Slow(DynamicSupervisor):
        def on_start(self) -> None:
            block()

    Slow.start_link()


def start_dynamic_child(block: Any) -> None:
    DynamicSupervisor.start_child(DynamicSupervisor.start_link(), ChildSpec("slow", Threaded, ({"on_start": block},)))


def restart_child(block: Any) -> None:
    starts: list[Callable[..., None]] = [lambda: None, block]
    spec = ChildSpec("slow", Threaded, ({"on_start": lambda: starts.pop(0)()},))
    sup = Supervisor.start_link([spec])
    Supervisor.terminate_child(sup, "slow")
    Supervisor.restart_child(sup, "slow")


def stop_supervisor(block: Any) -> None:
    Supervisor.stop(Supervisor.start_link([ChildSpec("slow", Threaded, ({"on_terminate": block},))]))


def terminate_child(block: Any) -> None:
    sup = Supervisor.start_link([ChildSpec("slow", Threaded, ({"on_terminate": block},))])
    Supervisor.terminate_child(sup, "slow")


def terminate_dynamic_child(block: Any) -> None:
    sup = DynamicSupervisor.start_link()
    ref = DynamicSupervisor.start_child(sup, ChildSpec("slow", Threaded, ({"on_terminate": block},)))
    DynamicSupervisor.terminate_child(sup, ref)


def busy(block: Any) -> Any:
    """A supervisor that is busy, and so answers nothing."""
    sup = DynamicSupervisor.start_link()
    slow = ChildSpec("slow", Threaded, ({"on_start": block},))
    entered = threading.Event()
    cast(sup, Operation(lambda supervisor: (entered.set(), DynamicSupervisor._start_child(supervisor, slow))))
    entered.wait(DEADLINE_S)
    return sup


async def asked_by_a_task(serve: Callable[[], Any], message: Any) -> Any:
    """asyncio's own wait is not ended by a signal that comes just before it begins; so it is to end soon in any case.

    What a handler raises amid one of asyncio's callbacks, asyncio tells its own handler of errors, if it is an `Exception`.
    """
    mine, told = asyncio.current_task(), []

    def hear(_: Any, context: dict[str, Any]) -> None:
        told.append(context["exception"])
        mine.cancel()

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.05)

    def ticked(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            hear(None, {"exception": task.exception()})

    asyncio.get_running_loop().set_exception_handler(hear)
    ticks = asyncio.ensure_future(tick())
    ticks.add_done_callback(ticked)
    try:
        return await acall(serve(), message, None, await_restart=True)
    except asyncio.CancelledError:
        if told:
            raise told[0] from None
        raise
    finally:
        ticks.cancel()


def in_name(_: Any) -> str:
    return "it"


def restarting(block: Any) -> str:
    """The name of a server whose restart blocks."""
    starts: list[Callable[..., None]] = [lambda: None, block]
    spec = ChildSpec("slow", Threaded, ({"on_start": lambda: starts.pop(0)()},), name="slow")
    kill(ref_of(Supervisor.start_link([spec]), "slow"))
    return "slow"


WAITS: dict[str, Callable[[Any], Any]] = {
    "start_link, pooled": lambda block: Pooled.start_link({"on_start": block}),
    "start_link, threaded": lambda block: Threaded.start_link({"on_start": block}),
    "start_link in time": lambda block: Threaded.start_link({"on_start": block}, start_timeout=DEADLINE_S),
    "Supervisor.start_link": start_supervisor,
    "Supervisor.start_link, deeper": start_subtree,
    "Supervisor.start_link, Pykka's": lambda block: Supervisor.start_link(
        [ChildSpec("slow", Plain, ({"on_start": block},))]
    ),
    "DynamicSupervisor.start_link": start_dynamic,
    "start_child": start_dynamic_child,
    "restart_child": restart_child,
    "call": lambda block: call(Threaded.start_link(), block, timeout=DEADLINE_S),
    "stop": lambda block: stop(Threaded.start_link({"on_terminate": block}), timeout=DEADLINE_S),
    "Supervisor.stop": stop_supervisor,
    "terminate_child": terminate_child,
    "DynamicSupervisor.terminate_child": terminate_dynamic_child,
    "which_children": lambda block: DynamicSupervisor.which_children(busy(block)),
    "count_children": lambda block: DynamicSupervisor.count_children(busy(block)),
    "tree": lambda block: [Supervisor.tree(busy(block)) for _ in itertools.count()],
    "call, unmanaged": lambda block: call(Plain.start(), block, timeout=DEADLINE_S),
    "stop, unmanaged": lambda block: stop(Plain.start({"on_stop": block}), timeout=DEADLINE_S),
    "call, awaiting a restart": lambda block: call(restarting(block), "hello", DEADLINE_S, await_restart=True),
    "call, awaiting a restart for ever": lambda block: call(restarting(block), "hello", None, await_restart=True),
    "acall": lambda block: asyncio.run(asked_by_a_task(Threaded.start_link, block)),
    "acall, awaiting a restart": lambda block: asyncio.run(asked_by_a_task(lambda: restarting(block), "hello")),
    "named, ask": lambda block: named(in_name(Threaded.start_link(name="it"))).ask(block),
    "named, a future": lambda block: named(in_name(Threaded.start_link(name="it"))).ask(block, block=False).get(),
    "named, awaiting a restart": lambda block: named(restarting(block), await_restart=True).ask("hello"),
    "named, tell, awaiting a restart": lambda block: named(restarting(block), await_restart=True).tell("hello"),
    "named, a proxy": lambda block: named(in_name(Threaded.start_link(name="it"))).proxy().on_receive(block).get(),
}
every_wait = pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())


@every_wait
@every_handler
def test_it_passes_through_every_wait(
    wait: Any, handler: Any, kind: type[BaseException], handled: None, block: Any
) -> None:
    with pytest.raises(kind):
        wait(block)


@every_handler
def test_nothing_is_left_of_a_start_that_was_interrupted(
    handler: Any, kind: type[BaseException], handled: None, block: Any, released: threading.Event
) -> None:
    with pytest.raises(kind):
        Threaded.start_link({"on_start": block}, name="it")
    assert whereis("it") is None
    assert pykka.ActorRegistry.get_all() == []


class Interrupt(BaseException):
    """What the signal handler of the next tests raises."""


def interrupted(point: int, work: Callable[[], object]) -> bool:
    """Do the work, and raise at the call of that number of a function written in Python, where CPython runs signal handlers.

    Returns:
        Whether the work had that many calls.
    """
    left = point + 1

    def called(
        frame: Any, _event: str, _: Any
    ) -> None:  # it is handed the frame that it interrupts, as a signal handler is
        nonlocal left
        left -= 1
        if left == 0:
            sys.settrace(None)
            raise Interrupt

    before = sys.gettrace()
    gc.disable()  # what it finalizes is none of the work
    sys.settrace(called)
    try:
        work()
    except Interrupt:
        return True
    finally:
        sys.settrace(before)
        gc.enable()
    return left <= 0


STARTS: dict[str, Callable[[], Any]] = {
    "Server, pooled": lambda: Pooled.start_link(name="it"),
    "Server, threaded": lambda: Threaded.start_link(name="it"),
    "Server, in time": lambda: Threaded.start_link(name="it", start_timeout=DEADLINE_S),
    "Supervisor": lambda: Supervisor.start_link([ChildSpec("it", Pooled, name="it")], name="sup"),
    "Supervisor, Pykka's": lambda: Supervisor.start_link([ChildSpec("it", Plain, name="it")], name="sup"),
    "DynamicSupervisor": lambda: DynamicSupervisor.start_link(name="sup"),
}


@pytest.mark.parametrize("start", STARTS.values(), ids=STARTS.keys())
def test_nothing_is_left_of_a_start_that_is_interrupted_anywhere(start: Any) -> None:
    for point in itertools.count():
        was = interrupted(point, start)
        if not was:
            assert point > 20
            break
        eventually(lambda: pykka.ActorRegistry.get_all() == [], f"the end of what was started, at {point}")
        eventually(lambda: registry._names.value.table == registry._names.value.awaited == {})


CALLS: dict[str, Callable[[Any], Any]] = {
    "call": lambda: call("it", "hello", DEADLINE_S),
    "call, awaiting a restart": lambda: call("it", "hello", DEADLINE_S, await_restart=True),
    "stop": lambda: stop("it", timeout=DEADLINE_S),
    "which_children": lambda: Supervisor.which_children("sup"),
    "tree": lambda: Supervisor.tree("sup"),
    "restart": lambda: (Supervisor.terminate_child("sup", "it"), Supervisor.restart_child("sup", "it")),
}


@pytest.mark.parametrize("ask", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("restarts", [False, True])
def test_nothing_waits_on_after_a_wait_that_is_interrupted_anywhere(ask: Any, restarts: bool, monkeypatch: Any) -> None:
    """The server is up again, and serves; no waiter is left at the old one."""
    spec = ChildSpec("it", Threaded, name="it", backoff=Backoff(0.002, 0.002))
    sup = Supervisor.start_link([spec], max_restarts=100_000, max_seconds=1.0, name="sup")
    olds: list[Any] = []
    for point in range(0, 400, 3):
        ref = registry.Succession("it", DEADLINE_S).await_owner().ref
        if restarts:
            kill(ref)
            olds.append(registry.process_of(ref))
        with contextlib.suppress(NoProcess, ServerDied):  # by a name that is being restarted; while a stop goes on
            if not interrupted(point, ask):
                break
        Supervisor.count_children(sup)
        if Supervisor.which_children(sup)[0].state == "stopped":
            Supervisor.restart_child(sup, "it")
        with contextlib.suppress(ServerDied):
            assert call("it", "alive", DEADLINE_S, await_restart=True) == "alive"
    assert not any(old.waiters for old in olds)


@every_handler
def test_it_passes_through_a_constructor_which_runs_on_the_main_thread(
    handler: Any, kind: type[BaseException], handled: None
) -> None:
    with pytest.raises(kind):
        Pooled.start_link({"__init__": lambda: signal.raise_signal(signal.SIGUSR1)})


@every_handler
def test_it_passes_through_a_monitors_callable_and_all_the_others_hear(
    handler: Any, kind: type[BaseException], handled: None
) -> None:
    ref, heard = Pooled.start_link(), []
    monitor(ref, lambda _: signal.raise_signal(signal.SIGUSR1))
    monitor(ref, heard.append)
    with pytest.raises(kind):
        kill(ref)
    assert len(heard) == 1


@pytest.mark.parametrize("cls", [Pooled, Threaded])
@pytest.mark.parametrize("hook", ["__init__", "on_start"])
def test_a_servers_own_exit_is_its_failure(cls: Any, hook: str) -> None:
    own = SystemExit(7)
    with pytest.raises(StartError) as failed:
        cls.start_link({hook: own})
    assert failed.value.cause is own


@pytest.mark.parametrize("cls", [Pooled, Threaded, Plain])
@pytest.mark.parametrize("base", [SystemExit, KeyboardInterrupt])
def test_a_childs_own_exit_is_its_failure(cls: Any, base: type[BaseException]) -> None:
    own = base()
    with pytest.raises(StartError) as failed:
        Supervisor.start_link([ChildSpec("it", cls, ({"on_start": own},))])
    assert failed.value.child_id == "it"
    assert failed.value.cause is own


def test_a_servers_own_exit_is_its_failure_where_it_asked_for_it_by_a_call_deeper_down() -> None:
    class Deep(Server):
        def __init__(self) -> None:
            super().__init__()
            leave(1, sys._getframe(1))  # a frame, but not the one that called it

    with pytest.raises(StartError):
        Deep.start_link()


def test_only_the_main_thread_is_interrupted() -> None:
    """No other thread runs signal handlers; what is raised there is somebody's own."""
    found: list[bool] = []

    def look() -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            found.append(is_interrupt(error))

    with run(look):
        pass
    assert found == [False]


def test_an_exception_that_was_never_raised_is_no_interrupt(world: World) -> None:
    assert not is_interrupt(SystemExit(7))
    with contextlib.suppress(Boom):
        raise Boom
    assert not is_interrupt(Boom())
