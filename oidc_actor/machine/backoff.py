"""How long to wait after a failure. Pure: the random source is an argument."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Protocol

from oidc_actor.values.clock import is_seconds
from oidc_actor.values.errors import ConfigError

SHORTEST_PROBE_S = 60.0
"""No probe follows a permanent error sooner than this, in seconds, unless something wakes the manager."""

_MOST_DOUBLINGS = 60


class Rng(Protocol):
    """The part of ``random.Random`` that is used."""

    def uniform(self, a: float, b: float, /) -> float:
        """Return a float between ``a`` and ``b``."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a manager tries again after a failure.

    After the n-th transient failure in a row it waits a random time between 0 and
    ``min(maximum_s, initial_s * 2**(n-1))`` seconds ("full jitter"), after the n-th permanent one between half and the
    whole of ``min(probe_maximum_s, probe_initial_s * 2**(n-1))``. Attempts that a live token's nearing end brought forward do
    not count. While somebody asks in vain for a token, no wait after a transient failure is longer than ``asked_maximum_s``.

    Attributes:
        initial_s: Most seconds after the first transient failure.
        maximum_s: Most seconds after any transient failure.
        probe_initial_s: Most seconds after the first permanent failure; its half is at least 60.
        probe_maximum_s: Most seconds after any permanent failure.
        asked_maximum_s: Most seconds after any transient failure while there is no valid token and somebody waits for one, or
            has asked for one within as many seconds. Where ``maximum_s`` is shorter, that holds.

    Raises:
        ConfigError: A value that is no finite number of seconds, or out of order.
    """

    initial_s: float = 0.5
    maximum_s: float = 60.0
    probe_initial_s: float = 300.0
    probe_maximum_s: float = 3600.0
    asked_maximum_s: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not is_seconds(value) or not value:
                raise ConfigError(f"RetryPolicy.{field.name}: expected finite seconds above 0, got {value!r}")
        if self.maximum_s < self.initial_s:
            raise ConfigError(
                f"RetryPolicy.maximum_s: expected at least initial_s={self.initial_s!r}, got {self.maximum_s!r}"
            )
        if self.probe_initial_s < 2 * SHORTEST_PROBE_S:
            raise ConfigError(
                f"RetryPolicy.probe_initial_s: expected at least {2 * SHORTEST_PROBE_S:g} seconds, so that no probe comes "
                f"sooner than {SHORTEST_PROBE_S:g} after a permanent error, got {self.probe_initial_s!r}"
            )
        if self.probe_maximum_s < self.probe_initial_s:
            raise ConfigError(
                f"RetryPolicy.probe_maximum_s: expected at least probe_initial_s={self.probe_initial_s!r}, "
                f"got {self.probe_maximum_s!r}"
            )


def retry_delay_s(policy: RetryPolicy, failures: int, rng: Rng) -> float:
    """Seconds to wait after the ``failures``-th transient failure in a row (counted from 1)."""
    return rng.uniform(0.0, _doubled(policy.initial_s, policy.maximum_s, failures))


def probe_delay_s(policy: RetryPolicy, failures: int, rng: Rng) -> float:
    """Seconds to wait after the ``failures``-th permanent failure in a row (counted from 1)."""
    longest = _doubled(policy.probe_initial_s, policy.probe_maximum_s, failures)
    return rng.uniform(longest / 2, longest)


def _doubled(initial_s: float, maximum_s: float, failures: int) -> float:
    return min(maximum_s, initial_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
