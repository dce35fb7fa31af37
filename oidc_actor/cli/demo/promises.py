"""What the demo promises, and whether the figures kept it. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the story goes.

    Attributes:
        token_lifetime_s: Life of the provider's tokens, by which everything else goes.
        limit_s: The whole story must be over by then.
    """

    token_lifetime_s: int
    limit_s: float

    @property
    def step_s(self) -> float:
        """The manager's least time between two attempts and its longest backoff; also how long a crash is left to look at."""
        return self.token_lifetime_s / 10

    @property
    def spare_life_s(self) -> float:
        """The outage ends when the token has this much left."""
        return self.token_lifetime_s / 3


NORMAL = Pace(token_lifetime_s=10, limit_s=45.0)
FAST = Pace(token_lifetime_s=3, limit_s=15.0)

REFRESHES = 2
CRASHES = 3
HERD = 200


@dataclass(slots=True, kw_only=True)
class Figures:
    """What was measured, over the whole story unless it says otherwise.

    Attributes:
        duration_s: From the first token to the end of the last scene.
        reads: Reads of the reader threads.
        failed_reads: Those that raised, or got a token that had expired before they asked.
        first_failure: What the first of them raised; `None` if there was none.
        median_read_s: Median time of a read while the token lived.
        p99_read_s: 99th percentile of the same.
        refreshes: New tokens in the first scene.
        outage_s: How long the provider was down in the second scene.
        token_left_s: Life left of the old token when the new one came, after the outage.
        crashes: How often the actor was killed.
        restarts: How often its supervisor started it again.
        crash_requests: Token requests that the crashes caused.
        herd: Callers at once on the expired token.
        herd_served: Those of them that got a valid token.
        herd_requests: Token requests while they were served.
        herd_wait_s: How long the last of them waited after the provider was back.
        token_requests: All token requests that reached the provider.
        unfinished: Why the story ended early; `None` if it did not.
    """

    duration_s: float = 0.0
    reads: int = 0
    failed_reads: int = 0
    first_failure: str | None = None
    median_read_s: float = 0.0
    p99_read_s: float = 0.0
    refreshes: int = 0
    outage_s: float = 0.0
    token_left_s: float = 0.0
    crashes: int = 0
    restarts: int = 0
    crash_requests: int = 0
    herd: int = 0
    herd_served: int = 0
    herd_requests: int = 0
    herd_wait_s: float = 0.0
    token_requests: int = 0
    unfinished: str | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """One promise: what it says, whether it was kept, and the figure behind that."""

    text: str
    kept: bool
    figure: str


def counted(count: int, thing: str) -> str:
    """`1 request`, `2 requests`."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def judge(figures: Figures, pace: Pace) -> list[Promise]:
    """Hold the figures against what was promised."""
    f = figures
    failures = f"{f.failed_reads} of {f.reads:,}" + (f", the first: {f.first_failure}" if f.first_failure else "")
    return [
        Promise("No read failed", f.failed_reads == 0 and f.reads > 0, failures),
        Promise("Refreshed ahead of expiry", f.refreshes >= REFRESHES, counted(f.refreshes, "new token")),
        Promise(
            "An outage shorter than the token's life goes unnoticed",
            f.outage_s > 0 and f.token_left_s > 0,
            f"{f.outage_s:.1f} s down, new token {f.token_left_s:.1f} s before the end",
        ),
        Promise(
            "A crash loses nothing",
            f.crashes == CRASHES == f.restarts and f.crash_requests <= 1,
            f"{f.crashes} times killed, {counted(f.restarts, 'restart')}, {counted(f.crash_requests, 'extra request')}",
        ),
        Promise(
            f"One request serves {HERD} callers",
            f.herd_served == HERD == f.herd and f.herd_requests == 1,
            f"{f.herd_served} of {f.herd} served by {counted(f.herd_requests, 'request')}",
        ),
        Promise(
            f"All within {pace.limit_s:.0f} s",
            f.unfinished is None and f.duration_s <= pace.limit_s,
            f.unfinished or f"{f.duration_s:.1f} s",
        ),
    ]


def as_json(figures: Figures, promises: list[Promise]) -> dict[str, Any]:
    """The summary for programs: `kept`, each promise, each figure."""
    return {
        "kept": all(promise.kept for promise in promises),
        "promises": [asdict(promise) for promise in promises],
        "figures": asdict(figures),
    }
