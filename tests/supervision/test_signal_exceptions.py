"""What a signal handler raises passes through every function that waits, and is nobody's failure."""

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pytest
from actors import Boom, Plain, Pooled, Threaded
from children import World
from threads import DEADLINE_S, eventually, run

from supervision import (
    ChildSpec,
    DynamicSupervisor,
    Server,
    StartError,
    Supervisor,
    call,
    kill,
    monitor,
    stop,
    whereis,
)
from supervision.process.process import abandoned_count
from supervision.runtime.reports import is_interrupt


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
