"""What must never happen, seen from outside the manager: by its requests, by its readers, by the process as a whole."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import functools
import json
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, unquote

from oidc_actor.http.client import RequestsTransport
from oidc_actor.transport import Request, Response
from oidc_actor.values.clock import default_clock

MOST_KEPT = 30
MOST_THREADS = {"oidc-actor-http": 32, "oidc-actor-listeners": 4, "supervision": 64}
SAMPLE_EVERY_S = 0.5
STATM = Path("/proc/self/statm")
PAGE_BYTES = 4096

_ahead_s = time.time() - default_clock()


def wall() -> float:
    """Seconds since the epoch on the managers' clock, which no step of the wall clock moves; the providers go by it too."""
    return default_clock() + _ahead_s


class Findings:
    """Broken promises, each with its time; and counters. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards both
        self._began = time.monotonic()
        self._broken: list[str] = []
        self._counts: Counter[str] = Counter()

    def broke(self, what: str) -> None:
        """Note a broken promise."""
        with self._lock:
            self._counts["broken"] += 1
            if len(self._broken) < MOST_KEPT:
                self._broken.append(f"{time.monotonic() - self._began:.2f} s: {what}")

    def count(self, what: str, number: int = 1) -> None:
        """Count something."""
        with self._lock:
            self._counts[what] += number

    @property
    def broken(self) -> list[str]:
        """The first broken promises."""
        with self._lock:
            return list(self._broken)

    @property
    def counts(self) -> dict[str, int]:
        """All counters."""
        with self._lock:
            return dict(self._counts)


class WatchedTransport:
    """HTTP, with a look at each token request: one at a time for each client, and none sooner than the minimum interval.

    Args:
        findings: Where broken promises go.
        min_interval_s: The managers' minimum interval.
    """

    def __init__(self, findings: Findings, min_interval_s: float) -> None:
        self._http = RequestsTransport()
        self._findings = findings
        # A manager that is killed between sending a request and noting when counts from a moment before.
        self._least_s = min_interval_s / 2
        self._lock = threading.Lock()  # guards the tables
        self._under_way: defaultdict[str, set[object]] = defaultdict(set)
        self._last: dict[str, tuple[float, str]] = {}

    def __call__(self, request: Request, /) -> Response:
        if request.method == "GET":
            self._findings.count("discoveries")
            return self._http(request)
        who, mine = _client(request), object()
        self._sent(who, mine, parse_qs(request.body.decode())["grant_type"][0])
        try:
            return self._http(request)
        finally:
            with self._lock:
                self._under_way[who].discard(mine)

    def start_anew(self, who: str) -> None:
        """This client's manager is stopped and another begins, which knows nothing of its requests."""
        with self._lock:
            self._under_way.pop(who, None)
            self._last.pop(who, None)

    def _sent(self, who: str, mine: object, grant: str) -> None:
        now = time.monotonic()
        with self._lock:
            others = len(self._under_way[who])
            self._under_way[who].add(mine)
            last_at, last_grant = self._last.get(who, (-1e9, ""))
            self._last[who] = now, grant
        self._findings.count("token requests")
        if others:
            self._findings.broke(f"{who} has {others + 1} requests under way")
        # After a refused refresh token the full grant follows at once.
        if now - last_at < self._least_s and (last_grant, grant) != ("refresh_token", "password"):
            self._findings.broke(f"{who} asks again after {now - last_at:.3f} s")


def _client(request: Request) -> str:
    encoded = request.headers["Authorization"].partition(" ")[2]
    return unquote(base64.b64decode(encoded).decode().partition(":")[0])


@functools.lru_cache(512)  # a few for each manager; more would look like a leak
def end_of(token: str) -> float:
    """When a token of the embedded provider ends, by its own word."""
    payload = token.split(".")[1]
    return float(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"])


@dataclass(frozen=True, slots=True)
class Memory:
    """What the process holds: resident MB, MB that malloc has given out, and blocks that Python has.

    Only the latter two show a leak: with a provider that starts a thread for each request malloc's free space fragments, and
    the resident size creeps up for minutes with nothing held.
    """

    resident_mb: float
    malloc_mb: float
    blocks: int


class _MallInfo(ctypes.Structure):
    """glibc's `struct mallinfo2`."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    )


def memory() -> Memory:
    """Look now; what this system does not tell is 0."""
    resident = int(STATM.read_text().split()[1]) * PAGE_BYTES if STATM.exists() else 0
    given_out = 0
    with contextlib.suppress(OSError, AttributeError):  # another C library, or an old one
        look = ctypes.CDLL(None).mallinfo2
        look.restype = _MallInfo
        info = look()
        given_out = info.uordblks + info.hblkhd
    return Memory(resident / 1e6, given_out / 1e6, sys.getallocatedblocks())


class Vitals:
    """The process: its threads, by whose they are, and its memory, every half second on a thread of its own."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._over = threading.Event()
        self._most: Counter[str] = Counter()
        self._memory: list[Memory] = []
        self._thread = threading.Thread(target=self._run, name="soak-vitals", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End it."""
        self._over.set()
        self._thread.join(10)

    @property
    def most_threads(self) -> dict[str, int]:
        """The most threads of each kind there were at a time."""
        return dict(self._most)

    @property
    def memory(self) -> Memory:
        """Memory at the last look."""
        return self._memory[-1] if self._memory else memory()

    def growth(self) -> Memory:
        """Growth of each figure over the second half, along a line through it."""
        half = self._memory[len(self._memory) // 2 :]
        return Memory(
            _rise([one.resident_mb for one in half]),
            _rise([one.malloc_mb for one in half]),
            round(_rise([one.blocks for one in half])),
        )

    def _run(self) -> None:
        while not self._over.wait(SAMPLE_EVERY_S):
            now = Counter(_owner(thread.name) for thread in threading.enumerate())
            for owner, limit in MOST_THREADS.items():
                self._most[owner] = max(self._most[owner], now[owner])
                if now[owner] > limit:
                    self._findings.broke(f"{now[owner]} threads of {owner}")
            self._memory.append(memory())


def _rise(values: Sequence[float]) -> float:
    """How much a line through values at equal distances rises from the first to the last."""
    count = len(values)
    if count < 4:
        return 0.0
    middle, mean = (count - 1) / 2, sum(values) / count
    slope = sum((at - middle) * (value - mean) for at, value in enumerate(values))
    return slope / sum((at - middle) ** 2 for at in range(count)) * (count - 1)


def _owner(name: str) -> str:
    return next((owner for owner in MOST_THREADS if name.startswith(owner)), "others")
