"""Actors of every kind that does what a test says in each of its hooks, and ways to bring one up.

The kinds: ``pooled`` and ``threaded`` are servers; ``managed`` is an unmodified ``pykka.ThreadingActor`` class started by a
supervisor; ``raw`` is one that Pykka starts, in a supervisor's start callable.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pykka
import pytest
from children import ref_of

from supervision import ChildSpec, DynamicSupervisor, Server, Supervisor

SERVERS = ("pooled", "threaded")
PLAIN = ("managed", "raw")
KINDS = SERVERS + PLAIN


a_thread_may_die = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


class Boom(Exception):
    """What goes wrong in these tests."""


class _Specimen:
    """``does`` maps a hook's name to an exception to raise or a callable to run there; ``ran`` is a log of the hooks."""

    def __init__(self, does: dict[str, Any] | None = None, ran: list[Any] | None = None) -> None:
        super().__init__()
        self.does = does or {}
        self.ran = [] if ran is None else ran
        self._do("__init__")

    def _do(self, hook: str, *args: Any) -> None:
        self.ran.append(hook)
        action = self.does.get(hook)
        if isinstance(action, BaseException):
            raise action
        if action is not None:
            action(*args)

    def on_start(self) -> None:
        self._do("on_start")

    def on_receive(self, message: Any) -> Any:
        """Raise an exception, call a callable with the actor, return anything else."""
        if isinstance(message, BaseException):
            raise message
        return message(self) if callable(message) else message


class Pooled(_Specimen, Server):
    def on_continue(self) -> None:
        self._do("on_continue")

    def on_terminate(self, reason: Any) -> None:
        self._do("on_terminate", reason)


class Threaded(Pooled):
    runtime = "thread"


class Plain(_Specimen, pykka.ThreadingActor):
    use_daemon_thread = True

    def on_stop(self) -> None:
        self._do("on_stop")

    def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
        self._do("on_failure", exception_value)


CLASSES: dict[str, Any] = {"pooled": Pooled, "threaded": Threaded, "managed": Plain, "raw": Plain}


def spawn(kind: str, does: dict[str, Any] | None = None, ran: list[Any] | None = None) -> Any:
    """Bring one up; raises what the way of starting that kind raises."""
    if kind in SERVERS:
        return CLASSES[kind].start_link(does, ran)
    return ref_of(Supervisor.start_link([ChildSpec("it", CHILDREN[kind], (does, ran), restart="temporary")]), "it")


def begin(cls: Any, *args: Any, sup: Any = None) -> Any:
    """Start an actor of any class so that it can be watched: a server by itself, a plain one under a supervisor."""
    if issubclass(cls, Server):
        return cls.start_link(*args)
    sup = DynamicSupervisor.start_link() if sup is None else sup
    return DynamicSupervisor.start_child(sup, ChildSpec(cls.__name__, cls, args, restart="temporary"))


def end_hooks(ran: list[Any]) -> list[Any]:
    """Those hooks in a log that run at an end."""
    return [hook for hook in ran if hook in ("on_terminate", "on_stop", "on_failure")]


CHILDREN: dict[str, Any] = {
    "pooled": Pooled,
    "threaded": Threaded,
    "managed": Plain,
    "raw": lambda *args: Plain.start(*args),  # started by a callable, as an existing system has it
}
BASES = [SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit]

every_kind = pytest.mark.parametrize("kind", KINDS)
every_server = pytest.mark.parametrize("kind", SERVERS)
every_plain = pytest.mark.parametrize("kind", PLAIN)
every_child = pytest.mark.parametrize("cls", CHILDREN.values(), ids=CHILDREN.keys())
every_base = pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)


class Watcher:
    """Collects what it is sent; on either kind of actor."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    def on_receive(self, message: Any) -> Any:
        if message == "heard":
            return list(self.heard)
        if callable(message):
            return message(self)
        self.heard.append(message)
        return None


class PooledWatcher(Watcher, Server):
    pass


class PlainWatcher(Watcher, pykka.ThreadingActor):
    use_daemon_thread = True


every_watcher = pytest.mark.parametrize("watcher", [PooledWatcher, PlainWatcher])


__all__ = [
    "BASES",
    "CHILDREN",
    "CLASSES",
    "KINDS",
    "PLAIN",
    "SERVERS",
    "Boom",
    "Plain",
    "PlainWatcher",
    "Pooled",
    "PooledWatcher",
    "Threaded",
    "Watcher",
    "begin",
    "end_hooks",
    "every_base",
    "every_child",
    "every_kind",
    "every_plain",
    "every_server",
    "every_watcher",
    "spawn",
]


def no_raw_thread() -> bool:
    """Whether every thread of a plain actor has come to its end, and whatever it dies of been reported."""
    return not any(thread.name.startswith("Plain") for thread in threading.enumerate())


def raised(function: Callable[..., object], *args: object) -> type[BaseException] | None:
    """What a call raises."""
    try:
        function(*args)
    except BaseException as error:
        return type(error)
    return None
