"""Drives the pure machine by hand: a state, a clock's reading, and what it wanted done last."""

from dataclasses import dataclass, field
from typing import Any

from fakes import AUTH, Fixed

from oidc_actor.machine.effects import AskPermission, Effect, Fetch, Publish, Reject, Reply, Report, ScheduleTick
from oidc_actor.machine.events import (
    Allowed,
    Denied,
    Event,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    Haste,
    Refresh,
    Refusal,
    Rejected,
    Started,
    Tick,
    Wait,
)
from oidc_actor.machine.failure_policy import Rng
from oidc_actor.machine.state import Attempt, Rules, State
from oidc_actor.machine.transitions import step
from oidc_actor.values.clock import Skew
from oidc_actor.values.errors import DiscoveryError, OIDCActorError, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.resource_metadata import ResourceMetadata
from oidc_actor.values.tokens import ParsedToken, TokenResponse

CONFIG = OIDCConfig(issuer="https://i", token_endpoint="https://i/token")
DOWN = TokenRequestError("no answer", sent=False)
INVALID_CLIENT = TokenRequestError("HTTP 401: invalid_client", status=401, error="invalid_client", retryable=False)
INVALID_GRANT = TokenRequestError("HTTP 400: invalid_grant", status=400, error="invalid_grant")


@dataclass(eq=False)
class Reader:
    """A waiter as the machine sees one, with what it was told."""

    deadline: float
    min_validity_s: float = 0.0
    wants_refresh: bool = False
    rejected: Rejected | None = None
    outcomes: list[Any] = field(default_factory=list)

    def resolve(self, outcome: Any) -> None:
        self.outcomes.append(outcome)


class Driver:
    """A machine with everything it knows in plain sight."""

    def __init__(
        self, state: State | None = None, *, now: float = 1000.0, rng: Rng | None = None, **fields: Any
    ) -> None:
        rules = fields.pop("rules", Rules(discovers=False))
        self.state = state or State(oidc_config=CONFIG, auth=AUTH, rules=rules)
        self.state = self.state._replace(**fields)
        self.now = now
        self.rng = rng or Fixed(0)
        self.effects: list[Effect] = []
        self.answers: list[Denied] = []

    def denied(self, until: float, **fields: Any) -> "Driver":
        """The circuit breaker denies the next attempt; it allows all others."""
        self.answers.append(Denied(until, **fields))
        return self

    def do(self, event: Event) -> "Driver":
        self.state, self.effects = step(self.state, event, self.now, self.rng)
        while self.state.is_asking:
            answer = self.answers.pop(0) if self.answers else Allowed()
            self.state, more = step(self.state, answer, self.now, self.rng)
            self.effects = self.effects + more
        for effect in self.effects:
            if isinstance(effect, Reply):
                for waiter in effect.waiters:
                    waiter.resolve(effect.outcome)
        return self

    def of(self, kind: type) -> list[Any]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    @property
    def fetch(self) -> Fetch | None:
        found = self.of(Fetch)
        assert len(found) <= 1
        return found[0] if found else None

    @property
    def haste(self) -> Haste:
        """Why it asked for the attempt under way, or that was denied."""
        (asked,) = self.of(AskPermission)
        return asked.haste

    @property
    def reported(self) -> list[Report]:
        return self.of(Report)

    @property
    def reports(self) -> list[str]:
        return [effect.event for effect in self.reported]

    def start(self) -> "Driver":
        return self.do(Started())

    def wait(self, seconds: float) -> "Driver":
        self.now += seconds
        return self

    def tick(self) -> "Driver":
        """Let time pass to the tick that is due, and handle it."""
        assert self.state.refresh_timer is not None
        self.now = max(self.now, self.state.refresh_timer)
        return self.do(Tick())

    def sent(self) -> "Driver":
        assert self.state.attempt is not None
        return self.do(FetchStarted(self.state.attempt.number, self.state.attempt.request, self.now))

    def succeeds(
        self, text: str = "a", lifetime: float = 300.0, *, ago: float = 0.0, skew: Skew | None = None, **members: Any
    ) -> "Driver":
        """The request under way brings a token."""
        token = ParsedToken(TokenResponse(text, expires_in=lifetime, **members), lifetime, "expires_in")
        return self.ends_with(token, ago=ago, skew=skew)

    def ends_with(
        self, result: OIDCConfig | ResourceMetadata | ParsedToken, *, ago: float = 0.0, skew: Skew | None = None
    ) -> "Driver":
        assert self.state.attempt is not None
        return self.do(
            FetchSucceeded(self.state.attempt.number, self.state.attempt.request, self.now - ago, result, skew)
        )

    def late(self, attempt: Attempt, error: OIDCActorError = DOWN, **fields: Any) -> "Driver":
        """The request of an attempt that has ended long since fails."""
        return self.do(FetchFailed(attempt.number, attempt.request, self.now, error, **fields))

    def fails(self, error: OIDCActorError = DOWN, **fields: Any) -> "Driver":
        assert self.state.attempt is not None
        return self.do(FetchFailed(self.state.attempt.number, self.state.attempt.request, self.now, error, **fields))

    def join(self, timeout: float = 5.0, min_validity: float = 0.0) -> Reader:
        reader = Reader(self.now + timeout, min_validity)
        self.do(Wait(reader))
        return reader

    def refreshed(self) -> "Driver":
        """A reader forces a refresh, and does not wait."""
        return self.do(Refresh())

    def refresh(self, timeout: float = 5.0) -> Reader:
        reader = Reader(self.now + timeout, wants_refresh=True)
        self.do(Refresh(reader))
        return reader


def refused(reader: Reader) -> Refusal:
    """What a reader was refused with, once."""
    (outcome,) = reader.outcomes
    assert isinstance(outcome, Refusal)
    return outcome


def with_token(lifetime: float = 300.0, **fields: Any) -> Driver:
    """A machine that has just got its first token."""
    return Driver(**fields).start().sent().succeeds(lifetime=lifetime)


__all__ = [
    "CONFIG",
    "DOWN",
    "INVALID_CLIENT",
    "INVALID_GRANT",
    "DiscoveryError",
    "Driver",
    "Publish",
    "Reader",
    "Reject",
    "ScheduleTick",
    "refused",
    "with_token",
]
