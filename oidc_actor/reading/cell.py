"""A manager as its readers see it without asking it: one row of a table, which outlives the actor that writes it.

In Erlang this would be an ETS table with an heir. The owner writes and readers read without a message; when the owner
crashes, its heir gets the table with all that is in it. Here the table is `oidc_actor.reading.directory`, a `Cell` is the row of
one manager, its owner is the incarnation that runs, and the heir is what the supervisor starts next under that name.
An orderly stop closes the cell. Writes are fenced: an incarnation that was killed may run on, because Python cannot end its
thread, but what it writes counts no longer once its successor owns the cell.

*Why the result of a request and the readers that wait are in here, and not in messages.* What is in the mailbox of a killed
actor is lost. The wait of a reader must not be, nor a token that the provider has just issued, perhaps with the only valid
refresh token (promise P4). So both are put into the cell, and an empty message (`WaitersArrived`, `ResultReady`) says that
there is something to look at. Where that message is lost, the successor finds what is there when it starts.

*How a read works.* It loads the cell's snapshot, reads the clock, compares. No lock: a snapshot never changes but for its
rejection, and is swapped as a whole by one attribute store, which is atomic with and without the GIL. A reader has the old
one or the new one, and the deadline that it compares is that of the text which it returns.

*Why readers take no lock here, not even to wait.* A signal handler or a finalizer may interrupt a reader between any two
instructions, and read, too. It would wait for ever for a lock that the thread under it holds. So each change that a reader makes
is one operation (`supervision.runtime.waits`), and where it races with the cell's end, the order decides: the reader puts its
entry in and *then* looks whether the cell has ended; the thread that ends the cell marks it as ended and *then* looks at the
entries. Whichever comes second sees the other.
"""

from __future__ import annotations

import itertools
import math
import threading
import time
import weakref
from typing import Any, TypeAlias

import pykka

from oidc_actor.machine.events import (
    NEVER,
    ClaimFailed,
    ClaimGranted,
    ClaimOccupied,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    LoginLost,
    OfTrial,
    ResultReady,
    TokenAdopted,
    TrialWanted,
    WaitersArrived,
)
from oidc_actor.machine.state import State, as_forked
from oidc_actor.reading.waiters import GONE, Subscription, TaskWaiter, ThreadWaiter
from oidc_actor.values.clock import Clock
from oidc_actor.values.secrets import Sealed, put
from oidc_actor.values.tokens import TokenResponse
from supervision.calls import cast
from supervision.exits import Reason, is_orderly
from supervision.monitors import Monitor, demonitor, ends_for_restart, may_be_restarted, monitor
from supervision.runtime.waits import Summons, take_all

Ref: TypeAlias = pykka.ActorRef[Any]
Result: TypeAlias = FetchSucceeded | FetchFailed | ClaimGranted | ClaimOccupied | TokenAdopted | LoginLost | ClaimFailed
AnyWaiter: TypeAlias = ThreadWaiter | TaskWaiter
FileVersions: TypeAlias = tuple[object, tuple[object, ...]]
"""The versions of the secrets' files, and of those of the client's certificate among them."""

by_name: dict[str, Cell] = {}
"""The cells by name, for the fastest look-up. `oidc_actor.reading.directory` adds to it, and a cell that closes
removes itself."""

_numbers = itertools.count(1)
_UNSENT = Summons()  # never sent: stands for any


class Cell:
    """A manager as its readers know it, across its incarnations."""

    __slots__ = (
        "__weakref__", "_lock", "_owner", "aside_at", "began_as", "candidate", "clock", "closed", "counts", "expected",
        "forked", "former", "group", "identity", "inherited", "is_down", "issuer", "kind", "name", "number", "options",
        "rejected", "result", "sent", "snapshot", "state", "subscriptions", "summons", "supervisor", "versions", "waiting",
        "watches",
    )  # fmt: skip

    def __init__(self, name: str | None, identity: object, clock: Clock) -> None:
        self.snapshot, self.number = EMPTY, next(_numbers)
        self.clock, self.name, self.identity = clock, name, identity
        self.began_as: object = (
            identity  # of the options that the manager was started with; `identity` is of those in force
        )
        self.options: Any = None  # those in force, which a successor starts with; `oidc_actor.manager.options.Options`
        self.candidate: Candidate | None = None  # options that are to replace them, from the wish for that on
        self.group: str | None = None  # what the pool is called that it is a member of
        self.former: tuple[TokenResponse | None, object] = (
            None,
            None,
        )  # the last token of the options before, and their identity
        self.state: State | None = None  # what the owner knows, for its successor
        self.waiting: dict[AnyWaiter, None] = {}
        self.summons = _UNSENT  # has the owner look for new readers among those that wait
        self.subscriptions: dict[Subscription, None] = {}
        self.expected: tuple[int, int] | None = None  # attempt and request whose result is waited for
        self.sent: tuple[FetchStarted, ...] = ()  # that it was sent, and maybe again, until an owner takes note
        self.result: Result | None = None  # what that brought, until an owner takes it
        self.rejected: TokenResponse | None = None
        self.counts: dict[str, int] = {}  # what has happened here so far; for metrics
        self.versions: FileVersions | None = None  # of the secrets' files, at the last attempt
        self.supervisor: Ref | None = None
        self.watches: list[Monitor] = []  # over the supervisor, while readers wait for a restart
        self.closed = False  # for good
        self.is_down = False  # the owner has ended, and no successor has the cell yet
        self.forked = False  # it was inherited in a forked child, where a use makes its manager anew, after a crash too
        self.inherited: Snapshot | None = None  # put aside until that use, so that it takes the slow path
        self.aside_at = NEVER  # `time.monotonic()` then
        self.kind: Any = None  # the manager's class, which makes it anew in a forked child
        self.issuer: object = None  # kept for the successor, as `kind` is
        self._owner: weakref.ref[Ref] | None = None
        # Guards what the owner, its successor and the request's thread write. Readers never take it, not even to wait or to
        # subscribe. Never held while a user callback runs. Reentrant: a finalizer that stops a manager may run here.
        self._lock = threading.RLock()

    # --- the owner's side, on the manager's thread; `ref` is the incarnation that writes ------------------------------

    def is_owned_by(self, ref: Ref, *, even_closed: bool = False) -> bool:
        """Whether that incarnation is the one whose writes count; ``even_closed``: or counted, until the cell was closed."""
        return (even_closed or not self.closed) and self.ref is ref

    def set_owner(self, ref: Ref, supervisor: Ref | None, *, anew: bool = False) -> bool:
        """Make an incarnation the owner; false where the cell has been closed. ``anew``: a use in a forked child started it.

        The predecessor's end may be told on another thread only now (`owner_ended`); it finds another owner, and does nothing.
        """
        with self._lock:
            if self.closed:
                return False
            self._owner = weakref.ref(ref)
            self.supervisor, self.is_down, self.forked = supervisor, False, anew
            if self.inherited is not None:
                self.snapshot, self.inherited = self.inherited, None
        self._unwatch()
        return True

    def save(self, ref: Ref, state: State, heir: Candidate | None = None, *, is_adopted: bool = False) -> bool:
        """Keep what the manager knows, for its successor; false where it has one already.

        Args:
            ref: The manager.
            state: What it knows.
            heir: The options that come into force with this very state, so that no successor finds one without the other.
            is_adopted: Whether the request under way stays the manager's own; else it is what was asked with those options.
        """
        with self._lock:
            if not self.is_owned_by(ref):
                return False
            self.state = state
            if heir is not None:
                self._inherit(heir, is_adopted=is_adopted)
            return True

    def _inherit(self, heir: Candidate, *, is_adopted: bool) -> None:
        self.former = self.snapshot.token, self.identity
        expected, sent, result, versions = heir.hand_over()
        if not is_adopted:
            self.expected, self.sent, self.result, self.versions = expected, sent, result, versions
        self.options, self.identity, self.issuer = heir.options, heir.identity, heir.issuer
        self.waiting.update(heir.waiting)
        if self.candidate is heir:
            self.candidate = None

    def offer(self, candidate: Candidate) -> Candidate | None:
        """Have other options tried. Those that are tried already are joined; any others end now: the last wish counts.

        The wish is in here before the message is sent: if the manager is killed before it reads that, its successor looks.

        Returns:
            What to wait for; ``None`` where no manager is here, and none may come.
        """
        with self._lock:
            if self.closed:
                return None
            before = self.candidate
            if before is not None and before.options == candidate.options and not before.closed:
                return before
            self.candidate = candidate
        if before is not None:
            before.close(None)
        self.tell(TrialWanted())
        return candidate if self.may_be_served() else None

    def take_candidate(self, ref: Ref) -> Candidate | None:
        """The options that are to replace those in force, for this incarnation to try; ``None`` where there are none."""
        with self._lock:
            found = self.candidate if self.is_owned_by(ref) else None
            return found if found is not None and found.set_owner(ref, None) else None

    def drop_candidate(self, candidate: Candidate) -> None:
        """Those options are tried no longer, and not in force. On the manager's thread."""
        with self._lock:
            if self.candidate is candidate:
                self.candidate = None
        candidate.close(None)

    def addressed(self, message: object) -> object:
        """What to send the manager where that message is about this cell."""
        return message

    def publish(self, ref: Ref, token: TokenResponse, deadline: float, ahead_s: float = 0.0) -> None:
        """Show a token to every reader until its deadline, unless it is one that was rejected: a successor may be late."""
        with self._lock:
            if not self.is_owned_by(ref) or self.rejected is token:
                return
            published = self.snapshot = Snapshot(token, deadline, ahead_s)
            if self.rejected is token:  # by a reader, between the two lines above: it may not have seen this snapshot
                published.reject()

    def hide(self, token: TokenResponse) -> None:
        """Take a token from the readers, unless another has been published since; the manager shows it again, or a new one.

        Any thread: the comparison of the clocks does it, too.
        """
        with self._lock:
            if self.snapshot.token is token:
                self.snapshot = EMPTY

    def expect(self, ref: Ref, attempt: int, request: int) -> bool:
        """Wait for the result of a request, and of no earlier one; false where another incarnation owns the cell."""
        with self._lock:
            if not self.is_owned_by(ref):
                return False
            self.expected, self.sent, self.result = (attempt, request), (), None
            return True

    def forget_request(self, ref: Ref) -> None:
        """Wait no longer for the request under way: what it brings will be too late."""
        with self._lock:
            if self.is_owned_by(ref):
                self.expected = self.result = None

    def take_sent(self, ref: Ref) -> tuple[FetchStarted, ...]:
        """That the request under way was sent, each time that it was, once."""
        if not self.sent:
            return ()
        with self._lock:
            sent: tuple[FetchStarted, ...] = ()
            if self.is_owned_by(ref):
                sent, self.sent = self.sent, ()
            return sent

    def take_result(self, ref: Ref) -> Result | None:
        """What the request brought, once; after the cell has been closed, too, because it may have to be revoked."""
        with self._lock:
            result = self.result if self.is_owned_by(ref, even_closed=True) else None
            if result is not None:
                self.expected = self.result = None
            return result

    def new_waiters(self, ref: Ref, *, refreshes: bool = True) -> list[AnyWaiter]:
        """The waiters that this incarnation does not know yet, with or without those for a refresh; none once it was killed."""
        with self._lock:
            if not self.is_owned_by(ref):
                return []
            self.summons.heard()  # before the look: a reader that comes after the look makes another
            found = [w for w in list(self.waiting) if w.known_to is not ref and (refreshes or not w.wants_refresh)]
            for waiter in found:
                waiter.known_to = ref
            return found

    def is_new(self, ref: Ref, waiter: Any) -> bool:
        """Whether this incarnation did not know a waiter, which it does from now on; no waiter is news to one that was killed."""
        with self._lock:
            new = self.is_owned_by(ref) and waiter.known_to is not ref
            if new:
                waiter.known_to = ref
            return new

    def count(self, what: str) -> None:
        """One more of something that happens here; any thread."""
        with self._lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    # --- the request's side, on a worker's thread ---------------------------------------------------------------------

    def expects(self, attempt: int, request: int) -> bool:
        """Whether the result of that request is still waited for; any thread."""
        return not self.closed and self.expected == (attempt, request)

    def note_sent(self, sent: FetchStarted) -> None:
        """Note that a request is being sent; no message says so: the owner takes note before it takes in anything else."""
        with self._lock:
            if self.expects(sent.attempt, sent.request):
                self.sent = (*self.sent, sent)

    def deliver(self, result: Result) -> bool:
        """Keep a result until an owner takes it; false where it is not waited for any longer.

        The result is there before the message is sent. An owner that is killed before it has read the message has a successor,
        which looks here when it starts; one that starts between the two lines below finds the result, and later an empty message.
        """
        with self._lock:
            if not self.expects(result.attempt, result.request):
                return False
            self.result = result
        self.tell(ResultReady())
        return True

    # --- the readers' side, on any thread and without the lock --------------------------------------------------------

    @property
    def ref(self) -> Ref | None:
        """The owner, alive or not; ``None`` where it is gone for good."""
        return None if self._owner is None else self._owner()

    @property
    def is_served(self) -> bool:
        """Whether a manager is here, as far as is known."""
        return not (self.closed or self.is_down)

    def may_be_served(self, *, forked: bool = False) -> bool:
        """Whether a manager is here, or a supervisor may start the next, which finds it by name; ``forked``: in the parent."""
        if self.closed or not self.is_down:
            return not self.closed
        supervisor = self.supervisor
        return (
            (forked or self.name is not None) and supervisor is not None and may_be_restarted(supervisor, forked=forked)
        )

    def tell(self, message: object) -> None:
        """Send the owner a message; lost where it is not alive."""
        ref = self.ref
        if ref is not None:
            cast(ref, message)

    def add_waiter(self, waiter: AnyWaiter, *, quietly: bool = False) -> None:
        """Have a reader wait for an outcome, quietly where the manager need not know; `GONE` where no other may come."""
        waiter.known_to = self if quietly else None
        self.waiting[waiter] = None
        # In there first, then this look: a cell that ends marks that first, and then looks for waiters.
        if not self.may_be_served():
            self.remove_waiter(waiter)
            waiter.resolve(GONE)
            return
        supervisor = self.supervisor
        if self.is_down and supervisor is not None and not self.watches:
            self._watch_over(supervisor)
        # One message does for a herd, but not one to a predecessor, which may be dead. A refresh has a message of its own.
        to, summons = self._owner, self.summons
        if not (quietly or waiter.wants_refresh or (summons.stands and summons.to is to)):
            summons = self.summons = Summons(to)
            self.tell(WaitersArrived())
            summons.sent()

    def remove_waiter(self, waiter: AnyWaiter) -> None:
        """Wait no longer. With its deadline in the past, the waiter is forgotten when an attempt ends, if not before."""
        self.waiting.pop(waiter, None)
        waiter.deadline = NEVER

    def reject(self, text: str) -> bool:
        """Take the published token back if it has that text; true where this call took it back."""
        snapshot = self.snapshot
        if snapshot.token is None or snapshot.text != text:
            return False
        # The mark comes first: a handler that interrupts this here, before the manager has been told, waits for a new token, and
        # the manager sees by the mark why. A successor may publish the same token anew at this moment: it stores the new snapshot
        # and then looks for the mark; here the look at the newest snapshot comes after the mark: one of the two sees the other.
        self.rejected = snapshot.token
        is_first = snapshot.reject()
        newest = self.snapshot
        if newest.token is snapshot.token:
            newest.reject()
        return is_first

    def subscribe(self, subscription: Subscription) -> bool:
        """Add a listener; false where no manager is here, and none may come."""
        self.subscriptions[subscription] = None
        if self.may_be_served():  # after the line above, as in `add_waiter`
            return True
        self.subscriptions.pop(subscription, None)
        return False

    def unsubscribe(self, subscription: Subscription) -> None:
        """Remove a listener; idempotent."""
        self.subscriptions.pop(subscription, None)

    # --- ends ---------------------------------------------------------------------------------------------------------

    def owner_ended(self, ref: Ref, reason: Reason) -> None:
        """An incarnation has ended; on the thread that ended it, perhaps after its successor has the cell already."""
        if is_final(ref, reason):
            self.close(ref)
            return
        with self._lock:
            if not self.is_owned_by(ref):
                return
            self.is_down = True
            if self.forked:
                self._put_aside()
            unwatched = self.supervisor if self.waiting and not self.watches else None
        self._dismiss_in_vain()
        if unwatched is not None:
            self._watch_over(unwatched)

    def not_restarted(self, ref: Ref, asked: bool) -> None:
        """An incarnation has ended and is not restarted, as was ``asked`` for or never would be; on the supervisor's thread."""
        with self._lock:
            if self.is_owned_by(ref):
                self.supervisor = None
        self._dismiss_in_vain()
        if asked:
            self.close(ref)

    def close(self, ref: Ref | None) -> None:
        """Empty the cell for good, unless another incarnation owns it; ``None`` closes it in any case. Any thread."""
        with self._lock:
            if self.closed or (ref is not None and not self.is_owned_by(ref)):
                return
            self.closed, self.snapshot, self.forked = True, EMPTY, False
            candidate, self.candidate = self.candidate, None
            self.subscriptions.clear()
            self.inherited = self.state = self.issuer = self.kind = self.supervisor = None
        if self.name is not None and by_name.get(self.name) is self:
            by_name.pop(self.name, None)
        if candidate is not None:
            candidate.close(None)
        self._dismiss_in_vain()

    def _dismiss_in_vain(self) -> None:
        """Tell the waiters where no manager can come any more; after that was marked, so that later waiters see it.

        In a forked child one of them may have a manager made anew before the others wake. Each is taken out first, so that this
        manager does not take over a wait that is over: its reader comes back.
        """
        if not self.may_be_served():
            candidate = self.candidate
            for waiter in [*self.waiting, *(() if candidate is None else candidate.waiting)]:
                self.remove_waiter(waiter)
                waiter.resolve(GONE)

    def _watch_over(self, supervisor: Ref) -> None:
        """See that waiters hear of it when there will be no restart."""
        self.watches.append(monitor(supervisor, lambda _: self._dismiss_in_vain()))
        if not self.is_down:  # a successor has come, and may have looked for watches before this one was there
            self._unwatch()

    def _unwatch(self) -> None:
        for watch in take_all(self.watches):  # other threads may be ending some, or adding one
            demonitor(watch)

    # --- in a forked child --------------------------------------------------------------------------------------------

    def fork(self) -> None:
        """No manager runs here, until the first use. On the child's only thread, before any other code of ours."""
        self._lock = threading.RLock()
        self.waiting, self.counts, self.candidate = {}, {}, None
        self.expected, self.sent, self.result = None, (), None
        self.summons = _UNSENT
        for subscription in list(self.subscriptions):
            subscription.fork()
        if self.state is not None:
            self.state = as_forked(self.state)
        self.forked = self.forked or self.may_be_served(forked=True)
        if self.forked:
            self._put_aside()

    def _put_aside(self) -> None:
        if self.inherited is None:
            self.inherited, self.snapshot = self.snapshot, EMPTY
        self.aside_at = time.monotonic()


class Candidate(Cell):
    """Options that are to replace those in force, and what is asked with them: a cell that no reader has.

    What a worker, the circuit breaker or the store tells a manager about it is marked as the trial's (`OfTrial`). When they come
    into force it *is* the manager's own cell: what is still under way, on whatever thread, is passed on to that one.
    """

    __slots__ = ("holds", "main", "until")

    def __init__(self, main: Cell, options: Any, until: float) -> None:
        """Begin with nothing.

        Args:
            main: The manager's cell.
            options: The options.
            until: Reading of the clock from which on they hold where there is no answer.
        """
        self.main, self.holds, self.until = main, False, until
        super().__init__(main.name, options.identity, main.clock)
        self.options = options

    @property
    def state(self) -> State | None:
        """What the manager knows with these options."""
        known = self.main.state
        if self.holds or known is None:
            return known
        trial = known.trial
        return trial.state if trial is not None and trial.number == self.number else None

    @state.setter
    def state(self, _state: State | None) -> None:  # the manager saves it with its own
        pass

    def addressed(self, message: object) -> object:
        """What to send the manager where that message is about this cell."""
        return message if self.holds else OfTrial(self.number, message)

    def tell(self, message: object) -> None:
        """Send the manager a message about this cell."""
        self.main.tell(self.addressed(message))

    def count(self, what: str) -> None:
        """One more of something that happens here; any thread."""
        self.main.count(what)

    def expects(self, attempt: int, request: int) -> bool:
        """Whether the result of that request is still waited for; any thread."""
        return self.main.expects(attempt, request) if self.holds else super().expects(attempt, request)

    def note_sent(self, sent: FetchStarted) -> None:
        """Note that a request is being sent."""
        with self._lock:  # as for `deliver`
            if not self.holds:
                super().note_sent(sent)
                return
        self.main.note_sent(sent)

    def deliver(self, result: Result) -> bool:
        """Keep a result until the manager takes it; false where it is not waited for any longer."""
        with self._lock:  # either it is in here when the manager takes all over, or it comes after that
            if not self.holds:
                return super().deliver(result)
        return self.main.deliver(result)

    def add_waiter(self, waiter: AnyWaiter, *, quietly: bool = False) -> None:
        """Have somebody wait for these options to have a token."""
        super().add_waiter(waiter, quietly=quietly)
        if self.holds:  # after the line above: what took all over may not have seen it
            self.main.add_waiter(waiter)

    def remove_waiter(self, waiter: AnyWaiter) -> None:
        """Wait no longer."""
        super().remove_waiter(waiter)
        self.main.remove_waiter(waiter)

    def hand_over(self) -> tuple[tuple[int, int] | None, tuple[FetchStarted, ...], Result | None, FileVersions | None]:
        """Be the manager's own cell from now on: what is waited for here, what is known of it, and the versions of the files."""
        with self._lock:
            self.holds = True
            return self.expected, self.sent, self.result, self.versions


def is_final(ref: Ref, reason: Reason) -> bool:
    """Tell whether a manager has ended for good.

    Args:
        ref: The manager.
        reason: What it ended with.

    Returns:
        ``False`` after a crash, and where its supervisor ends it for a sibling's sake and starts it again: its successor goes on
        with the token, and until then readers are served.
    """
    return is_orderly(reason) and not ends_for_restart(ref)


class Snapshot(Sealed):
    """A token as readers see it. It changes once at most: when the token is rejected its deadline is past.

    Attributes:
        text: The access token's text; never shown.
        deadline: Reading of the manager's clock when the token ends.
        token: The token.
        ahead_s: How far the wall clock was ahead of the manager's when the token's request started.
    """

    __slots__ = ("_unclaimed", "ahead_s", "deadline", "text", "token")
    _unclaimed: None  # there until the first rejection takes it out, in one operation; an empty snapshot has none
    text: str
    deadline: float
    token: TokenResponse | None
    ahead_s: float

    def __init__(self, token: TokenResponse | None, deadline: float, ahead_s: float = 0.0) -> None:
        put(self, text="" if token is None else token.access_token, deadline=deadline, token=token, ahead_s=ahead_s)
        if token is not None:
            put(self, _unclaimed=None)

    def reject(self) -> bool:
        """Let no reader have the token any more; true for the first call only.

        It is this very snapshot that ends, so that the rejection cannot hit a newer one that is published at the same moment.
        """
        put(self, deadline=-math.inf)  # first: a second caller of this must not read it any more either
        try:
            object.__delattr__(self, "_unclaimed")
        except AttributeError:
            return False
        return True

    def __repr__(self) -> str:
        return f"Snapshot({self.token!r}, deadline={self.deadline})"


EMPTY = Snapshot(None, -math.inf)
