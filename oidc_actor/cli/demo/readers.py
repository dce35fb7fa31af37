"""Reader threads: what an application's request handlers would be."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from oidc_actor.values.tokens import TokenResponse

PAUSE_S = 0.004
JOIN_S = 5.0
KEPT_TIMES = 50_000


MOST_SLEW = 0.0005
"""How much faster than others a wall clock may go while it is adjusted (adjtime)."""


@dataclass(slots=True)
class _Tally:
    """One thread's counters; only that thread writes them."""

    reads: int = 0
    failed: int = 0
    first_failure: str | None = None
    times_s: list[float] = field(default_factory=list)


class Readers:
    """Threads that read the token again and again, and check what they get.

    Args:
        read: Gets a token or raises; it may wait.
        count: How many threads.
    """

    def __init__(self, read: Callable[[], TokenResponse], count: int = 8) -> None:
        self._read = read
        self._stop = threading.Event()
        self._timed = threading.Event()
        self._timed.set()
        self._tallies = [_Tally() for _ in range(count)]
        self._threads = [
            threading.Thread(target=self._run, args=(tally,), name=f"demo-reader-{number}", daemon=True)
            for number, tally in enumerate(self._tallies)
        ]

    def start(self) -> None:
        """Begin to read."""
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """Read no more; what fails from now on is no failed read."""
        self._stop.set()

    def join(self) -> None:
        """Wait until all threads are gone; one that waits for a token goes when its manager does."""
        deadline = time.monotonic() + JOIN_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - time.monotonic()))

    def stop_timing(self) -> None:
        """Take no more times: from now on readers wait, because the token is allowed to expire."""
        self._timed.clear()

    @property
    def reads(self) -> int:
        """Reads that ended, well or badly."""
        return sum(tally.reads for tally in self._tallies)

    @property
    def failed(self) -> int:
        """Reads that raised or got a token that had expired before they asked."""
        return sum(tally.failed for tally in self._tallies)

    @property
    def first_failure(self) -> str | None:
        """What the first failure of a thread was, if any failed."""
        return next((tally.first_failure for tally in self._tallies if tally.first_failure), None)

    def times_s(self) -> tuple[float, float]:
        """Median and 99th percentile of a read while the token lived, in seconds."""
        times = sorted(time_s for tally in self._tallies for time_s in list(tally.times_s))
        return (statistics.median(times), times[len(times) * 99 // 100]) if times else (0.0, 0.0)

    def _run(self, tally: _Tally) -> None:
        while not self._stop.wait(PAUSE_S):
            asked_wall = time.time()
            began = time.perf_counter()
            try:
                token = self._read()
            except Exception as error:  # noqa: BLE001 - whatever a read raises is a failed read
                self._fail(tally, f"{type(error).__name__}: {error}")
            else:
                took_s = time.perf_counter() - began
                if self._timed.is_set() and len(tally.times_s) < KEPT_TIMES:
                    tally.times_s.append(took_s)
                if _had_expired(token, asked_wall):
                    self._fail(tally, "an expired token was handed out")
            tally.reads += 1

    def _fail(self, tally: _Tally, why: str) -> None:
        if not self._stop.is_set():
            tally.failed += 1
            tally.first_failure = tally.first_failure or why


def _had_expired(token: TokenResponse, asked_wall: float) -> bool:
    """Whether it had when it was asked for, by the wall clock, which is not the one that managers go by."""
    ends = token.expires_at
    return ends is not None and ends.timestamp() + (token.expires_in or 0.0) * MOST_SLEW <= asked_wall
