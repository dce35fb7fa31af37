"""Whether an actor that has ended may still be started again, for whoever keeps something for its successor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary, WeakSet

from supervision.process import Phase, life_of

__all__ = ["give_up", "may_return", "when_given_up"]

Heir: TypeAlias = Callable[[Any, bool], object]

_given_up: WeakSet[Any] = WeakSet()  # refs of the last incarnations of what nobody starts again
_heirs: WeakKeyDictionary[Any, Heir] = WeakKeyDictionary()


def may_return(ref: Any, *, forked: bool = False) -> bool:
    """Whether an actor is alive, or has ended and may be started again, by its supervisor or together with that one.

    Args:
        ref: the actor.
        forked: in a forked child, whether to answer as the parent process would have.
    """
    life = life_of(ref)
    while life is not None:
        if not (life.phase is Phase.ENDED if forked else life.is_ended):
            return True
        if life.ref in _given_up:
            return False
        life = life.starter
    return False


def when_given_up(ref: Any, tell: Heir) -> None:
    """Have somebody told when it turns out, after an actor's end, that its supervisor does not start it again.

    Args:
        ref: the actor; one that is stopped while it runs hears of that itself.
        tell: called on the supervisor's thread with the ref, and whether that was asked for (a stop, ``terminate_child``) or
            is in its specification. It must neither block, nor raise, nor keep the ref.
    """
    _heirs[ref] = tell


def give_up(ref: Any, *, asked: bool) -> None:
    """Its supervisor says that an actor, which has ended, is not started again."""
    if ref is None:
        return
    _given_up.add(ref)
    tell = _heirs.get(ref)
    if tell is not None:
        tell(ref, asked)
