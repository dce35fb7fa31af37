"""Monitors: exactly one ``Down`` for each, whatever way the actor ends (OTP, ``erlang:monitor/2``)."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeAlias, cast

import pykka
from pykka._envelope import Envelope

from supervision.errors import NoProcess
from supervision.exits import NOPROC, Reason
from supervision.lifecycle import Mailbox, life_of
from supervision.messages import Down
from supervision.registry import ServerName, find
from supervision.reports import report

__all__ = ["Monitor", "Watcher", "demonitor", "monitor"]

Watcher: TypeAlias = "pykka.ActorRef[Any] | Callable[[Down], None]"

_delivering = threading.Lock()  # guards every monitor's `_down` and `_cancelled`; held for a few instructions only


class Monitor:
    """One watch over one incarnation; ``ref`` is the actor watched."""

    __slots__ = ("_cancelled", "_down", "_watcher", "ref")

    def __init__(self, ref: Any, watcher: Watcher) -> None:
        self.ref = ref
        self._watcher = watcher
        self._down: Down | None = None
        self._cancelled = False

    def __repr__(self) -> str:
        return f"<Monitor of {self.ref}>"

    def deliver(self, reason: Reason) -> None:
        """Tell the watcher, once, unless it has lost interest."""
        with _delivering:
            if self._cancelled or self._down is not None:
                return
            down = self._down = Down(self, self.ref, reason)
            if isinstance(self._watcher, pykka.ActorRef):
                # Inside the lock, so that a demonitor either prevents it or finds it in the mailbox.
                _mailbox_of(self._watcher).offer(Envelope(down))
                return
        try:
            self._watcher(down)
        except Exception as error:  # noqa: BLE001 - a watcher's error must not keep the others from hearing
            report("error", "watcher_failed", actor=str(self.ref), exc_info=error)

    def cancel(self) -> None:
        """Lose interest, and take back what is in the watcher's mailbox."""
        with _delivering:
            self._cancelled = True
            down = self._down
        if down is not None and isinstance(self._watcher, pykka.ActorRef):
            _mailbox_of(self._watcher).discard(down)


def _mailbox_of(watcher: pykka.ActorRef[Any]) -> Mailbox:
    """The mailbox of a watcher, which ``monitor`` has made sure is ours."""
    return cast(Mailbox, watcher.actor_inbox)


def monitor(ref: ServerName, watcher: Watcher) -> Monitor:
    """Watch an actor.

    Args:
        ref: the actor, by ref or by name; one that is gone already gives a ``Down`` with ``NOPROC`` at once.
        watcher: an ``ActorRef``, which gets the ``Down`` as a message, or a callable. A callable runs on the thread that
            ended the actor (its own, or that of whoever killed it); it must be quick, and an exception of it is logged.

    Raises:
        NoProcess: the watcher is an actor that has ended, or the name is unknown.
    """
    if isinstance(watcher, pykka.ActorRef):
        if life_of(watcher) is None:
            raise NoProcess(watcher)
    elif not callable(watcher):
        raise TypeError(f"watcher: expected an ActorRef or a callable that takes a Down, got {watcher!r}")
    life = find(ref)
    made = Monitor(ref if life is None else life.ref, watcher)
    if life is None or not life.attach(made):
        made.deliver(NOPROC)
    return made


def demonitor(monitor: Monitor) -> None:
    """End a watch; a ``Down`` already in the watcher's mailbox is discarded. Idempotent."""
    monitor.cancel()
    life = find(monitor.ref)
    if life is not None:
        life.detach(monitor)
