"""Monitors: exactly one ``Down`` for each, whatever way the actor ends (OTP, ``erlang:monitor/2``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, cast

import pykka
from pykka._envelope import Envelope

from supervision.errors import NoProcess
from supervision.exits import NOPROC, Reason
from supervision.messages import Down, Withdrawable
from supervision.process import Mailbox
from supervision.registry import ServerName, find, refuse_stranger
from supervision.runtime.reports import report
from supervision.runtime.waits import is_interrupt

__all__ = ["Monitor", "Watcher", "demonitor", "monitor"]

Watcher: TypeAlias = "pykka.ActorRef[Any] | Callable[[Down], None]"


class Monitor(Withdrawable):
    """One watch over one incarnation; ``ref`` is the actor watched."""

    __slots__ = ("_cancelled", "_watcher", "ref")

    def __init__(self, ref: Any, watcher: Watcher) -> None:
        super().__init__(None)
        self.ref = ref
        self._watcher = watcher
        self._cancelled = False

    def __repr__(self) -> str:
        return f"<Monitor of {self.ref}>"

    @property
    def foreign(self) -> bool:
        """Whether to tell the watcher is to run its own code."""
        return not isinstance(self._watcher, pykka.ActorRef)

    def deliver(self, reason: Reason) -> None:
        """Tell the watcher, unless it has lost interest. A life calls this once at most."""
        if self._cancelled:
            return
        self.message = Down(self, self.ref, reason)
        if isinstance(self._watcher, pykka.ActorRef):
            _mailbox_of(self._watcher).offer(Envelope(self))  # itself, so that demonitor still reaches it there
            return
        try:
            self._watcher(self.message)
        except BaseException as error:  # a watcher's error must not keep the others from hearing
            if is_interrupt(error):
                raise  # a Ctrl-C, say, while the main thread was killing an actor
            report("error", "watcher_failed", actor=str(self.ref), exc_info=error)

    def claim(self) -> bool:
        """Whether the watcher still wants its ``Down``; asked when it is its turn in the mailbox."""
        return not self._cancelled

    def cancel(self) -> None:
        """Lose interest, also in what lies in the watcher's mailbox already."""
        self._cancelled = True


def _mailbox_of(watcher: pykka.ActorRef[Any]) -> Mailbox:
    """The mailbox of a watcher, which ``monitor`` has made sure is ours."""
    return cast(Mailbox, watcher.actor_inbox)


def monitor(ref: ServerName, watcher: Watcher) -> Monitor:
    """Watch an actor.

    Args:
        ref: the actor, by ref or by name; one that is gone already gives a ``Down`` with ``NOPROC`` at once.
        watcher: an ``ActorRef``, which gets the ``Down`` as a message, or a callable. Callables run one after the other, when
            watching actors and supervisors know. They run on the thread of the actor's last turn (its own, or a worker of the
            pool); after a ``kill`` on the caller's; on a worker of the pool where a supervisor or a start timeout has killed
            the actor; and on the thread that calls this where the actor was gone already. One that blocks delays those after
            it; an exception is logged. One that is running already is not stopped by ``demonitor``.

    Raises:
        NoProcess: the watcher is an actor that has ended, or the name is unknown.
        SupervisionError: one of them was started by Pykka alone, which tells nobody of an end.
    """
    if isinstance(watcher, pykka.ActorRef):
        if find(watcher) is None:
            refuse_stranger(watcher, "told of an end")
            raise NoProcess(watcher)
    elif not callable(watcher):
        raise TypeError(f"watcher: expected an ActorRef or a callable that takes a Down, got {watcher!r}")
    life = find(ref)
    if life is None:
        refuse_stranger(ref, "monitored")
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
