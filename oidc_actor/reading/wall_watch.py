"""The wall clock against the clocks that deadlines are kept on: compared every 5 s, once for the whole process.

A read stays one look at one clock. Where the wall clock has jumped forward, tokens that are past their end by it are taken from
their readers here, on the thread that compares, so that none is read once `after_restore` has returned; what comes next is each
manager's decision (`oidc_actor.machine.invalidation`). Managers that are not concerned are not told.
"""

from __future__ import annotations

import contextlib
import threading

from oidc_actor.machine.events import ClockJumped
from oidc_actor.machine.invalidation import JUMP_S, is_past
from oidc_actor.reading.cell import Cell
from oidc_actor.reading.directory import all_cells, is_any
from oidc_actor.values.clock import REFERENCES, Clock, reference, wall_ahead_s
from supervision.runtime.per_process import PerProcess
from supervision.runtime.timer_thread import call_later

LOOK_S = 5.0
"""Seconds between two comparisons."""


class _Watch:
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
            call_later(LOOK_S, self._look)
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

_watch = PerProcess(_Watch)  # in a forked child there is no timer, and its parent's lock may be held for ever


def begin() -> None:
    """See that the clocks are compared; cheap where they are already."""
    if not _watch.value.is_running:
        _watch.value.begin()


def after_restore() -> None:
    """Compare the clocks now: for the hook that runs after this machine, or this process, was restored from a snapshot.

    On return no reader gets a token that is past its end by the wall clock, unless its manager has tried in vain to replace it.
    Without this call that takes up to 5 s. Any thread; never waits for the network.
    """
    with contextlib.suppress(RuntimeError):  # a mailbox that cannot get a thread has the message all the same
        _watch.value.compare()
