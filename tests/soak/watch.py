"""What must never happen, seen from outside the manager: by its requests, by its readers, by the process as a whole."""

from __future__ import annotations

import base64
import contextlib
import ctypes
import functools
import json
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from urllib.parse import parse_qs, unquote

from oidc_actor.client import RequestsTransport
from oidc_actor.clock import default_clock
from oidc_actor.transport import Request, Response

MOST_KEPT = 30
MOST_THREADS = {"oidc-actor-http": 32, "oidc-actor-listeners": 4, "supervision": 64}
SAMPLE_EVERY_S = 0.5
STATM = Path("/proc/self/statm")
PAGE_BYTES = 4096
M_ARENA_MAX = -8

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


def use_one_arena() -> None:
    """Keep glibc's malloc to one arena, before any thread is started.

    By default it has one for a handful of threads each, and with a provider that starts a thread for every request they
    fragment for minutes: growth that looks like a leak and is none.
    """
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)


class Vitals:
    """The process: its threads, by whose they are, and its memory, every half second on a thread of its own."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._over = threading.Event()
        self._most: Counter[str] = Counter()
        self._memory: list[tuple[float, float]] = []  # seconds, MB
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
    def memory_mb(self) -> float:
        """Resident memory now."""
        return self._memory[-1][1] if self._memory else 0.0

    def growth_mb(self) -> tuple[float, float]:
        """Growth over the second half, and the slope of a line through it in MB a minute."""
        half = self._memory[len(self._memory) // 2 :]
        if len(half) < 4:
            return 0.0, 0.0
        mean_t, mean_m = (sum(column) / len(half) for column in zip(*half, strict=True))
        spread = sum((t - mean_t) ** 2 for t, _ in half)
        slope = sum((t - mean_t) * (m - mean_m) for t, m in half) / spread
        return slope * (half[-1][0] - half[0][0]), slope * 60

    def _run(self) -> None:
        began = time.monotonic()
        while not self._over.wait(SAMPLE_EVERY_S):
            now = Counter(_owner(thread.name) for thread in threading.enumerate())
            for owner, limit in MOST_THREADS.items():
                self._most[owner] = max(self._most[owner], now[owner])
                if now[owner] > limit:
                    self._findings.broke(f"{now[owner]} threads of {owner}")
            if STATM.exists():
                self._memory.append((time.monotonic() - began, int(STATM.read_text().split()[1]) * PAGE_BYTES / 1e6))


def _owner(name: str) -> str:
    return next((owner for owner in MOST_THREADS if name.startswith(owner)), "others")
