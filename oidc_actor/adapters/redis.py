"""A manager for redis-py: ``redis.Redis(credential_provider=OIDCCredentials("name"))``, and the same for ``redis.asyncio.Redis``.

The server has to accept the token as the user's password, as the services of cloud vendors do. For the store that shares tokens
between processes see `oidc_actor.sharing`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

from oidc_actor.adapters.authorization import Unprintable
from oidc_actor.adapters.presenter import Presenter
from oidc_actor.credentials.parameters import read_text
from oidc_actor.reading.token_source import ServerOrSource
from oidc_actor.reading.waiters import Subscription
from oidc_actor.values.lazy_imports import not_installed
from oidc_actor.values.tokens import TokenResponse
from supervision.runtime.per_process import PerProcess

try:
    from redis.auth.token import SimpleToken
    from redis.credentials import StreamingCredentialProvider
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "redis", missing) from None

__all__ = ["OIDCCredentials"]
__dir__ = __all__.copy


class OIDCCredentials(StreamingCredentialProvider):
    """Gives new connections the manager's token, and has those that are open authenticate again with every new one.

    A connection that is in use does so when it is given back. One object serves the clients of one event loop, or any number of
    threads. What a server says to such an ``AUTH`` is logged as ``listener_failed``; the connection stays.
    """

    def __init__(self, server: ServerOrSource, *, username: str = "default", timeout: float = 5.0) -> None:
        """Choose the manager, which need not be there yet.

        Args:
            server: Its ref or name.
            username: The server's name for the user whose password the token is.
            timeout: Seconds a connection waits for a token where there is none, and a new token for an event loop that is busy.

        Raises:
            ConfigError: The timeout or the username is wrong.
            TypeError: ``server`` is neither a ref nor a name.
        """
        self._presenter = Presenter(server, timeout=timeout)
        self._username = read_text(username, "username")
        self._timeout_s = timeout
        self._callbacks: list[Callable[[Any], Any]] = []
        # Of the asynchronous clients. In a forked child none: the parent's loop runs nothing there.
        self._loop: PerProcess[list[asyncio.AbstractEventLoop]] = PerProcess(list)
        self._subscription: Subscription | None = None
        # Guards the choice of that one; never held while anything is waited for. A fork may come while it is held.
        self._lock = PerProcess(threading.Lock)

    def __repr__(self) -> str:
        return self._presenter.shown_as("OIDCCredentials")

    def get_credentials(self) -> tuple[str, str]:
        """Return the user's name and the token for a connection that is being opened; on its thread.

        Raises:
            NoTokenError: There is none.
            ManagerNotRunning: The manager is not there.
            ConfigError: It is bound to a key (DPoP), or no access token.
        """
        self._listen()
        return self._username, Unprintable(self._presenter.bearer_token().access_token)

    async def get_credentials_async(self) -> tuple[str, str]:
        """Do what `get_credentials` does, without blocking the event loop.

        Raises:
            NoTokenError: There is none.
            ManagerNotRunning: The manager is not there.
            ConfigError: It is no bearer token.
        """
        self._loop.value[:] = [asyncio.get_running_loop()]
        self._listen()
        return self._username, Unprintable((await self._presenter.abearer_token()).access_token)

    def on_next(self, callback: Callable[[Any], Any]) -> None:
        """Have redis-py told of every new token.

        Args:
            callback: What authenticates open connections again; a coroutine function of an asynchronous client.
        """
        self._callbacks.append(callback)

    def on_error(self, callback: Callable[[Exception], Any]) -> None:
        """Take what redis-py would have called for an error; the manager goes on by itself.

        Args:
            callback: Never called.
        """

    def is_streaming(self) -> bool:
        """Tell that new tokens are told of."""
        return True

    def close(self) -> None:
        """Tell of no more tokens, once the clients are closed. Idempotent; a connection that is opened begins it anew."""
        with self._lock.value:
            subscription, self._subscription = self._subscription, None
        if subscription is not None:
            subscription.cancel()

    def _listen(self) -> None:
        """Subscribe, once, and again to the next manager of the name."""
        with self._lock.value:
            if self._subscription is None or self._subscription.is_over:
                self._subscription = self._presenter.subscribe(self._tell)

    def _tell(self, token: TokenResponse) -> None:
        """On a thread for listeners. Each client is told, whatever becomes of the others; then the first error is raised."""
        now_ms = time.time() * 1000
        ends_ms = -1 if token.expires_at is None else token.expires_at.timestamp() * 1000
        told = SimpleToken(Unprintable(token.access_token), ends_ms, now_ms, {"oid": self._username})
        failed: Exception | None = None
        for callback in list(self._callbacks):
            try:
                self._call(callback, told)
            except Exception as error:  # noqa: BLE001 - another library's
                failed = failed or error
        if failed is not None:
            raise failed

    def _call(self, callback: Callable[[Any], Any], token: SimpleToken) -> None:
        if not iscoroutinefunction(callback):
            callback(token)
            return
        for loop in list(self._loop.value):
            if not loop.is_closed():  # else no connection is open
                asyncio.run_coroutine_threadsafe(callback(token), loop).result(self._timeout_s)
