"""One listener that is told of every new token."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from oidc_actor.tokens import TokenResponse


class _Home(Protocol):
    def unsubscribe(self, subscription: Subscription, /) -> None: ...


class Subscription:
    """What `TokenManager.subscribe` returns. It outlives restarts of the manager, and ends with its orderly stop."""

    __slots__ = ("_home", "_listener")

    def __init__(self, home: _Home, listener: Callable[[TokenResponse], object]) -> None:
        self._home = home
        self._listener: Callable[[TokenResponse], object] | None = listener

    def cancel(self) -> None:
        """Have the listener told no more; one call may still be under way. Idempotent; any thread."""
        self._listener = None
        self._home.unsubscribe(self)

    def tell(self, token: TokenResponse) -> None:
        """Call the listener, unless it has been cancelled. Raises what the listener raises."""
        listener = self._listener
        if listener is not None:
            listener(token)
