"""Timer churn: a message for later, set and cancelled, against a thread each as `threading.Timer` has it."""

from __future__ import annotations

import functools
import statistics
import threading
import time
from collections.abc import Callable

from figures import Figure, at_most, median_ratio

from supervision import Server, Timer, send_after, stop

FAR_S = 3600.0


def run(*, quick: bool) -> list[Figure]:
    """Time set-and-cancel in turns: among few pending timers, among 100,000, and with threads."""
    rounds = 5 if quick else 15
    ref = Server.start_link()
    churn = functools.partial(_churn, lambda: send_after(FAR_S, ref, "late"))
    few: list[float] = []
    threads: list[float] = []
    for _ in range(rounds):
        few.append(churn(5_000))
        threads.append(_churn(_thread_timer, 100))
    pending = [send_after(FAR_S + number % 1000, ref, "later") for number in range(100_000)]
    many = [churn(5_000) for _ in range(rounds)]
    began = time.thread_time()
    for timer in pending:
        timer.cancel()
    cancelled = (time.thread_time() - began) / len(pending) * 1e6
    stop(ref)
    delivered = [_delivered(5_000) for _ in range(3)]
    growth = statistics.median(many) / statistics.median(few)
    against = "threading.Timer"
    return [
        Figure("timers", "send_after + cancel", statistics.median(few), "us", median_ratio(few, threads), against),
        Figure("timers", "threading.Timer start + cancel", statistics.median(threads), "us", 1.0, against),
        Figure(
            "timers",
            "send_after + cancel among 100,000",
            statistics.median(many),
            "us",
            growth,
            "few",
            **at_most(3, growth, "a heap: <= 3"),
        ),
        Figure("timers", "cancel each of 100,000", cancelled, "us"),
        Figure("timers", "send_after(0) until it is handled, in a row of 5,000", statistics.median(delivered), "us"),
    ]


class Counter(Server):
    """Says when it has had so many messages."""

    def __init__(self, left: int, done: threading.Event) -> None:
        super().__init__()
        self._left = left
        self._done = done

    def on_receive(self, message: object) -> None:
        """Count."""
        self._left -= 1
        if not self._left:
            self._done.set()


def _delivered(times: int) -> float:
    """Microseconds for one that is due at once."""
    done = threading.Event()
    ref = Counter.start_link(times, done)
    began = time.perf_counter()
    for _ in range(times):
        send_after(0, ref, "now")
    done.wait(60)
    took = (time.perf_counter() - began) / times * 1e6
    stop(ref)
    return took


def _thread_timer() -> threading.Timer:
    timer = threading.Timer(FAR_S, print)
    timer.start()
    return timer


def _churn(make: Callable[[], Timer | threading.Timer], times: int) -> float:
    """Microseconds of processor time for one."""
    began = time.process_time()
    for _ in range(times):
        make().cancel()
    return (time.process_time() - began) / times * 1e6
