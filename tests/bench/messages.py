"""Messages to one actor from 1, 16 and 200 threads at the same time, next to bare Pykka.

What is compared is how many are handled in a second of processor time, of all threads together.
"""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import pykka
from figures import Figure, at_least, median_ratio

from supervision import Server, call, cast

SENDERS = (1, 16, 200)
WITHIN_S = 300.0
EACH = 1_000
"""Casts of each sender, at least: to wake its thread costs as much as some tens of them."""


class _Echo:
    def on_receive(self, message: Any) -> Any:
        return message


class Pooled(_Echo, Server):
    """A server on the pool."""


class OwnThread(_Echo, Server):
    """A server on a thread of its own."""

    runtime = "thread"


class Bare(_Echo, pykka.ThreadingActor):
    """Pykka's own."""

    use_daemon_thread = True


def run(*, quick: bool) -> list[Figure]:
    """Measure calls, then casts, in turns."""
    rounds, messages = (7, 8_000) if quick else (21, 20_000)
    if hasattr(os, "sched_setaffinity"):  # between two cores, what a change of threads costs is luck
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    bare, pooled, threaded = Bare.start(), Pooled.start_link(), OwnThread.start_link()
    calls = {
        "ask, bare": lambda _: bare.ask(1),
        "call, pool": lambda _: call(pooled, 1),
        "call, own thread": lambda _: call(threaded, 1),
    }
    casts = {
        "tell, bare": lambda _: bare.tell(None),
        "cast, pool": lambda _: cast(pooled, None),
        "cast, own thread": lambda _: cast(threaded, None),
    }
    goals = {
        "call, pool": (1.0, 1.0, 1.0),
        "call, own thread": (1.1, 1.1, 1.1),
        "cast, pool": (1.0, 1.4, 1.8),
        "cast, own thread": (1.0, 1.4, 1.8),
    }
    figures = []
    for works, count, each in ((calls, messages, 1), (casts, 5 * messages, EACH)):
        for place, senders in enumerate(SENDERS):
            many = max(count, each * senders)
            rates: dict[str, list[float]] = {name: [] for name in works}
            for _ in range(rounds):
                for (name, work), actor in zip(works.items(), (bare, pooled, threaded), strict=True):
                    rates[name].append(_rate(work, senders, many, actor))
            compared = next(iter(works))
            for name, found in rates.items():
                ratio = median_ratio(found, rates[compared])
                goal = at_least(goals[name][place], ratio) if name in goals else {}
                what = f"{name}: {senders} sender{'s' if senders > 1 else ''}"
                figures.append(Figure("messages", what, statistics.median(found), "/CPU-s", ratio, compared, **goal))
    pykka.ActorRegistry.stop_all()
    return figures


def _rate(work: Callable[[Any], Any], senders: int, messages: int, actor: Any) -> float:
    """Messages in a second of processor time, until the actor has handled all."""
    each = messages // senders
    begin, end = threading.Barrier(senders + 1), threading.Barrier(senders + 1)

    def send() -> None:
        begin.wait(WITHIN_S)
        for _ in range(each):
            work(None)
        end.wait(WITHIN_S)

    threads = [threading.Thread(target=send) for _ in range(senders)]
    for thread in threads:
        thread.start()
    begin.wait(WITHIN_S)
    began = time.process_time()
    end.wait(WITHIN_S)
    actor.ask(None)  # behind all others
    spent_s = time.process_time() - began
    for thread in threads:
        thread.join(WITHIN_S)
    return each * senders / spent_s
