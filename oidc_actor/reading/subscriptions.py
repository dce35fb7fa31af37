"""One listener that is told of every new token."""

from __future__ import annotations

import threading
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Protocol

from oidc_actor.values.errors import ConfigError
from oidc_actor.values.tokens import TokenResponse


def check_listener(listener: object) -> None:
    """Check what is to be called.

    Raises:
        ConfigError: It cannot be called, or is a coroutine function, whose coroutine nobody would await.
    """
    if iscoroutinefunction(listener):
        raise ConfigError(
            "listener: expected a plain function, got a coroutine function; for tasks there is oidc_actor.streams.renewals"
        )
    if not callable(listener):
        raise ConfigError(f"listener: expected a callable that takes a token, got {type(listener).__name__}")


class _Home(Protocol):
    def unsubscribe(self, subscription: Subscription, /) -> None: ...


class Subscription:
    """What `TokenManager.subscribe` returns. It outlives restarts of the manager, and ends with its orderly stop."""

    __slots__ = ("_home", "_is_told", "_listener", "_lock", "_missed")

    def __init__(self, home: _Home, listener: Callable[[TokenResponse], object]) -> None:
        self._home = home
        self._listener: Callable[[TokenResponse], object] | None = listener
        self.fork()

    def fork(self) -> None:
        """In a forked child: nobody is being told anything."""
        self._lock = threading.Lock()  # guards the two below; never held while the listener runs
        self._is_told = False
        self._missed: TokenResponse | None = None  # the newest that came while it was told of another

    def cancel(self) -> None:
        """Have the listener told no more; one call may still be under way. Idempotent; any thread."""
        self._listener = None
        self._home.unsubscribe(self)

    def tell(self, token: TokenResponse, failed: Callable[[BaseException], object]) -> None:
        """Call the listener, unless it has been cancelled.

        Where it still has not returned from a call before, which was left behind, it is not called a second time at once: when
        it returns, that other thread tells it of the newest token that it missed.

        Args:
            token: The token.
            failed: Told of what the listener raises.
        """
        turn = self._begin(token)
        while turn is not None:
            listener = self._listener
            try:
                if listener is not None:
                    listener(turn)
            except BaseException as error:  # noqa: BLE001 - foreign code
                failed(error)
            turn = self._next()

    def _begin(self, token: TokenResponse) -> TokenResponse | None:
        with self._lock:
            if self._is_told:
                self._missed = token
                return None
            self._is_told = True
            return token

    def _next(self) -> TokenResponse | None:
        with self._lock:
            token, self._missed = self._missed, None
            self._is_told = token is not None
            return token
