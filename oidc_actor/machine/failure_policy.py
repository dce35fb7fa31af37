"""What a failed request means for what comes next, and how long to wait after it (`RetryPolicy`). Pure.

=====================================================  ==============================================================
a redeemed refresh token brought                       next
=====================================================  ==============================================================
a refusal (4xx about the token or the grant)           the full grant, in the same attempt, unless it asks to wait
nothing that was sent (no connection, no secret)       the same refresh token, at the next attempt
no answer, 502, 504, or a 200 that cannot be read      the full grant, at the next attempt: the provider may have
                                                       rotated the token and its answer was lost. Redeeming it again
                                                       would look like theft to a provider that detects reuse, and end
                                                       the live access token with the family. Only where the credentials
                                                       are a refresh token themselves is it redeemed again: providers
                                                       grant a grace period for exactly this, and there is no other way
any other answer                                       the same refresh token, at the next attempt
=====================================================  ==============================================================
"""

from __future__ import annotations

from dataclasses import fields
from typing import Literal, Protocol

from oidc_actor.values.clock import is_seconds
from oidc_actor.values.errors import ConfigError, OIDCActorError, ProviderError, SecretUnavailable, UnusableMetadata
from supervision.frozen import dataclass

UNREACHABLE_TRIES = 4
"""After that many unreachable attempts in a row the metadata are asked for again: the endpoint may have moved."""

_MOVED = frozenset({301, 302, 303, 307, 308, 404, 405, 410})  # a redirect is never followed, but it is a hint
_LOST = frozenset({502, 504})


def may_have_rotated(error: OIDCActorError) -> bool:
    """Whether the provider may have redeemed the refresh token although no new one came."""
    if isinstance(error, SecretUnavailable) or (isinstance(error, ProviderError) and not error.sent):
        return False
    status = status_of(error)
    return status is None or 200 <= status < 300 or status in _LOST


def may_have_moved(error: OIDCActorError, failures: int) -> bool:
    """Whether the token endpoint may have moved, after that many failures in a row, this one included."""
    if isinstance(error, SecretUnavailable):
        return False
    status = status_of(error)
    return (
        isinstance(error, UnusableMetadata)
        or status in _MOVED
        or (status is None and failures % UNREACHABLE_TRIES == 0)
    )


def is_about_secrets(error: OIDCActorError | None) -> bool:
    """Whether a change of a secret may be enough for a success: one was missing, or what was sent was refused."""
    return isinstance(error, SecretUnavailable) or (error is not None and status_of(error) in {400, 401, 403})


def opens_circuit(error: OIDCActorError) -> bool:
    """Whether the failure is about the provider, not about these credentials, so that the issuer's circuit breaker counts it."""
    if isinstance(error, (SecretUnavailable, UnusableMetadata)) or not isinstance(error, ProviderError):
        return False
    status = error.status
    return status is None or status >= 500 or status in {408, 425}


def bound_by_retry_after(error: OIDCActorError) -> Literal["manager", "client", "issuer"]:
    """Which managers a ``Retry-After`` binds: a 429 all of its client, wherever it is used, a 5xx all of the issuer."""
    status = status_of(error) or 0
    if status >= 500:
        return "issuer"
    return "client" if status == 429 else "manager"


def retry_after_s(error: OIDCActorError) -> float:
    """Seconds the provider asked to wait; 0 where it did not."""
    return (error.retry_after_s or 0.0) if isinstance(error, ProviderError) else 0.0


def status_of(error: OIDCActorError) -> int | None:
    """The HTTP status of the answer, ``None`` where none came."""
    return error.status if isinstance(error, ProviderError) else None


def code_of(error: OIDCActorError) -> str | None:
    """The OAuth error code of the answer, ``None`` where it held none."""
    return error.error if isinstance(error, ProviderError) else None


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
    not count. While readers ask in vain, no wait after a transient failure is longer than ``asked_maximum_s``.

    Attributes:
        initial_s: Most seconds after the first transient failure.
        maximum_s: Most seconds after any transient failure.
        probe_initial_s: Most seconds after the first permanent failure; its half is at least 60.
        probe_maximum_s: Most seconds after any permanent failure.
        asked_maximum_s: Most seconds after any transient failure while there is no valid token and a reader waits for one, or
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
                raise _wrong(field.name, f"expected finite seconds above 0, got {value!r}")
        if self.maximum_s < self.initial_s:
            raise _wrong("maximum_s", f"expected at least initial_s={self.initial_s!r}, got {self.maximum_s!r}")
        if self.probe_initial_s < 2 * SHORTEST_PROBE_S:
            raise _wrong(
                "probe_initial_s",
                f"expected at least {2 * SHORTEST_PROBE_S:g} seconds, so that no probe comes "
                f"sooner than {SHORTEST_PROBE_S:g} after a permanent error, got {self.probe_initial_s!r}",
            )
        if self.probe_maximum_s < self.probe_initial_s:
            raise _wrong(
                "probe_maximum_s",
                f"expected at least probe_initial_s={self.probe_initial_s!r}, got {self.probe_maximum_s!r}",
            )


def _wrong(name: str, problem: str) -> ConfigError:
    return ConfigError(problem, (name,), label=f"RetryPolicy.{name}")


def retry_delay_s(policy: RetryPolicy, failures: int, rng: Rng) -> float:
    """Seconds to wait after the ``failures``-th transient failure in a row (counted from 1)."""
    return rng.uniform(0.0, _doubled(policy.initial_s, policy.maximum_s, failures))


def probe_delay_s(policy: RetryPolicy, failures: int, rng: Rng) -> float:
    """Seconds to wait after the ``failures``-th permanent failure in a row (counted from 1)."""
    longest = _doubled(policy.probe_initial_s, policy.probe_maximum_s, failures)
    return rng.uniform(longest / 2, longest)


def _doubled(initial_s: float, maximum_s: float, failures: int) -> float:
    return min(maximum_s, initial_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS))
