"""What a handler's or hook's outcome means, for our ``Server`` and for an unmodified Pykka actor.

=======================  ========================================  =================================================
raised in a handler      under ``cast``/``tell``                   under ``call``/``ask``
=======================  ========================================  =================================================
nothing                  -                                         the value is the answer
``Exit(reason)``         ends with the reason                      the same; the caller hears of the end
an ``Exception``         crash                                     the caller gets it; a ``Server`` crashes, too, unless
                                                                   ``crash_on_call_error`` is false; others live on
any ``BaseException``    crash of this actor only                  the same; the caller hears of the end
=======================  ========================================  =================================================

Pykka lets a ``BaseException`` stop every actor of the process, or leave a registered zombie; here it is a crash.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from supervision.exits import NORMAL, Exit, Ignore, Reason, is_orderly, reason_of
from supervision.messages import ExitSignal, Withdrawable
from supervision.process.replies import Reply, answer, answer_dead, answer_error
from supervision.runtime.reports import harmless, report, returned_to_caller

if TYPE_CHECKING:
    from supervision.process.process import Life

__all__ = ["BATCH", "PykkaStyle", "ServerStyle", "Style", "handle", "start"]

BATCH = 16


class Style(Protocol):
    """Which hooks an actor has, and what an error under a call means to it."""

    def crashes_on_call_error(self, actor: Any) -> bool:
        """Whether an exception that its caller gets ends the actor, too."""

    def run_continue(self, actor: Any) -> None:
        """After a good start, before any message; what it raises is a crash."""

    def run_end_hooks(self, life: Life, reason: Reason, failure: BaseException | None) -> None:
        """At the end; never raises."""


class ServerStyle:
    """A ``Server``: ``on_continue``, ``on_terminate``; alive to others until that is done, as a GenServer is."""

    def crashes_on_call_error(self, actor: Any) -> bool:
        return bool(actor.crash_on_call_error)

    def run_continue(self, actor: Any) -> None:
        actor.on_continue()

    def run_end_hooks(self, life: Life, reason: Reason, failure: BaseException | None) -> None:
        if failure is not None and not is_orderly(reason):
            report("error", "server_crashed", actor=str(life.ref), reason=str(reason), exc_info=failure)
        actor = life.actor
        if actor is None:  # killed this very moment
            return
        try:
            actor.on_terminate(reason)
        except BaseException as error:  # noqa: BLE001 - an end hook changes neither the reason nor the number of Downs
            report("error", "end_hook_failed", actor=str(life.ref), hook="on_terminate", exc_info=error)


class PykkaStyle:
    """A ``pykka.ThreadingActor``: its own hooks, dead to others before they run, as Pykka has it."""

    def crashes_on_call_error(self, actor: Any) -> bool:
        return bool(getattr(actor, "crash_on_call_error", False))

    def run_continue(self, actor: Any) -> None:
        """Pykka has no such hook."""

    def run_end_hooks(self, life: Life, reason: Reason, failure: BaseException | None) -> None:
        life.mailbox.refuse_more()
        actor = life.actor
        if actor is None:  # killed this very moment
            return
        hook = "on_stop" if is_orderly(reason) else "on_failure"
        try:
            if hook == "on_stop":
                actor.on_stop()
                return
            failure = failure or getattr(reason, "exception", None) or Exit(reason)
            raised = (type(failure), failure, failure.__traceback__)
            with harmless:
                actor._handle_failure(*raised)  # Pykka's own log record
            actor.on_failure(*raised)
        except BaseException as error:  # noqa: BLE001 - an end hook changes neither the reason nor the number of Downs
            report("error", "end_hook_failed", actor=str(life.ref), hook=hook, exc_info=error)


def start(life: Life) -> None:
    """Run ``on_start`` and ``on_continue``."""
    actor = life.actor
    if actor is None:  # killed before its first turn
        return
    try:
        actor.on_start()
    except Ignore as ignored:
        life.finish(NORMAL, ignored)
        return
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is this start that failed
        nobody_waits = life.handshake is None
        if life.finish(reason_of(error), error) and nobody_waits:
            report("error", "start_failed", actor=str(life.ref), exc_info=error)
        return
    if not life.has_started():
        return
    try:
        life.style.run_continue(actor)
    except BaseException as error:  # noqa: BLE001 - a crash of this actor only
        life.end(reason_of(error), error)


def handle(life: Life, envelope: Any) -> None:
    """Handle one envelope to its end, the answer and, where it comes to that, the actor's end included."""
    message, reply_to = envelope.message, envelope.reply_to
    if life.mailbox.is_stop(message):
        life.end(NORMAL)
        if reply_to is not None:
            answer(reply_to, None)
    elif isinstance(message, ExitSignal):
        life.waited_for_by, life.ends_for_restart = message.sender, message.for_restart
        life.end(message.reason)
    elif isinstance(message, Withdrawable):
        if message.claim():
            _receive(life, message.message, reply_to)
    else:
        _receive(life, message, reply_to)


def _receive(life: Life, message: Any, reply_to: Any) -> None:
    actor = life.actor
    if actor is None:  # killed this very moment
        if reply_to is not None:
            answer_dead(reply_to, life.ref, life.reason)
        return
    try:
        value = actor._handle_receive(message)
    except BaseException as error:  # noqa: BLE001 - judged in the table above
        _failed(life, actor, error, reply_to)
    else:
        if reply_to is not None:
            answer(reply_to, value)


def _failed(life: Life, actor: Any, error: BaseException, reply_to: Any) -> None:
    if reply_to is None:
        life.end(reason_of(error), error)
    elif isinstance(error, Exit) or not isinstance(error, Exception):
        life.end(reason_of(error), error)
        answer_dead(reply_to, life.ref, life.reason)
    else:
        if not isinstance(reply_to, Reply) or reply_to.deserted:
            returned_to_caller(actor, error)
        if life.style.crashes_on_call_error(actor):
            life.end(reason_of(error), error)
        answer_error(reply_to, error)
