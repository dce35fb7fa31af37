"""Which actor the calling thread is in, and which waits on its part could only deadlock."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from supervision.process.process import Life

__all__ = [
    "current",
    "is_awaited_by_caller",
    "must_outlive_caller",
    "set_current",
    "supervises",
    "supervisors_of_caller",
]


class _OfThread(threading.local):
    life: Life | None = None


_this = _OfThread()


def current() -> Life | None:
    """The life whose handler or hook the calling thread is in."""
    return _this.life


def set_current(life: Life | None) -> None:
    """The calling thread begins or ends a turn of an actor."""
    _this.life = life


def is_awaited_by_caller(life: Life) -> bool:
    """Whether the calling thread is in that very actor, or in one whose start or end that actor waits for."""
    waiting = _this.life
    if waiting is None or waiting is life:
        return waiting is life
    seen = {waiting}
    while True:
        waiting = waiting.waited_for_by
        if waiting is None or waiting in seen:  # two may be stopping each other
            return False
        if waiting is life:
            return True
        seen.add(waiting)


def supervises(life: Life) -> bool:
    """Whether that actor is a supervisor."""
    return bool(getattr(life.ref.actor_class, "supervises", False))


def supervisors_of_caller() -> list[Life]:
    """The supervisor that the calling thread is in, the one that has started that one, and so on to the top; maybe none."""
    above: list[Life] = []
    life = _this.life
    while life is not None and life not in above and supervises(life):
        above.append(life)
        life = life.starter
    return above


def must_outlive_caller(life: Life) -> bool:
    """Whether a wait for that actor's end could only deadlock: it is the caller, its supervisor, or waits for it."""
    if is_awaited_by_caller(life):
        return True
    caller = _this.life
    # Once it has ended, nobody waits for what its watchers do on its thread.
    starter = None if caller is None or caller.is_ended else caller.starter
    while starter is not None and supervises(starter):
        if starter is life:
            return True
        starter = starter.starter
    return False
