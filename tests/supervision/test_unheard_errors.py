"""An exception that goes to a caller who may never look at it is logged as Pykka does, whoever runs the actor."""

import logging
import threading
import traceback
from collections.abc import Callable
from typing import Any

import pykka
import pytest
from actors import Boom
from threads import DEADLINE_S, eventually

from supervision import CallTimeout, ChildSpec, DynamicSupervisor, Server, Supervisor, call, monitor, whereis


class Works:
    """Fails in a proxy call, in an attribute, and on any message."""

    def work(self) -> None:
        raise Boom("lost")

    @property
    def figure(self) -> int:
        raise Boom("lost")

    def on_receive(self, message: Any) -> Any:
        if callable(message):
            message()
        raise Boom("lost")


class Plain(Works, pykka.ThreadingActor):
    use_daemon_thread = True


class GoesOn(Works, Server):
    crash_on_call_error = False


class GoesOnItsOwnThread(GoesOn):
    runtime = "thread"


class Crashes(Works, Server):
    pass


def supervised(cls: Any) -> Any:
    return Supervisor.which_children(Supervisor.start_link([ChildSpec("it", cls)]))[0].ref


def named(cls: Any) -> Any:
    Supervisor.start_link([ChildSpec("it", cls, name="it")])
    return whereis("it")


def dynamic(cls: Any) -> Any:
    return DynamicSupervisor.start_child(DynamicSupervisor.start_link(), ChildSpec("it", cls))


def monitored(cls: Any) -> Any:
    ref = dynamic(cls)
    monitor(ref, lambda _: None)
    return ref


def by_callable(cls: Any) -> Any:
    return Supervisor.which_children(Supervisor.start_link([ChildSpec("it", lambda: cls.start())]))[0].ref


def by_pykka(cls: Any) -> Any:
    return cls.start()


def linked(cls: Any) -> Any:
    return cls.start_link()


STARTS: list[Any] = [supervised, named, dynamic, monitored, by_callable, by_pykka]
KINDS = [
    *((start, cls) for cls in (Plain, GoesOn, GoesOnItsOwnThread, Crashes) for start in STARTS),
    *((linked, cls) for cls in (GoesOn, GoesOnItsOwnThread, Crashes)),
]
every_kind = pytest.mark.parametrize(
    ("start", "cls"), KINDS, ids=[f"{start.__name__} {cls.__name__}" for start, cls in KINDS]
)

ASKS: dict[str, Callable[[Any], Any]] = {
    "proxy call": lambda ref: ref.proxy().work(),
    "attribute": lambda ref: ref.proxy().figure,
    "ask": lambda ref: ref.ask("message", block=False),
}


def records(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == "pykka" and record.levelno == logging.INFO]


@every_kind
@pytest.mark.parametrize("ask", ASKS.values(), ids=ASKS.keys())
def test_one_record_as_pykkas(start: Any, cls: Any, ask: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pykka")
    ref = start(cls)
    ask(ref)
    eventually(lambda: bool(records(caplog)), "a record")
    (record,) = records(caplog)
    assert record.getMessage() == f"Exception returned from {ref} to caller:"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], Boom)
    shown = "".join(traceback.format_exception(record.exc_info[1]))  # the text of caplog is written after its list
    assert any(f"in {function}\n" in shown for function in ("work", "figure", "on_receive"))


@every_kind
def test_it_is_logged_before_the_asker_has_it(start: Any, cls: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pykka")
    with pytest.raises(Boom):
        start(cls).proxy().work().get(timeout=DEADLINE_S)
    assert len(records(caplog)) == 1


@pytest.mark.parametrize("cls", [Plain, GoesOn, GoesOnItsOwnThread])
def test_a_call_whose_caller_waits_has_it_and_nothing_is_logged(cls: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pykka")
    ref = dynamic(cls)
    with pytest.raises(Boom):
        call(ref, "message")
    assert not records(caplog)


@pytest.mark.parametrize("cls", [Plain, GoesOn, GoesOnItsOwnThread])
def test_a_call_whose_caller_has_left_is_logged(cls: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pykka")
    ref, late = dynamic(cls), threading.Event()
    with pytest.raises(CallTimeout):
        call(ref, lambda: late.wait(DEADLINE_S), timeout=0.01)
    assert not records(caplog)
    late.set()
    eventually(lambda: len(records(caplog)) == 1, "a record")
