"""Everything that reaches a manager's mailbox, as values. The machine's events; two of them are public."""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Literal, Protocol, TypeAlias

from oidc_actor.credentials.parameters import StepUp
from oidc_actor.values.clock import Skew
from oidc_actor.values.errors import OIDCActorError, StoreError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.resource_metadata import ResourceMetadata
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import ParsedToken, TokenResponse
from supervision.frozen import dataclass

NEVER = -math.inf
"""Stands for the time of what has not happened: before every reading of the clock."""


class Haste(IntEnum):
    """Why a manager asks now, from the least reason to the best."""

    CALM = 0
    ASKED = 1
    PRESSING = 2
    EXPLICIT = 3


class Event:
    """What the machine decides on: each kind has its row in `oidc_actor.machine.transitions.TABLE`."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class GetToken:
    """Ask for the valid token; the answer comes at once: the token, or `NoTokenError` (the original's ``:get_token``)."""


@dataclass(frozen=True, slots=True)
class ForceRefresh:
    """Tell the manager to refresh now (the original's cast). It joins a refresh that is under way."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a reader gets no token: what its `NoTokenError` is made of.

    Attributes:
        message: For people; without secrets.
        cause: The error of the last attempt, or ``None`` where none has failed.
        retry_in_s: Seconds until the next attempt, or ``None`` while one is under way.
    """

    message: str
    cause: OIDCActorError | None = None
    retry_in_s: float | None = None


Outcome: TypeAlias = TokenResponse | Refusal


@dataclass(frozen=True, slots=True)
class Rejected(Event):
    """A resource server has refused a token; told by an adapter, which need not wait for another.

    Attributes:
        origin: Which one: scheme, host and port.
        token: The token; nothing is done unless it is the current one.
        step_up: What it lacks, where it is good as such (`oidc_actor.machine.step_up`); ``None`` where it is refused.
    """

    origin: str
    token: Secret
    step_up: StepUp | None = None


@dataclass(frozen=True, slots=True)
class Accepted(Event):
    """A resource server has accepted a token; an adapter tells of the first success with each.

    Attributes:
        origin: Which one: scheme, host and port.
        token: The token.
    """

    origin: str
    token: Secret


class Waiter(Protocol):
    """A reader that waits for an outcome; the machine only carries it."""

    deadline: float
    """Reading of the manager's clock after which it no longer waits."""
    min_validity_s: float
    """Seconds the token must still live."""
    wants_refresh: bool
    """Whether it waits for a refresh (``force_refresh``) instead of a valid token: a failed attempt is its outcome."""
    rejected: Rejected | None
    """The token that it rejects: any other valid token is its outcome. ``None`` for a reader that rejects none."""

    def resolve(self, outcome: Outcome) -> None:
        """Give it its outcome; the shell does that."""


@dataclass(frozen=True, slots=True)
class Started(Event):
    """The manager may begin."""


@dataclass(frozen=True, slots=True)
class Tick(Event):
    """The time asked for with `ScheduleTick` has come, or it is worth looking at the clock for another reason."""


@dataclass(frozen=True, slots=True)
class CheckNow(Event):
    """A reader that does not wait found no token that lives ``min_validity_s`` seconds.

    Attributes:
        min_validity_s: That time.
        asks: Whether a token is wanted, and not only news of the manager.
    """

    min_validity_s: float = 0.0
    asks: bool = True


@dataclass(frozen=True, slots=True)
class Wait(Event):
    """A reader that found no token good enough waits for one."""

    waiter: Waiter


@dataclass(frozen=True, slots=True)
class Refresh(Event):
    """A reader wants a new token.

    Attributes:
        waiter: The reader that waits for the outcome, or ``None``.
        rejected: The token that a resource server refused; nothing is done unless it is the current one. ``None`` for
            a refresh for another reason.
    """

    waiter: Waiter | None = None
    rejected: Secret | None = None


@dataclass(frozen=True, slots=True)
class OfRequest(Event):
    """News of a request; it means nothing unless that is the one under way.

    Attributes:
        attempt: Number of the attempt that it belongs to.
        request: Number of the request within the attempt.
        at: Reading of the clock when the request was sent.
    """

    attempt: int
    request: int
    at: float


@dataclass(frozen=True, slots=True)
class FetchStarted(OfRequest):
    """A request has left the queue and is about to be sent."""


@dataclass(frozen=True, slots=True)
class FetchSucceeded(OfRequest):
    """A request brought what it was sent for.

    Attributes:
        result: The provider's metadata, the resource's, or a token.
        skew: How the provider's clock goes, as its answer shows it; ``None`` where it does not.
        ahead_s: How far the wall clock was ahead of the manager's when the request was sent.
    """

    result: OIDCConfig | ResourceMetadata | ParsedToken
    skew: Skew | None = None
    ahead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class FetchFailed(OfRequest):
    """A request brought an error.

    Attributes:
        error: What went wrong.
        retry_at: Reading of the clock when the issuer, which is down, may be asked again; ``None`` where it is not.
        skew: How the provider's clock goes, as its answer shows it; ``None`` where it does not.
    """

    error: OIDCActorError
    retry_at: float | None = None
    skew: Skew | None = None


@dataclass(frozen=True, slots=True)
class HeldLease:
    """What the store has granted: this manager alone is to ask the provider.

    Attributes:
        claimant: The text that the store knows the grant by.
        fence: The grant's fence: the store refuses what is shared under an older one.
        until: Reading of the manager's clock when the lease ends, unless it is renewed.
        refresh_token: What to redeem; ``None`` for the full grant.
        sealed: The refresh token that was handed out, or that the credentials begin with, as the store has it; ``None`` without.
        doubtful: Whether a holder that was lost may have spent that refresh token.
        at: Reading of the manager's clock when the store's answer was there.
        store_ms: What the store's clock said then.
        key: What the record is called in the store.
    """

    claimant: str
    fence: int
    until: float
    refresh_token: Secret | None = None
    sealed: Secret | None = None
    doubtful: bool = False
    at: float = NEVER
    store_ms: int = 0
    key: str = ""


@dataclass(frozen=True, slots=True)
class ClaimGranted(OfRequest):
    """The store grants the claim: the provider may be asked."""

    lease: HeldLease


@dataclass(frozen=True, slots=True)
class ClaimOccupied(OfRequest):
    """The store grants the claim to no one now.

    Attributes:
        until: Reading of the clock until when that holds at most.
        why: Another member has the lease (``"lease"``), or waits after a failure on behalf of all (``"down"``); the login may
            be spent, and is not to be tried yet (``"doubtful"``); there is no record, and others may be about to put it
            back (``"missing"``); or there is no newer token, and only such a one was asked for (``"free"``).
    """

    until: float
    why: Literal["lease", "down", "doubtful", "missing", "free"]


@dataclass(frozen=True, slots=True)
class TokenAdopted(OfRequest):
    """The store has a token that another member has got: no request is needed.

    Attributes:
        parsed: The token, and how long it lived when it was issued.
        expires_at: Reading of the manager's clock when it ends.
        gen: Its generation.
        login: The refresh token that the record offers, as the store has it; ``None`` without one.
        ahead_s: How far the wall clock was ahead of the manager's when the store was asked.
    """

    parsed: ParsedToken
    expires_at: float
    gen: int
    login: Secret | None = None
    ahead_s: float = 0.0


@dataclass(frozen=True, slots=True)
class LoginLost(OfRequest):
    """The one login was redeemed by a member that was lost, and tried once more since: only a new one helps."""


@dataclass(frozen=True, slots=True)
class ClaimFailed(OfRequest):
    """The store could not be asked."""

    error: StoreError


@dataclass(frozen=True, slots=True)
class LeaseRenewed(Event):
    """A lease holds for longer.

    Attributes:
        fence: Its fence.
        until: Reading of the clock when it ends.
    """

    fence: int
    until: float


@dataclass(frozen=True, slots=True)
class LeaseLost(Event):
    """Another member was granted since: what this one gets is not shared."""

    fence: int


@dataclass(frozen=True, slots=True)
class TokenShared(Event):
    """The store has the token that was got under that fence.

    Attributes:
        fence: Its fence.
        gen: Its generation.
        login: The refresh token that is redeemed next, as the store has it; ``None`` where it has none.
    """

    fence: int
    gen: int
    login: Secret | None = None


@dataclass(frozen=True, slots=True)
class TokenOvertaken(Event):
    """Another member was granted before the token that was got under that fence could be stored."""

    fence: int


@dataclass(frozen=True, slots=True)
class ShareFailed(Event):
    """The token that was got under that fence could not be stored yet."""

    fence: int
    error: StoreError


@dataclass(frozen=True, slots=True)
class RecordSeen(Event):
    """A look at the store has shown another generation of this manager's record than it knows of.

    Attributes:
        gen: The generation; 0 where there is no record.
    """

    gen: int


@dataclass(frozen=True, slots=True)
class RecordNamed(Event):
    """What the manager's record is called, which changes with a configured refresh token: what was known of another is void.

    Attributes:
        key: Its name in the store.
    """

    key: str


@dataclass(frozen=True, slots=True)
class LookFailed(Event):
    """The store could not be asked for the records of this process.

    Attributes:
        error: Why.
    """

    error: StoreError


@dataclass(frozen=True, slots=True)
class Allowed(Event):
    """The answer to `AskPermission`: the attempt may begin."""


@dataclass(frozen=True, slots=True)
class Denied(Event):
    """The answer to `AskPermission`: the circuit breaker knows that asking the issuer now is of no use.

    Attributes:
        until: Reading of the clock until when to wait.
        by_provider: Whether the provider asked for the wait (``Retry-After``), so that nothing shortens it.
        probing: Whether another manager's probe is under way, which ends by then and mostly sooner.
    """

    until: float
    by_provider: bool = False
    probing: bool = False


@dataclass(frozen=True, slots=True)
class BreakerClosed(Event):
    """The issuer answers again; each manager that was denied may go, spread over ``within_s`` seconds."""

    within_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ProbeFailed(Event):
    """The probe of another manager, which was waited for, has failed: the circuit breaker says anew how long to wait."""


@dataclass(frozen=True, slots=True)
class ClockJumped(Event):
    """The wall clock has jumped forward, as it does on a machine that was restored.

    Attributes:
        ahead_s: How far it is ahead of the manager's clock now.
        turn_at: Reading of the clock when the issuer may be asked; the manager fills that in.
    """

    ahead_s: float
    turn_at: float = NEVER


@dataclass(frozen=True, slots=True)
class SecretsChecked(Event):
    """The secrets' files were looked at.

    Attributes:
        changed: Whether one is not what it was at the last attempt.
    """

    changed: bool


@dataclass(frozen=True, slots=True)
class CertificateRenewed(Event):
    """The files of the client's certificate are all there, and one is not what it was at the last attempt."""


@dataclass(frozen=True, slots=True)
class SourceRenewed(Event):
    """Another manager, whose token this one trades, has a new one."""


@dataclass(frozen=True, slots=True)
class Replacing(Event):
    """Other options are to be in force. A trial that is under way ends: the last wish counts.

    Attributes:
        number: The number of the trial: that of its cell.
        first: What a manager with those options knows at first, `oidc_actor.machine.state.State`.
        until: Reading of the clock from which on they hold, where no answer has come.
        how: They are tried beside those in force (``"try"``); they ask for the same token, or with the same login, which cannot
            be in two hands, and so hold at once (``"adopt"``); or they are the ones in force (``"keep"``).
    """

    number: int
    first: Any
    until: float
    how: Literal["try", "adopt", "keep"] = "try"


@dataclass(frozen=True, slots=True)
class OfTrial(Event):
    """Something happened to the options that are tried; it means nothing once that trial has ended.

    Attributes:
        number: The number of the trial.
        event: What happened. In the mailbox it may be a message to the manager, which is no event.
    """

    number: int
    event: Any


@dataclass(frozen=True, slots=True)
class TrialOverdue(Event):
    """There was no answer in time for the options that are tried: they hold from now on.

    Attributes:
        number: The number of the trial.
    """

    number: int


@dataclass(frozen=True, slots=True)
class TrialWanted:
    """The manager's cell has options that are to replace those in force."""


@dataclass(frozen=True, slots=True)
class WaitersArrived:
    """Readers wait in the manager's cell whom it does not know yet: one message for however many come at once."""


@dataclass(frozen=True, slots=True)
class ResultReady:
    """The manager's cell holds the result of the request under way; an error or a token is not sent through mailboxes."""


@dataclass(frozen=True, slots=True)
class FetchLost:
    """A request has been running far longer than its timeout: a secret's source does not return, or its transport."""

    attempt: int
    request: int


@dataclass(frozen=True, slots=True)
class AskHealth:
    """Ask for the manager's `Health`."""


Waiters: TypeAlias = Sequence[Waiter]
