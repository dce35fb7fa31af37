"""What the machine wants done, as values. The effect handler does them, in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, TypeAlias

from oidc_actor.credentials.parameters import StepUp
from oidc_actor.machine.events import Haste, HeldLease, Outcome, Waiters
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import TokenResponse, TokenTypeHint
from supervision.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Discover:
    """Get the provider's metadata.

    Attributes:
        instead_of: The metadata that are known and have become doubtful, or ``None``.
    """

    instead_of: OIDCConfig | None = None


@dataclass(frozen=True, slots=True)
class VerifyResource:
    """Get the metadata of the resource that the token is for (RFC 9728): they have to name the issuer."""

    config: OIDCConfig


@dataclass(frozen=True, slots=True)
class Redeem:
    """Redeem a refresh token (RFC 6749 section 6)."""

    config: OIDCConfig
    refresh_token: Secret


@dataclass(frozen=True, slots=True)
class FullGrant:
    """Get a token with the credentials themselves.

    Attributes:
        config: The provider's metadata.
        previous: Where a function of the user's brings the token: the one before, with the refresh token that is known; or
            ``None``.
    """

    config: OIDCConfig
    previous: TokenResponse | None = None


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask the store, which members share, for a newer token, and else for the right to ask the provider.

    Attributes:
        known_gen: The newest generation that is known, 0 without one.
        need_s: Seconds that a newer token must still live to be of use.
        rejected: A token that is of no use, or ``None``.
        may_try: Whether a login that may be spent is to be tried now.
        adopts_only: Whether only a newer token is asked for.
    """

    known_gen: int = 0
    need_s: float = 0.0
    rejected: Secret | None = None
    may_try: bool = False
    adopts_only: bool = False


Grant: TypeAlias = Discover | VerifyResource | Redeem | FullGrant | Claim


@dataclass(frozen=True, slots=True)
class AskPermission:
    """Ask the circuit breaker whether an attempt may begin; the next event is `Allowed` or `Denied`.

    Attributes:
        haste: Why the manager asks now; a ``Retry-After`` binds it all the same.
        discovers: Whether the attempt begins with a discovery and there are no older metadata.
    """

    haste: Haste
    discovers: bool = False


@dataclass(frozen=True, slots=True)
class Fetch:
    """Run one request on a worker's thread; its end comes back as `FetchSucceeded` or `FetchFailed`.

    Attributes:
        attempt: Number of the attempt, which the answer repeats.
        request: Number of the request within the attempt, which the answer repeats.
        grant: What to ask for.
        early: Whether a live token's nearing end brought the attempt forward, so that its failure lengthens no backoff.
        lease: What the store has granted for it; ``None`` without a store, or where it could not be asked.
        haste: Why the attempt is made now, for a further party that has to be asked.
        probes: Whether it is a slow probe, after an error that no retry cures.
        step_up: What to ask for besides what the credentials say; ``None`` for nothing.
    """

    attempt: int
    request: int
    grant: Grant
    early: bool = False
    lease: HeldLease | None = None
    haste: Haste = Haste.CALM
    probes: bool = False
    step_up: StepUp | None = None


@dataclass(frozen=True, slots=True)
class ScheduleTick:
    """Send a `Tick` in ``delay_s`` seconds, in place of any that is still to come."""

    delay_s: float


@dataclass(frozen=True, slots=True)
class CancelTick:
    """Forget the tick that is still to come."""


@dataclass(frozen=True, slots=True)
class Publish:
    """Show a token to every reader until the clock reads ``expires_at``, and tell the listeners if it is a new one.

    Attributes:
        ahead_s: How far the wall clock was ahead of the manager's when its request started.
    """

    token: TokenResponse
    expires_at: float
    ahead_s: float = 0.0
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class Withhold:
    """Show a token to no reader for the time being; nothing is done if another has been published since."""

    token: TokenResponse


@dataclass(frozen=True, slots=True)
class Reject:
    """Take a published token back; nothing is done if another has been published since."""

    token: TokenResponse


@dataclass(frozen=True, slots=True)
class Reply:
    """Give waiters their outcome."""

    waiters: Waiters
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class CheckSecrets:
    """Look on a worker's thread whether a secret's file has changed; `SecretsChecked` comes back."""


@dataclass(frozen=True, slots=True)
class Revoke:
    """Revoke tokens at the provider, in this order, as far as that is possible in a few seconds (RFC 7009).

    Attributes:
        attempt: Number of the manager's last attempt.
        config: The provider's metadata; ``None`` where they were never discovered.
        tokens: Each with what it is.
    """

    attempt: int
    config: OIDCConfig | None
    tokens: tuple[tuple[TokenTypeHint, Secret], ...]


@dataclass(frozen=True, slots=True)
class RenewLease:
    """Have the store extend a lease; `LeaseRenewed` or `LeaseLost` comes back, or nothing where the store does not answer."""

    lease: HeldLease


@dataclass(frozen=True, slots=True)
class ShareToken:
    """Have the store keep a token for all; `TokenShared`, `TokenOvertaken` or `ShareFailed` comes back.

    Attributes:
        lease: What it was got under.
        token: The token.
        expires_at: Reading of the manager's clock when it ends.
        lifetime_s: Seconds that it lived when it was issued.
        refresh_token: What came to be redeemed next; ``None`` where the one that was handed out stays in use, or there is none.
        keeps: Whether the refresh token that was handed out stays in use.
    """

    lease: HeldLease
    token: TokenResponse
    expires_at: float
    lifetime_s: float
    refresh_token: Secret | None = None
    keeps: bool = False


@dataclass(frozen=True, slots=True)
class GiveUpLease:
    """Have the store end a lease: no token was got under it.

    Attributes:
        lease: The lease.
        login: What has become of the refresh token that was handed out.
        wait_s: Seconds that no member is to ask the provider.
    """

    lease: HeldLease
    login: Literal["intact", "doubtful", "refused"]
    wait_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RestoreRecord:
    """Have the store put back a record that it has lost.

    Attributes:
        gen: The generation of the token.
        token: The token; ``None`` where it has been rejected, and only the login is put back.
        expires_at: Reading of the manager's clock when it ends, or has ended.
        lifetime_s: Seconds that it lived when it was issued.
        login: The refresh token that the record had last, as the store had it; ``None`` where it can be had anew.
        key: What the record is called in the store.
    """

    gen: int
    token: TokenResponse | None
    expires_at: float
    lifetime_s: float
    login: Secret | None = None
    key: str = ""


@dataclass(frozen=True, slots=True)
class ForTrial:
    """Do something on behalf of the options that are tried: with their transport, for their cell.

    Attributes:
        number: The number of the trial.
        effect: What.
    """

    number: int
    effect: Any


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Put the options that were tried in force. It comes before all else of its step.

    Attributes:
        number: The number of the trial.
        is_adopted: Whether the manager goes on as it was, with its attempt under way, and only its options are others.
        revoke: What is to be revoked at the former provider, once readers and listeners have the new token.
    """

    number: int
    is_adopted: bool = False
    revoke: tuple[Revoke, ...] = ()


@dataclass(frozen=True, slots=True)
class DropTrial:
    """End a trial; the options in force stay.

    Attributes:
        number: The number of the trial.
        state: What was known with those options, `oidc_actor.machine.state.State`.
    """

    number: int
    state: Any


@dataclass(frozen=True, slots=True)
class Report:
    """Log an event of the table in `oidc_actor.manager.log`."""

    event: str
    attempt: int
    fields: Mapping[str, object] = field(default_factory=dict)


Effect: TypeAlias = (
    AskPermission
    | Fetch
    | ScheduleTick
    | CancelTick
    | Publish
    | Withhold
    | Reject
    | Reply
    | CheckSecrets
    | Revoke
    | RenewLease
    | ShareToken
    | GiveUpLease
    | RestoreRecord
    | ForTrial
    | TakeOver
    | DropTrial
    | Report
)
