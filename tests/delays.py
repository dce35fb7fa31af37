"""Delays what other threads do, as a busy machine does: a test that counts on their pace fails.

A test that races fails once in thousands of runs, and then on somebody else's machine. With ``OIDC_ACTOR_DELAYS=<seed>`` each
message and turn of an actor, each timer, each job of a worker pool, each answer of the embedded provider and each new thread
comes late by a random time, often a little and now and then a lot; and a file that is rewritten in place is empty for a while.
"""

from __future__ import annotations

import functools
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LATE = ((0.45, 0.0, 0.0), (0.4, 0.0, 0.004), (0.13, 0.005, 0.04), (0.02, 0.1, 0.25))
"""How often, and by how many seconds at least and at most."""

sleep = time.sleep  # before a test puts its own in place of it


class Delays:
    """Wraps functions, so that they are late."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)

    def one(self) -> None:
        if threading.current_thread() is not threading.main_thread():  # which plays the test
            [(_, least_s, most_s)] = self.rng.choices(LATE, [one[0] for one in LATE])
            sleep(self.rng.uniform(least_s, most_s))

    def before(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def delayed(*args: Any, **options: Any) -> Any:
            self.one()
            return function(*args, **options)

        return delayed

    def after(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def delayed(*args: Any, **options: Any) -> Any:
            try:
                return function(*args, **options)
            finally:
                self.one()

        return delayed


def begin(seed: int) -> None:
    """Have everything come late, from now on."""
    from oidc_actor.manager.workers import WorkerPool
    from oidc_actor.testing import listener
    from supervision.process.mailbox import Mailbox
    from supervision.process.process import Process
    from supervision.runtime.timer_thread import _TimerThread

    delays = Delays(seed)

    def submitted(pool: Any, lane: Any, run: Callable[[], None], **options: Any) -> None:
        submit(pool, lane, delays.before(delays.after(run)), **options)

    def written(path: Path, *args: Any, **options: Any) -> int:
        if path.is_file():
            path.open("w").close()
            sleep(delays.rng.uniform(0.0, 0.01))
        return write(path, *args, **options)

    submit, write = WorkerPool.submit, Path.write_text
    for owner, name, function in (
        (Mailbox, "offer", delays.before(Mailbox.offer)),
        (Process, "turn", delays.before(Process.turn)),
        (_TimerThread, "_next_due", delays.after(_TimerThread._next_due)),
        (WorkerPool, "submit", submitted),
        (listener._Handler, "run_wsgi", delays.before(delays.after(listener._Handler.run_wsgi))),
        (threading.Thread, "run", delays.before(threading.Thread.run)),
        (Path, "write_text", written),
    ):
        setattr(owner, name, function)
