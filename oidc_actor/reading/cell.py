"""A manager as its readers see it without asking it: one cell for each, holding an immutable snapshot.

A read is: load the cell's snapshot, read the clock, compare. No lock: the snapshot is never changed, only swapped as a
whole by one attribute store, which is atomic with and without the GIL; a reader has the old one or the new one, each
consistent in itself, and the deadline it compares is that of the text it returns.

The cell belongs to the name, not to the incarnation. A crashed manager's successor finds in it the token, the waiting
readers, the listeners and the exchange under way; an orderly stop empties it. Every write is fenced: an incarnation
that was killed, and runs on because Python cannot end its thread, has lost its cell to its successor.

A reader may be interrupted anywhere by a signal handler or a finalizer that reads. So it takes no lock
(`supervision.runtime.bells`):
each change is one operation; then it looks whether the cell has ended, and takes it back. Who ends it marks, then looks.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias

import pykka

from oidc_actor.machine.events import FetchFailed, FetchSucceeded, ResultReady, WaitersArrived
from oidc_actor.machine.state import NEVER, State, as_forked
from oidc_actor.reading.waiters import Subscription, TaskWaiter, ThreadWaiter, dismiss
from oidc_actor.values.clock import Clock
from oidc_actor.values.secrets import Sealed, put
from oidc_actor.values.tokens import TokenResponse
from supervision import Down, Monitor, cast, demonitor, monitor
from supervision.child_process import ends_for_restart, may_be_restarted
from supervision.exits import Reason, is_orderly
from supervision.runtime.bells import Summons, taken_out

Ref: TypeAlias = pykka.ActorRef[Any]
Result: TypeAlias = FetchSucceeded | FetchFailed
AnyWaiter: TypeAlias = ThreadWaiter | TaskWaiter

by_name: dict[str, Cell] = {}
"""The cells by name, for the fastest look-up. `oidc_actor.reading.directory` adds to it, and a cell that closes
removes itself."""

_numbers = itertools.count(1)


class Cell:
    """A manager as its readers know it, across its incarnations."""

    __slots__ = (
        "__weakref__",
        "_lock",
        "_ref",
        "aside_at",
        "clock",
        "closed",
        "counts",
        "expected",
        "forked",
        "identity",
        "inherited",
        "is_down",
        "issuer",
        "name",
        "number",
        "rejected",
        "result",
        "revive",
        "snapshot",
        "state",
        "subscriptions",
        "summons",
        "supervisor",
        "versions",
        "waiting",
        "watches",
    )  # fmt: skip

    def __init__(self, name: str | None, identity: object, clock: Clock) -> None:
        self.snapshot, self.number = EMPTY, next(_numbers)
        self.clock, self.name, self.identity = clock, name, identity
        self.state: State | None = None
        self.waiting: dict[AnyWaiter, None] = {}
        self.summons = Summons()  # has the manager look for new readers among those that wait
        self.subscriptions: dict[Subscription, None] = {}
        self.expected: tuple[int, int] | None = None  # attempt and request of the exchange under way
        self.result: Result | None = None  # what it brought, until the manager takes it
        self.rejected: TokenResponse | None = None
        self.counts: dict[str, int] = {}  # what has happened here so far; for metrics
        self.versions: object = None  # of the secrets' files, at the last attempt
        self.supervisor: Ref | None = None
        self.watches: list[Monitor] = []  # over the supervisor, while it is waited for
        self.closed = self.is_down = False
        self.forked = False  # it was inherited in a forked child, where a use makes its manager anew, after a crash too
        self.inherited: Snapshot | None = None  # put aside until that use, so that it takes the slow path
        self.aside_at = NEVER  # `time.monotonic()` then
        self.revive: Callable[[Cell], object] | None = None  # starts a manager on this cell in a forked child
        self.issuer: object = None  # kept for the successor, as `revive` is
        self._ref: weakref.ref[Ref] | None = None
        # Guards what a manager, its successor and the exchange's thread write. Readers never take it, not even to wait or to
        # subscribe. Never held while foreign code runs. Reentrant: a finalizer that stops a manager may run here.
        self._lock = threading.RLock()

    # --- the manager's side; `ref` is the incarnation that writes -----------------------------------------------------

    def belongs_to(self, ref: Ref, *, even_closed: bool = False) -> bool:
        """Whether that incarnation is the one whose writes count; ``even_closed``: or counted, until the cell was closed."""
        return (even_closed or not self.closed) and self._ref is not None and self._ref() is ref

    def take_over(self, ref: Ref, supervisor: Ref | None, *, anew: bool = False) -> bool:
        """Make an incarnation the owner; false where the cell has been closed. ``anew``: a use in a forked child started it."""
        with self._lock:
            if self.closed:
                return False
            self._ref = weakref.ref(ref)
            self.supervisor, self.is_down, self.forked = supervisor, False, anew
            if self.inherited is not None:
                self.snapshot, self.inherited = self.inherited, None
        unwatch(self.watches)
        return True

    def save(self, ref: Ref, state: State) -> bool:
        """Keep what the manager knows, for its successor; false where it has one already."""
        with self._lock:
            if not self.belongs_to(ref):
                return False
            self.state = state
            return True

    def publish(self, ref: Ref, token: TokenResponse, deadline: float, ahead_s: float = 0.0) -> None:
        """Show a token to every reader until its deadline, unless it is one that was rejected: a successor may be late."""
        with self._lock:
            if not self.belongs_to(ref) or self.rejected is token:
                return
            published = self.snapshot = Snapshot(token, deadline, ahead_s)
            if self.rejected is token:  # by a reader, between the two lines above: it may not have seen this snapshot
                published.reject()

    def expect(self, ref: Ref, attempt: int, request: int) -> bool:
        """Begin an exchange; false where another incarnation owns the cell."""
        with self._lock:
            if not self.belongs_to(ref):
                return False
            self.expected, self.result = (attempt, request), None
            return True

    def expects(self, attempt: int, request: int) -> bool:
        """Whether the result of that request is still waited for; any thread."""
        return not self.closed and self.expected == (attempt, request)

    def count(self, what: str) -> None:
        """One more of something that happens here; any thread."""
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def forget_exchange(self, ref: Ref) -> None:
        """Give up waiting for the exchange under way: what it brings will be too late."""
        with self._lock:
            if self.belongs_to(ref):
                self.expected = self.result = None

    def take_result(self, ref: Ref) -> Result | None:
        """What the exchange brought, once; also after the cell has been closed, for the last farewell."""
        with self._lock:
            result = self.result if self.belongs_to(ref, even_closed=True) else None
            if result is not None:
                self.expected = self.result = None
            return result

    def waiters_for(self, ref: Ref, *, refreshes: bool = True) -> list[AnyWaiter]:
        """Those who wait and whom that incarnation does not know yet, with or without those who want a refresh."""
        with self._lock:
            self.summons.heard()  # before the look: who enrols from here on makes another
            found = [w for w in list(self.waiting) if w.joined is not ref and (refreshes or not w.wants_refresh)]
            for waiter in found:
                waiter.joined = ref
            return found

    # --- the exchange's side, on a thread of the pool -----------------------------------------------------------------

    def deliver(self, result: Result) -> bool:
        """Keep a result for whichever incarnation is there to take it, and tell the one that is; false where nobody wants it."""
        with self._lock:
            if not self.expects(result.attempt, result.request):
                return False
            self.result = result
        self.tell(ResultReady())
        return True

    # --- the readers' side --------------------------------------------------------------------------------------------

    @property
    def ref(self) -> Ref | None:
        """The present incarnation, alive or not; ``None`` where it is gone for good."""
        return None if self._ref is None else self._ref()

    @property
    def is_served(self) -> bool:
        """Whether a manager is here, as far as is known."""
        return not (self.closed or self.is_down)

    def tell(self, message: object) -> None:
        """Send the present incarnation a message; lost where none is alive."""
        ref = self.ref
        if ref is not None:
            cast(ref, message)

    def enrol(self, waiter: AnyWaiter, *, quietly: bool = False) -> bool:
        """Wait for an outcome, quietly where the manager need not know; false where none is here or on its way."""
        waiter.joined = self if quietly else None
        self.waiting[waiter] = None
        # In there first, then the look at the end: a cell that closes marks first and looks at those who wait then.
        if not self.has_future():
            self.waiting.pop(waiter, None)
            return False
        supervisor = self.supervisor
        if self.is_down and supervisor is not None and not self.watches:
            self._watch_over(supervisor)
        # One message does for a herd, but not one to a predecessor, who may never hear. A refresh has a message of its own.
        to, summons = self._ref, self.summons
        if not (quietly or waiter.wants_refresh or (summons.stands and summons.to is to)):
            summons = self.summons = Summons(to)
            self.tell(WaitersArrived())
            summons.sent()
        return True

    def leave(self, waiter: AnyWaiter) -> None:
        """Wait no longer. Whatever its patience was, the manager keeps it no longer than to the end of an attempt."""
        self.waiting.pop(waiter, None)
        waiter.deadline = NEVER

    def reject(self, text: str) -> bool:
        """Take the published token back if it is that very one; whether it was, and this call did it."""
        return reject(self, text)

    def hide(self, token: TokenResponse) -> None:
        """Take a token from the readers, unless another has been published since; the manager shows it again, or a new one."""
        with self._lock:
            if self.snapshot.token is token:
                self.snapshot = EMPTY

    def subscribe(self, subscription: Subscription) -> bool:
        """Add a listener; false where nobody is there to be listened to."""
        self.subscriptions[subscription] = None
        if self.has_future():
            return True
        self.subscriptions.pop(subscription, None)
        return False

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a listener; idempotent."""
        self.subscriptions.pop(subscription, None)

    def has_future(self, *, forked: bool = False) -> bool:
        """Whether a manager is here, or a supervisor starts the next, which finds it by name; ``forked``: in the parent."""
        lasts = forked or self.name is not None
        return not self.closed and (not self.is_down or (lasts and may_start_again(self.supervisor, forked=forked)))

    # --- ends ---------------------------------------------------------------------------------------------------------

    def ended(self, down: Down) -> None:
        """An incarnation has ended; runs on the thread that ended it."""
        if is_final(down.ref, down.reason):
            self.close(down.ref)
            return
        with self._lock:
            if not self.belongs_to(down.ref):
                return
            self.is_down = True
            if self.forked:
                self._put_aside()
            unwatched = self.supervisor if self.waiting and not self.watches else None
        self._dismiss_hopeless()
        if unwatched is not None:
            self._watch_over(unwatched)

    def given_up(self, ref: Ref, asked: bool) -> None:
        """The supervisor does not start an incarnation that has ended again: somebody ``asked`` for that, or it never would."""
        with self._lock:
            if self.belongs_to(ref):
                self.supervisor = None
        self._dismiss_hopeless()
        if asked:
            self.close(ref)

    def _watch_over(self, supervisor: Ref) -> None:
        """See that those who wait for a restart hear of it when there will be none."""
        self.watches.append(monitor(supervisor, lambda _: self._dismiss_hopeless()))
        if not self.is_down:  # a successor has come, and may have looked for watches before this one was there
            unwatch(self.watches)

    def _dismiss_hopeless(self) -> None:
        if not self.has_future():
            dismiss(list(self.waiting))

    def close(self, ref: Ref | None) -> None:
        """Empty the cell for good, unless it has passed to another incarnation. ``None`` closes it whoever owns it."""
        with self._lock:
            if self.closed or (ref is not None and not self.belongs_to(ref)):
                return
            self.closed, self.snapshot, self.forked = True, EMPTY, False
            self.subscriptions.clear()
            self.inherited = self.state = self.issuer = self.revive = self.supervisor = None
        if self.name is not None and by_name.get(self.name) is self:
            by_name.pop(self.name, None)
        dismiss(list(self.waiting))

    def fork(self) -> None:
        """In a forked child: nobody runs here, until the first use."""
        self._lock = threading.RLock()
        self.waiting, self.expected, self.result, self.counts = {}, None, None, {}
        self.summons = Summons()
        for subscription in list(self.subscriptions):
            subscription.fork()
        if self.state is not None:
            self.state = as_forked(self.state)
        if self.has_future(forked=True):
            self.forked = True
        if self.forked:
            self._put_aside()

    def _put_aside(self) -> None:
        if self.inherited is None:
            self.inherited, self.snapshot = self.snapshot, EMPTY
        self.aside_at = time.monotonic()


def is_final(ref: pykka.ActorRef[Any], reason: Reason) -> bool:
    """Tell whether a manager has ended for good.

    Args:
        ref: The manager.
        reason: What it ended with.

    Returns:
        ``False`` after a crash, and where its supervisor ends it for a sibling's sake and starts it again: its successor goes on
        with the token, and until then readers are served.
    """
    return is_orderly(reason) and not ends_for_restart(ref)


def may_start_again(supervisor: pykka.ActorRef[Any] | None, *, forked: bool = False) -> bool:
    """Tell whether a supervisor may still start a manager anew: it is alive, or may be started again itself.

    Args:
        supervisor: The manager's; ``None`` where it has none.
        forked: In a forked child, whether to answer as the parent process would have.
    """
    return supervisor is not None and may_be_restarted(supervisor, forked=forked)


def unwatch(watches: list[Monitor]) -> None:
    """End the watches over a supervisor, of which other threads may be ending some, or adding one."""
    for watch in taken_out(watches):
        demonitor(watch)


class Snapshot(Sealed):
    """A token as readers see it. It changes once at most: when the token is rejected its deadline is past.

    Attributes:
        text: The access token's text; never shown.
        deadline: Reading of the manager's clock when the token ends.
        token: The token.
        ahead_s: How far the wall clock was ahead of the manager's when the token's request started.
    """

    __slots__ = ("_unclaimed", "ahead_s", "deadline", "text", "token")
    _unclaimed: list[None]
    text: str
    deadline: float
    token: TokenResponse | None
    ahead_s: float

    def __init__(self, token: TokenResponse | None, deadline: float, ahead_s: float = 0.0) -> None:
        put(self, text="" if token is None else token.access_token, deadline=deadline, token=token, ahead_s=ahead_s)
        put(self, _unclaimed=[] if token is None else [None])

    def reject(self) -> bool:
        """Let no reader have the token any more; true for the first call only.

        It is this very snapshot that ends, so that the rejection cannot hit a newer one that is published at the same moment.
        """
        put(self, deadline=-math.inf)  # first: whoever is second must not read it any more either
        try:
            self._unclaimed.pop()
        except IndexError:
            return False
        return True

    def __repr__(self) -> str:
        return f"Snapshot({self.token!r}, deadline={self.deadline})"


EMPTY = Snapshot(None, -math.inf)


class _Shelf(Protocol):
    snapshot: Snapshot
    rejected: TokenResponse | None


def reject(cell: _Shelf, text: str) -> bool:
    """Take the published token of a manager back if it is that very one; whether it was, and this call did it. Any thread."""
    snapshot = cell.snapshot
    if snapshot.token is None or snapshot.text != text:
        return False
    # The mark comes first: a handler that interrupts this here, before the manager has been told, waits for a new token, and the
    # manager sees by the mark why. A successor may publish the same token anew at this moment: it stores the new snapshot and
    # then looks for the mark; here the look at the newest snapshot comes after the mark: one of the two sees the other.
    cell.rejected = snapshot.token
    is_first = snapshot.reject()
    newest = cell.snapshot
    if newest.token is snapshot.token:
        newest.reject()
    return is_first
