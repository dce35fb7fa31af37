"""Ending a supervised actor so that it stays away: its supervisor ends it, as on ``terminate_child``."""

from __future__ import annotations

from typing import Any

import pykka

from supervision.calls import stop
from supervision.child_spec import check_seconds
from supervision.errors import CallTimeout, ChildNotFound
from supervision.process import life_of, must_outlive_caller, supervises
from supervision.supervising import Parent, ask

__all__ = ["stop_for_good", "supervisor_of"]


def supervisor_of(ref: pykka.ActorRef[Any]) -> pykka.ActorRef[Any] | None:
    """The supervisor that an actor was started by, alive or not; ``None`` where no supervisor started it."""
    life = life_of(ref)
    starter = None if life is None else life.starter
    return starter.ref if starter is not None and supervises(starter) else None


def stop_for_good(ref: pykka.ActorRef[Any], *, timeout: float | None = 5.0) -> None:
    """Stop an actor: at its supervisor, which does not restart it and counts nothing, else as ``stop`` does.

    Args:
        ref: the actor; one that its supervisor is about to restart is not restarted.
        timeout: seconds to wait, ``None`` for no limit.

    Raises:
        NoProcess: it has ended and nobody would start it again, or its supervisor has ended.
        ServerDied: its supervisor ended meanwhile, and the actor with it.
        CallTimeout: not down in time; the stop goes on.
        SupervisionError: the calling thread is in the actor, in its supervisor, or in an actor that this one waits for.
    """
    if timeout is not None:
        check_seconds("timeout", timeout)
    life, supervisor = life_of(ref), supervisor_of(ref)
    if supervisor is None or life is None or must_outlive_caller(life):  # the last of which `stop` refuses
        stop(ref, timeout=timeout)
        return
    try:
        ask(supervisor, Parent, "terminate_ref", ref, timeout)
    except ChildNotFound:  # forgotten since it ended, or started in a start callable that returned another actor
        stop(ref, timeout=timeout)
    except CallTimeout:
        raise CallTimeout(ref, timeout or 0.0, stopping=True) from None
