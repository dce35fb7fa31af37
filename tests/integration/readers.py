"""Threads that read all the time, and what went wrong for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from oidc_actor import TokenResponse

PAUSE_S = 0.001
JOIN_S = 30.0


@dataclass
class Reads:
    """What the readers saw so far.

    `failures` holds one text for each read that raised or brought an expired token.
    """

    count: int = 0
    failures: list[str] = field(default_factory=list)


@contextmanager
def reading(read: Callable[[], TokenResponse], threads: int = 8) -> Iterator[Reads]:
    """Read on that many threads while the block runs."""
    seen = [Reads() for _ in range(threads)]
    total = Reads()
    over = threading.Event()

    def run(mine: Reads) -> None:
        while not over.wait(PAUSE_S):
            try:
                token = read()
            except Exception as error:
                mine.failures.append(repr(error))
            else:
                if token.expired():
                    mine.failures.append(f"expired: {token!r}")
            mine.count += 1

    workers = [threading.Thread(target=run, args=(mine,), daemon=True) for mine in seen]
    for worker in workers:
        worker.start()
    try:
        yield total
    finally:
        over.set()
        for worker in workers:
            worker.join(JOIN_S)
        total.count = sum(mine.count for mine in seen)
        total.failures = [failure for mine in seen for failure in mine.failures]
