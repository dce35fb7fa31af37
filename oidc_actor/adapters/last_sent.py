"""What a thread or a task has sent last, for libraries that tell of a refusal but not of which token."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final

from oidc_actor.adapters.presenter import Presenter

_last: Final[ContextVar[tuple[Presenter, str, str] | None]] = ContextVar("oidc_actor_last_sent", default=None)
"""Whose it was, where it went, the header's value; each thread and each task has its own."""


def note_sent(presenter: Presenter, origin: str, value: str) -> None:
    """Note what is about to be sent.

    Args:
        presenter: Whose token.
        origin: The server that gets it.
        value: The value of ``Authorization``.
    """
    _last.set((presenter, origin, value))


def take_sent(presenter: Presenter) -> tuple[str, str] | None:
    """Return origin and value of what was sent last here, once; ``None`` where that was another's, or nothing."""
    found = _last.get()
    if found is None or found[0] is not presenter:
        return None
    _last.set(None)
    return found[1:]
