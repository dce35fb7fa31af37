"""Names for actors (Elixir's unique ``Registry``): looked up at every send, free before anyone hears of a death."""

from __future__ import annotations

from typing import Any, TypeAlias

import pykka

from supervision.errors import NoProcess, SupervisionError
from supervision.process import Life, current, is_stranger, life_of, names

__all__ = [
    "ServerName",
    "find",
    "is_current",
    "refuse_stranger",
    "register",
    "stranger",
    "unregister",
    "whereis",
]

ServerName: TypeAlias = "pykka.ActorRef[Any] | str"


def register(name: str, ref: pykka.ActorRef[Any]) -> None:
    """Give a live actor a name; it may hold several.

    Raises:
        TypeError: the name is no text, or the ref no ``ActorRef``.
        ValueError: the name is empty.
        AlreadyStarted: the name has a live owner, this very actor included; ``.ref`` is that owner.
        NoProcess: the actor has ended.
        SupervisionError: it was started by Pykka alone, which frees no name at its end.
    """
    check_name(name)
    life = find(ref)
    if life is None:
        refuse_stranger(ref, "named")
        raise NoProcess(ref)
    names.claim(name, life)


def unregister(name: str) -> None:
    """Free a name; silent where there is nothing.

    Without effect in the abandoned handler of a killed actor: the name may be its successor's by now.
    """
    caller = current()
    if caller is None or not caller.abandoned:
        names.forget(name)


def whereis(name: str) -> pykka.ActorRef[Any] | None:
    """The live actor behind a name, or ``None``."""
    life = names.lookup(name)
    return None if life is None else life.ref


def is_current(ref: pykka.ActorRef[Any] | None) -> bool:
    """Whether the calling thread is in a handler or hook of that very actor, or in a finalizer that the collector runs there."""
    caller = current()
    return caller is not None and caller.ref is ref


def find(server: ServerName) -> Life | None:
    """The life behind a ref or a name, ``None`` where there is nothing alive, or a ``stranger``."""
    if isinstance(server, str):
        found: Life | None = names.lookup(server)
        return found
    if not isinstance(server, pykka.ActorRef):
        raise TypeError(f"server: expected a pykka.ActorRef or a name, got {server!r}")
    life = life_of(server)
    return None if life is None or life.is_ended else life


def stranger(server: ServerName) -> pykka.ActorRef[Any] | None:
    """The ref, where it is one of a running actor that Pykka alone has started; only what ``find`` does not find can be."""
    return server if isinstance(server, pykka.ActorRef) and is_stranger(server) else None


def refuse_stranger(server: ServerName, what: str) -> None:
    """Raise ``SupervisionError`` where that is what it is; ``what`` says what it cannot be."""
    ref = stranger(server)
    if ref is not None:
        cls = ref.actor_class.__name__
        raise SupervisionError(
            f"{ref} was started by Pykka alone and cannot be {what}: start it as a child, "
            f"DynamicSupervisor.start_child(sup, ChildSpec(id, {cls}, args)) or in the list of Supervisor.start_link"
        )


def check_name(name: object) -> None:
    """Raise unless it can be a name."""
    if not isinstance(name, str):
        raise TypeError(f"name: expected a non-empty str, got {name!r}")
    if not name:
        raise ValueError("name: expected a non-empty str, got an empty one")
