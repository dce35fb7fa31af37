"""Nothing that logging raises ends an actor, or keeps its end from being told, wherever in logging it is raised."""

import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from actors import Plain, Pooled, Threaded, every_child
from children import Watch
from holding import Gate
from threads import DEADLINE_S, run

from supervision import ChildSpec, DynamicSupervisor, Server, Supervisor, call, cast, kill, monitor, stop
from supervision.exits import KILLED, Crash
from supervision.runtime.reports import report


class GreenletExit(BaseException):
    """As gevent has it."""


RAISED = [SystemExit, KeyboardInterrupt, MemoryError, GeneratorExit, GreenletExit, OSError]
every_raised = pytest.mark.parametrize("raised", RAISED)


class BrokenHandler(logging.Handler):
    def __init__(self, raised: type[BaseException]) -> None:
        super().__init__()
        self.raised = raised
        self.called = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.called += 1
        raise self.raised


def as_filter(raised: type[BaseException], broken: BrokenHandler) -> logging.Handler:
    handler = logging.NullHandler()
    handler.addFilter(broken.emit)  # type: ignore[arg-type]
    handler.handle = logging.Handler.handle.__get__(handler)  # type: ignore[method-assign]
    return handler


def as_formatter(raised: type[BaseException], broken: BrokenHandler) -> logging.Handler:
    class Formats(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            self.format(record)

    handler, formatter = Formats(), logging.Formatter()
    formatter.format = broken.emit  # type: ignore[method-assign, assignment]
    handler.setFormatter(formatter)
    return handler


PLACES: dict[str, Callable[..., logging.Handler]] = {
    "handler": lambda raised, broken: broken,
    "filter": as_filter,
    "formatter": as_formatter,
}


@pytest.fixture(params=PLACES.keys())
def broken(
    request: pytest.FixtureRequest, raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> Iterator[BrokenHandler]:
    """Everything that is logged, by us or by Pykka, ends in that exception."""
    monkeypatch.setattr(logging, "raiseExceptions", False)  # or all of it is printed
    made = BrokenHandler(raised)
    handler = PLACES[request.param](raised, made)
    root = logging.getLogger()
    before = root.level, root.handlers
    root.handlers = [handler]
    root.setLevel(1)
    yield made
    root.level, root.handlers = before


@every_raised
@pytest.mark.parametrize("cls", [Pooled, Threaded, Plain])
def test_a_child_that_crashes_comes_back(cls: Any, broken: BrokenHandler, raised: type[BaseException]) -> None:
    up: list[Any] = []
    started = threading.Semaphore(0)

    def on_start() -> None:
        up.append(1)
        started.release()

    sup = Supervisor.start_link([ChildSpec("it", cls, ({"on_start": on_start},), name="it")])
    assert started.acquire(timeout=DEADLINE_S)
    cast("it", ValueError())
    assert started.acquire(timeout=DEADLINE_S)
    assert Supervisor.count_children(sup).active == 1  # asked after the restart, so the supervisor is through with it
    assert broken.called
    Supervisor.stop(sup, timeout=DEADLINE_S)


@every_raised
def test_hooks_run_and_the_end_is_told(broken: BrokenHandler, raised: type[BaseException]) -> None:
    ran: list[Any] = []
    sup = DynamicSupervisor.start_link()
    ref = DynamicSupervisor.start_child(sup, ChildSpec("it", Plain, (None, ran), restart="temporary"))
    watch, error = Watch(ref), ValueError()
    cast(ref, error)
    assert watch.reason() == Crash(error)
    assert "on_failure" in ran


@every_raised
def test_an_abandoned_thread_is_reported_and_everybody_hears(
    broken: BrokenHandler, raised: type[BaseException]
) -> None:
    def kills() -> None:
        with Gate() as stuck:
            ref = Threaded.start_link()
            watch = Watch(ref)
            stuck.grip(ref)
            kill(ref)
            assert watch.reason() == KILLED

    with run(kills):
        pass
    assert broken.called


@every_raised
def test_a_message_nobody_expected_is_answered(broken: BrokenHandler, raised: type[BaseException]) -> None:
    ref = Server.start_link()
    assert call(ref, "unexpected") is None
    stop(ref)


@every_raised
def test_what_stands_for_stderr_may_be_broken_too(
    broken: BrokenHandler, raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream:
        def write(self, text: str) -> None:
            raise raised

    monkeypatch.setattr(logging, "raiseExceptions", True)
    monkeypatch.setattr(sys, "stderr", Stream())
    with run(lambda: report("error", "child_ended", child="a")):
        pass
    assert broken.called


@every_raised
def test_a_structlog_processor(raised: type[BaseException]) -> None:
    called: list[Any] = []

    def process(*event: Any) -> Any:
        called.append(event)
        raise raised

    structlog.configure(processors=[process])
    try:
        with run(lambda: report("error", "child_ended", child="a")):
            pass
    finally:
        structlog.reset_defaults()
    assert called


@every_raised
def test_on_the_main_thread_too(broken: BrokenHandler, raised: type[BaseException]) -> None:
    report("error", "child_ended", child="a")
    assert broken.called


@every_child
def test_a_signal_handler_that_interrupts_logging_passes_and_everybody_hears(cls: Any) -> None:
    class Interrupted(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if threading.current_thread() is threading.main_thread():
                signal.raise_signal(signal.SIGUSR1)

    def leave(*_: Any) -> None:
        sys.exit(7)

    sup = DynamicSupervisor.start_link()
    ref = DynamicSupervisor.start_child(sup, ChildSpec("it", cls, restart="temporary"))
    heard = threading.Event()
    monitor(ref, lambda _: heard.set())
    logger, handler, before = logging.getLogger("supervision"), Interrupted(), signal.signal(signal.SIGUSR1, leave)
    try:
        with Gate() as stuck:
            stuck.grip(ref)
            logger.addHandler(handler)
            with pytest.raises(SystemExit):
                kill(ref)
            logger.removeHandler(handler)
            assert heard.is_set()
    finally:
        logger.removeHandler(handler)
        signal.signal(signal.SIGUSR1, before)
