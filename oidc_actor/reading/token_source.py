"""The fastest read: an object that holds the cell of one manager."""

from __future__ import annotations

from contextlib import suppress
from typing import TypeAlias

from oidc_actor.reading.cell import Cell, Ref, by_name
from oidc_actor.reading.directory import ManagerNotRunning, locate
from oidc_actor.reading.waiting_reads import wait_for_token, wait_for_token_async
from oidc_actor.values.tokens import TokenResponse


class TokenSource:
    """Gives the valid token of one manager; any thread, without a lock while there is one.

    It is bound to the name (to the ref, for a manager without), so it outlives restarts, and follows the name to whichever
    manager is started under it next.
    """

    __slots__ = ("_cell", "_clock", "_server")

    def __init__(self, server: Ref | str) -> None:
        """Bind to a manager.

        Args:
            server: Its ref or name.

        Raises:
            ManagerNotRunning: No manager is there.
        """
        self._server: Ref | str = server  # first: what is raised below may be shown with this object
        cell = locate(server)
        self._server = cell.name or server
        self._bind(cell)

    @property
    def server(self) -> Ref | str:
        """The manager's name, or its ref where it has none."""
        return self._server

    def access_token(self, timeout: float = 5.0) -> str:
        """Return the text of a valid access token.

        Args:
            timeout: Seconds to wait for one where there is none; 0 never waits.

        Raises:
            NoTokenError: None came in time, or none can.
            ManagerNotRunning: The manager was stopped, or has crashed and its token has ended.
            ConfigError: The timeout is wrong; seen only where there is no token.
        """
        # The snapshot is one value: its deadline is that of its text, also where another one is published meanwhile.
        snapshot = self._cell.snapshot
        if self._clock() < snapshot.deadline:
            return snapshot.text
        return self._wait(timeout).access_token

    __call__ = access_token

    def token(self, timeout: float = 5.0) -> TokenResponse:
        """Return a valid token.

        Args:
            timeout: Seconds to wait for one where there is none; 0 never waits.

        Raises:
            NoTokenError: None came in time, or none can.
            ManagerNotRunning: The manager was stopped, or has crashed and its token has ended.
            ConfigError: The timeout is wrong; seen only where there is no token.
        """
        snapshot = self._cell.snapshot
        if self._clock() < snapshot.deadline and snapshot.token is not None:
            return snapshot.token
        return self._wait(timeout)

    async def aaccess_token(self, timeout: float = 5.0) -> str:
        """Do what `access_token` does, in a task of asyncio or trio; it yields only where there is no token.

        Args:
            timeout: Seconds to wait for one where there is none; 0 never waits.

        Raises:
            NoTokenError: As for `access_token`, and so are the others.
            ManagerNotRunning: The manager is not there.
            ConfigError: The timeout is wrong.
        """
        snapshot = self._cell.snapshot
        if self._clock() < snapshot.deadline:
            return snapshot.text
        return (await self._await(timeout)).access_token

    async def atoken(self, timeout: float = 5.0) -> TokenResponse:
        """Do what `token` does, in a task of asyncio or trio; it yields only where there is no token.

        Args:
            timeout: Seconds to wait for one where there is none; 0 never waits.

        Raises:
            NoTokenError: As for `token`, and so are the others.
            ManagerNotRunning: The manager is not there.
            ConfigError: The timeout is wrong.
        """
        snapshot = self._cell.snapshot
        if self._clock() < snapshot.deadline and snapshot.token is not None:
            return snapshot.token
        return await self._await(timeout)

    def __repr__(self) -> str:
        return f"TokenSource({self._server!s})"

    def _wait(self, timeout: float) -> TokenResponse:
        self._bind(locate(self._server))
        return wait_for_token(self._server, timeout, 0.0)

    async def _await(self, timeout: float) -> TokenResponse:
        token = await wait_for_token_async(self._server, timeout, 0.0)
        with suppress(ManagerNotRunning):  # it may have been stopped since
            self._bind(locate(self._server, wait_s=0.0))
        return token

    def _bind(self, cell: Cell) -> None:
        # Two threads may both bind; the clock goes first, so that no thread reads a new cell with an old clock for long: a
        # cell that was given up is empty.
        self._clock = cell.clock
        self._cell = cell


ServerOrSource: TypeAlias = Ref | str | TokenSource
"""What an adapter takes: a manager's ref or name, or a source, such as that of a key of a pool."""


def server_of(server: ServerOrSource) -> Ref | str:
    """The ref or name of the manager behind either."""
    return server.server if isinstance(server, TokenSource) else server


def token_of(server: ServerOrSource, timeout: float) -> TokenResponse:
    """A valid token of either, waiting for one if need be."""
    if isinstance(server, TokenSource):
        return server.token(timeout)
    return live_token(server) or wait_for_token(server, timeout, 0.0)


async def token_of_async(server: ServerOrSource, timeout: float) -> TokenResponse:
    """Do what `token_of` does, in a task; a caller in a hurry asks for a `live_token` first, which costs no coroutine."""
    if isinstance(server, TokenSource):
        return await server.atoken(timeout)
    return await wait_for_token_async(server, timeout, 0.0)


def live_token(server: ServerOrSource) -> TokenResponse | None:
    """The valid token of a manager with that name, where there is one; ``None`` says nothing of a ref or a source."""
    cell = by_name.get(server)  # type: ignore[arg-type]
    if cell is None:
        return None
    snapshot = cell.snapshot
    return snapshot.token if cell.clock() < snapshot.deadline else None
