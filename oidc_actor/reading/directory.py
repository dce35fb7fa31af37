"""The table of cells: by name, by ref, and across a fork; which manager trades whose token; what a jump of the clock ends.

A look-up takes no lock, because a signal handler or a finalizer may interrupt a reader anywhere, and read. A manager gets its
cell on its own thread, while it starts, in this order: it owns its name; it has its cell (`take_cell`), which is in both tables
then; readers that wait for it are told. In between a reader finds a name with no cell behind it, waits for a `Bell`, and looks
again. Nothing tells readers of a start that fails; so they also look every `LOOK_S` seconds.

In a forked child no manager runs. A hook puts each token aside, on the child's only thread; the first use there (`locate`)
finds it put aside and starts the manager anew on the thread of that use, one manager at a time.

The wall clock is compared with the clocks that deadlines are kept on, every 5 s, once for the whole process. So a read stays one
look at one clock. Where the wall clock has jumped forward, tokens that are past their end by it are taken from their readers
here, on the thread that compares, so that none is read once `after_restore` has returned. What comes next is each manager's
decision (`oidc_actor.machine.invalidation`). Managers that are not concerned are not told.
"""

from __future__ import annotations

import contextlib
import math
import operator
import threading
import time
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import pykka

from oidc_actor.machine.events import ClockJumped, SourceRenewed
from oidc_actor.machine.state import logins
from oidc_actor.reading.cell import Cell, Ref, by_name
from oidc_actor.values.clock import JUMP_S, REFERENCES, Clock, is_past, reference, wall_ahead_s
from oidc_actor.values.errors import OIDCActorError
from oidc_actor.values.secrets import StoredSecret
from supervision.errors import NoProcess, SupervisionError
from supervision.process.registry import name_in, whereis
from supervision.runtime.dispatcher import blocking
from supervision.runtime.per_process import PerProcess, in_forked_child
from supervision.runtime.timer_thread import call_later
from supervision.runtime.waits import Bell


class ManagerNotRunning(OIDCActorError, NoProcess):
    """No manager is there: it was never started, was stopped, or has crashed, and its token has ended. ``.server`` says which."""

    text = "no TokenManager behind {server}: none was started here, or it was stopped, or has crashed and its token has ended"


START_S = 5.0
"""Seconds to wait for a manager that is starting, at most; a start waits for nothing."""

LOOK_S = 0.05
"""Seconds between two looks of a reader that waits for a start."""

COMPARE_S = 5.0
"""Seconds between two comparisons of the clocks."""

_by_ref: weakref.WeakKeyDictionary[Ref, Cell] = weakref.WeakKeyDictionary()
_nameless: weakref.WeakKeyDictionary[Ref, Cell] = weakref.WeakKeyDictionary()  # those of them that have no name
_by_number = operator.attrgetter("number")
_lock = PerProcess(threading.Lock)  # guards the choice of a name's cell among managers that start; readers go without
_arrivals: PerProcess[dict[Bell, None]] = PerProcess(dict)  # rung when a manager has its cell
_revivers: PerProcess[dict[int, None]] = PerProcess(dict)  # the threads that hold the next one, or wait for it
_reviving = PerProcess(threading.Lock)  # one manager at a time is made anew in a forked child; guards nothing else
# By the name of the manager whose token is traded, which may not be there yet, or by its cell's number.
_followers: dict[Hashable, weakref.WeakKeyDictionary[Cell, None]] = {}
_parents_logins: set[StoredSecret] = set()  # refresh tokens that managers of parent processes went on with at a fork


def take_cell(
    ref: Ref,
    *,
    name: str | None,
    identity: object,
    clock: Clock,
    supervisor: Ref | None,
    inherited: Cell | None = None,
    options: Any = None,
    began_as: object = None,
) -> Cell:
    """Give a starting manager its cell: its predecessor's, where that crashed and was the same in all that matters.

    Args:
        ref: The manager.
        name: Its name, which it owns; ``None`` for a manager without.
        identity: Credentials and issuer; compared by value.
        clock: What the deadlines are readings of.
        supervisor: The supervisor that restarts it, or ``None``.
        inherited: In a forked child, the cell that the manager is made anew for.
        options: The options that it begins with.
        began_as: The credentials and issuer that it was started with, before others came into force.

    Returns:
        The cell.
    """
    with _lock.value:
        found = inherited if name is None else by_name.get(name)
        if found is not None and (found.identity != identity or found.clock != clock):
            replaced, found = found, None
        else:
            replaced = None
        if found is None or not found.set_owner(ref, supervisor, anew=inherited is not None):
            found = Cell(name, identity, clock)
            found.set_owner(ref, supervisor)
        found.options, found.began_as = options, began_as
        # By ref first. Closing the other cell takes it out of `by_name`: a reader that looks in between finds the name's owner,
        # and by that ref the new cell.
        _by_ref[ref] = found
        if replaced is not None:
            replaced.close(None)
        if name is None:
            _nameless[ref] = found
        else:
            by_name[name] = found
    for bell in list(_arrivals.value):
        bell.ring()
    return found


def in_force(given: Any, name: str | None, predecessor: Ref | None, inherited: Cell | None = None) -> Any:
    """The options that a manager which is started again goes on with: others may have come into force since it was first.

    Args:
        given: Those that it is started with.
        name: Its name.
        predecessor: Its last incarnation, as its supervisor knows it, or ``None``.
        inherited: In a forked child, the cell that it is made anew for.
    """
    cell = inherited or (None if predecessor is None else _by_ref.get(predecessor))
    if cell is None and name is not None:
        cell = by_name.get(name)
    return cell.options if cell is not None and cell.options and cell.began_as == given.identity else given


def locate(server: Ref | str, *, revive: bool = True, wait_s: float = START_S) -> Cell:
    """Find a manager's cell.

    Args:
        server: The manager's ref or a name of it.
        revive: In a forked child, whether to make an inherited manager anew.
        wait_s: Seconds to wait for one that has its name already and will have its cell in a moment.

    Returns:
        Its cell, which may hold a live token even where the manager itself has crashed.

    Raises:
        ManagerNotRunning: No manager is or was there, or it was stopped.
        TypeError: That is no ref or name, or an actor's that is no manager.
    """
    cell = _look_up(server)
    if (cell is None or cell.closed) and wait_s > 0 and is_starting(server):
        _await_arrival(lambda: is_starting(server), wait_s)
        cell = _look_up(server)
    if cell is None or cell.closed:
        raise ManagerNotRunning(server)
    if revive and cell.inherited is not None:
        _make_anew(cell)
    return cell


def cell_of(server: object) -> Cell | None:
    """The cell of a ref or a name, where there is one now; neither waits nor makes a manager anew."""
    try:
        return _look_up(server)
    except TypeError:
        return None


def all_cells(*, unused_s: float = math.inf) -> list[Cell]:
    """Every manager of this process whose token is served, the oldest first.

    Args:
        unused_s: In a forked child, seconds for which nothing may have used an inherited manager before this makes it anew.
    """
    nameless = [_nameless.get(ref) for ref in (known() for known in _nameless.keyrefs()) if ref is not None]
    found = [*list(by_name.values()), *dict.fromkeys(nameless)]
    cells = [cell for cell in found if cell is not None and not cell.closed]
    cells.sort(key=_by_number)
    now = time.monotonic()
    for cell in cells:
        if cell.inherited is not None and now - cell.aside_at >= unused_s:
            with contextlib.suppress(SupervisionError):  # no thread can be had, or its name is taken: no token then
                _make_anew(cell)
    return cells


def follow(source: Hashable, follower: Cell) -> None:
    """Have a manager that trades the token of another told of each new one; it is until it is gone.

    Args:
        source: The other's ref or name; one of that name may be started later.
        follower: The manager's cell.
    """
    cell = cell_of(source)  # by ref, or by a second name
    for key in (name_in(source), None if cell is None else cell.number):
        if key is not None:
            _followers.setdefault(key, weakref.WeakKeyDictionary())[follower] = None


def tell_followers(cell: Cell) -> None:
    """Tell the managers that trade this one's token that it has a new one, which readers get already; on its own thread."""
    found = [known() for key in (cell.name, cell.number) if key in _followers for known in _followers[key].keyrefs()]
    for follower in dict.fromkeys(found):
        if follower is not None:
            follower.tell(SourceRenewed())


def is_parents_login(login: StoredSecret | None) -> bool:
    """Tell whether a refresh token is one that a manager of the parent process, or of that one's, went on with at the fork."""
    return login in _parents_logins


def is_any() -> bool:
    """Whether there may be a manager in this process."""
    return bool(by_name) or len(_by_ref) > 0


def is_making_anew() -> bool:
    """Whether the calling thread makes an inherited manager anew, and a handler or a finalizer has interrupted it there."""
    return threading.get_ident() in _revivers.value


def is_starting(server: Ref | str) -> bool:
    """Tell whether a manager is there that will have its cell in a moment."""
    name = name_in(server)
    ref = server if name is None else whereis(name)
    return isinstance(ref, pykka.ActorRef) and ref.is_alive() and ref not in _by_ref and _is_manager(ref)


def await_successor(cell: Cell, ref: Ref | None, wait_s: float) -> None:
    """Wait until another incarnation has a cell, or none can come any more."""
    _await_arrival(lambda: cell.ref is ref and cell.may_be_served(), wait_s)


def _await_arrival(is_due: Callable[[], bool], wait_s: float) -> None:
    """Wait while a manager is due to get its cell."""
    ends_at = time.monotonic() + wait_s
    with blocking():
        while (left_s := ends_at - time.monotonic()) > 0:
            bell = Bell()
            _arrivals.value[bell] = None  # first this, then the look: an arrival after the look rings it
            try:
                if not is_due():
                    return
                bell.wait(min(left_s, LOOK_S))
            finally:
                _arrivals.value.pop(bell, None)


def _make_anew(cell: Cell) -> None:
    me = threading.get_ident()
    if me in _revivers.value:  # a handler or a finalizer has interrupted this very thread: it gets what is inherited
        return
    _revivers.value[me] = None
    try:
        with _reviving.value:
            kind = cell.kind
            if cell.inherited is not None and kind is not None:  # another thread may have been first
                kind.launch(cell.options, cell)
    finally:
        _revivers.value.pop(me, None)


def _look_up(server: Any) -> Cell | None:
    name = name_in(server)
    if name is not None:
        cell = by_name.get(name)
        if cell is not None:
            return cell
        ref = whereis(name)  # a second name, given with supervision.register
        return None if ref is None else _of_ref(ref)
    if isinstance(server, pykka.ActorRef):
        return _of_ref(server)
    raise TypeError(f"server: expected the ref or the name of a TokenManager, got {type(server).__name__}")


def _of_ref(ref: Ref) -> Cell | None:
    cell = _by_ref.get(ref)
    if cell is None and ref.is_alive() and not _is_manager(ref):
        raise TypeError(
            f"server: expected the ref or the name of a TokenManager, got that of {ref.actor_class.__name__}"
        )
    return cell


def _is_manager(ref: Ref) -> bool:
    return getattr(ref.actor_class, "has_cell", False) is True


def _fork() -> None:
    """In a forked child no manager runs; each is made anew at its first use."""
    for cell in {*by_name.values(), *_by_ref.values()}:
        if cell.state is not None:
            _parents_logins.update(logins(cell.state))
        cell.fork()


in_forked_child(_fork)


# --- jumps of the wall clock --------------------------------------------------------------------------------------------


class _ClockWatch:
    """Compares, as long as there are managers."""

    def __init__(self) -> None:
        self.is_running = False
        # Guards that and `_ahead_s`. Reentrant: a finalizer that runs amid a comparison may start a manager, or compare.
        self._lock = threading.RLock()

    def begin(self) -> None:
        """Compare from now on, as there is a manager; on the manager's thread, or the timer thread."""
        with self._lock:
            if self.is_running:
                return
            self.is_running = True
        try:
            call_later(COMPARE_S, self._look)
        except RuntimeError:  # no thread for timers can be had: the next manager that starts tries again
            self.is_running = False

    def compare(self) -> None:
        """Compare now, and see to the managers if the wall clock has jumped forward. Any thread."""
        with self._lock:
            before, ahead_s = dict(_ahead_s), _readings()
            _ahead_s.update(ahead_s)
        if any(ahead_s[clock] - before[clock] > JUMP_S for clock in ahead_s):
            for cell in all_cells():
                _see_to(cell, ahead_s[reference(cell.clock)])

    def _look(self) -> None:
        """On the timer thread."""
        self.compare()
        self.is_running = False  # first this, then the look: a manager that starts in between begins again by itself
        if is_any():
            self.begin()


def _readings() -> dict[Clock, float]:
    return {clock: wall_ahead_s(clock) for clock in REFERENCES}


def _see_to(cell: Cell, ahead_s: float) -> None:
    """Withhold a token that is past its end, and tell the manager of one that is past its refresh point."""
    now, snapshot, state = cell.clock(), cell.snapshot, cell.state
    if not cell.is_served or state is None or cell.inherited is not None:
        return  # no manager is here to replace it; one that starts on this cell looks at the wall clock itself
    if snapshot.token is not None and is_past(snapshot.deadline, snapshot.ahead_s, now, ahead_s):
        cell.hide(snapshot.token)
    # What a request that is under way brings is as old as the wall clock says, and judged when it comes.
    if state.attempt is not None or (
        state.token is not None and is_past(state.refresh_at, state.ahead_s, now, ahead_s)
    ):
        cell.tell(ClockJumped(ahead_s))


_ahead_s = _readings()
"""As of the last comparison. A forked child goes on from its parent's: the wall clock may have jumped since."""

_clock_watch = PerProcess(_ClockWatch)  # a forked child has no timer, and its parent's lock may be held for ever


def watch_clocks() -> None:
    """See that the clocks are compared; cheap where they are already."""
    if not _clock_watch.value.is_running:
        _clock_watch.value.begin()


def after_restore() -> None:
    """Compare the clocks now: for the hook that runs after this machine, or this process, was restored from a snapshot.

    On return no reader gets a token that is past its end by the wall clock, unless its manager has tried in vain to replace it.
    Without this call that takes up to 5 s. Any thread; never waits for the network.
    """
    with contextlib.suppress(RuntimeError):  # a mailbox that cannot get a thread has the message all the same
        _clock_watch.value.compare()
