"""For what outlives a token: streams, WebSockets, consumers, connection pools. It says when they must have changed over.

A connection that was opened with a token is good until that token ends, and its successor is there well before. `renewals` is
an async iterator, `on_renewal` its form for threads:

```python
async for renewal in renewals("name"):
    fresh = await connect(renewal.token.access_token)
    ...  # close the connection before this one by renewal.reconnect_before
```

A token that is bound to a key (``token_type`` DPoP) is presented with a proof of the request that opens the connection:
`oidc_actor.adapters.headers` makes both fields.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta

from oidc_actor.manager.token_manager import TokenManager
from oidc_actor.reading.cell import EMPTY, Cell
from oidc_actor.reading.directory import ManagerNotRunning, locate
from oidc_actor.reading.waiters import GONE, Subscription, TaskWaiter, check_listener
from oidc_actor.reading.waiting_reads import ServerRef
from oidc_actor.values.tokens import TokenResponse
from supervision.frozen import dataclass

__all__ = ["Renewal", "on_renewal", "renewals"]
__dir__ = __all__.copy


@dataclass(frozen=True, slots=True)
class Renewal:
    """A new token, and how long connections with the one before it last.

    Attributes:
        token: The token for new connections.
        reconnect_before: When connections that were opened with the token before this one must have been opened anew, in
            UTC: that token's end. It may lie in the past, after an outage. ``None`` where there was none before.
        reconnect_in_s: Seconds until then, as of this event, by the manager's clock, which no step of the wall clock
            moves; 0 where it is past, ``None`` where there was none before.
    """

    token: TokenResponse
    reconnect_before: datetime | None = None
    reconnect_in_s: float | None = None


def on_renewal(server: ServerRef, listener: Callable[[Renewal], object]) -> Subscription:
    """Have a listener called with every new token and the end of the one before it.

    Args:
        server: The manager's ref or name.
        listener: Called as that of `TokenManager.subscribe`: off the manager, one token after the other, not with the present
            one. Where tokens follow each other faster than it returns, it is told of the newest only.

    Returns:
        An object whose ``cancel()`` ends that.

    Raises:
        ManagerNotRunning: No manager is there.
        ConfigError: As of `TokenManager.subscribe`.
    """
    check_listener(listener)
    watch = _Watch(locate(server))
    watch.look()  # on this thread, before the first call of `tell`: so the present token is known, and not told

    # On a thread for listeners, and never on two at once: a manager's listeners are called one after the other. So the watch
    # needs no lock. It looks at the cell, because a newer token than that of this call may be there by now.
    def tell(_: TokenResponse) -> None:
        renewal = watch.look()
        if renewal is not None:
            listener(renewal)

    return TokenManager.subscribe(server, tell)


async def renewals(server: ServerRef) -> AsyncGenerator[Renewal]:
    """Iterate over a manager's tokens: the present one first, as soon as there is one, then every new one.

    A slow consumer gets the newest token next, and the end of the one that it got last. The iteration goes on across
    restarts of the manager, and ends when it is stopped. Only the iterator's own event loop, asyncio's or trio's, runs it; close
    it (`contextlib.aclosing`) to leave before that.

    Args:
        server: The manager's ref or name.

    Yields:
        The token to use from now on.

    Raises:
        ManagerNotRunning: No manager is there, or it has crashed and no supervisor restarts it.
    """
    cell = locate(server)
    watch = _Watch(cell)
    waiter = _waiter()

    def ring(token: TokenResponse) -> None:  # on a thread for listeners
        waiter.resolve(token)  # the newest, whatever the event loop has come to

    subscription = TokenManager.subscribe(server, ring)
    try:
        while True:
            # A new waiter, then the look, then the wait. A token that is published before the look is found by it, and one that
            # is published later rings a waiter that is there already, and wakes it even before it waits. With the look first, a
            # token in between would ring the waiter of the round before, and this round would sleep through it. A restarted
            # manager may wake a waiter too, in vain: then the look finds nothing new.
            waiter = _waiter()
            renewal = watch.look()
            if renewal is not None:
                yield renewal
            elif await _outcome(cell, waiter) is GONE:
                break
    finally:
        subscription.cancel()
    if not cell.closed:
        raise ManagerNotRunning(server)


def _waiter() -> TaskWaiter:
    return TaskWaiter(math.inf, 0.0, wants_refresh=False)


async def _outcome(cell: Cell, waiter: TaskWaiter) -> object:
    """Wait for a token, or for the manager's end, which only the waiters in its cell are told."""
    try:
        cell.add_waiter(waiter, quietly=True)
        return await waiter.wait(None)
    finally:
        cell.remove_waiter(waiter)


class _Watch:
    """What one listener has seen of a cell."""

    __slots__ = ("_cell", "_seen")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._seen = EMPTY

    def look(self) -> Renewal | None:
        """The change since the last look; ``None`` without a token that was not seen before."""
        found, before = self._cell.snapshot, self._seen
        if found.token is None or found.token is before.token:
            return None
        self._seen = found
        if before.token is None:
            return Renewal(found.token)
        left_s = before.deadline - self._cell.clock()
        return Renewal(found.token, _at(left_s), max(0.0, left_s))


def _at(in_s: float) -> datetime:
    try:
        return datetime.now(UTC) + timedelta(seconds=in_s)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
