"""What a manager knows, as one immutable value, and the questions that are asked of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field, replace
from enum import Flag, auto
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias

from oidc_actor.credentials.credentials import Credentials
from oidc_actor.credentials.parameters import StepUp
from oidc_actor.machine.effects import (
    Claim,
    Discover,
    Effect,
    FullGrant,
    Grant,
    Redeem,
    Report,
    ShareToken,
    VerifyResource,
)
from oidc_actor.machine.events import NEVER, ClockJumped, Haste, HeldLease, Waiter
from oidc_actor.machine.failure_policy import RetryPolicy
from oidc_actor.values.clock import Skew
from oidc_actor.values.errors import OIDCActorError, SecretUnavailable, StoreError, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, StoredSecret
from oidc_actor.values.tokens import TokenResponse
from supervision.frozen import dataclass

METADATA_AGE_S = 24 * 3600.0
"""Seconds after which discovered metadata are asked for again."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What does not change while a manager lives.

    Attributes:
        retry: Waits after failures.
        min_interval_s: Least seconds between the starts of two attempts.
        discovers: Whether the metadata come from an issuer's URL, so that they can be asked for again.
        own_refresh_token: Whether the full grant itself redeems a refresh token.
        watches_files: Whether a secret is kept in a file, whose change is worth an attempt.
        revokes: Whether an orderly end revokes the token.
        verifies_resource: Whether the metadata of the resource that the token is for have to name the issuer.
    """

    retry: RetryPolicy = field(default_factory=RetryPolicy)
    min_interval_s: float = 1.0
    discovers: bool = True
    own_refresh_token: bool = False
    watches_files: bool = False
    revokes: bool = False
    verifies_resource: bool = False


class Phase(Flag):
    """What a manager is doing; `oidc_actor.machine.transitions.TABLE` says what leads from one phase to another."""

    __hash__ = object.__hash__  # an enumeration's own, of the member's name, is not written in C
    IDLE = auto()
    """It waits until the token is to be refreshed."""
    BACKOFF = auto()
    """It waits because the last attempt failed."""
    BLOCKED = auto()
    """It waits for a slow probe, or for a change: the last attempt failed with an error that no retry cures."""
    ASKING = auto()
    """An attempt is due, and the circuit breaker is being asked; the next event is its answer."""
    CLAIMING = auto()
    """The store that members share is being asked for a newer token, or for the right to ask the provider."""
    DISCOVERING = auto()
    """The provider's metadata are being asked for, or those of the resource that the token is for."""
    REFRESHING = auto()
    """A refresh token is being redeemed."""
    GRANTING = auto()
    """A token is being asked for with the credentials themselves."""
    WAITING = IDLE | BACKOFF | BLOCKED
    REQUESTING = DISCOVERING | REFRESHING | GRANTING
    UNDER_WAY = CLAIMING | REQUESTING
    ANY = WAITING | ASKING | UNDER_WAY
    SAME = 0


_PHASES = {
    Claim: Phase.CLAIMING,
    Discover: Phase.DISCOVERING,
    VerifyResource: Phase.DISCOVERING,
    Redeem: Phase.REFRESHING,
    FullGrant: Phase.GRANTING,
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt under way: a request, or a few in a row.

    Attributes:
        number: Counts the attempts of this manager.
        request: Counts the requests of this attempt.
        grant: What the request under way asks for.
        early: Whether a live token's nearing end brought it forward.
        source_renewed: Whether the token that it trades has been replaced since it began.
        jump: A jump of the wall clock since its request was sent, or ``None``: the answer is as old as the clock says.
        lease: What the store has granted for it; ``None`` without a store, or where the store cannot be asked.
        renew_at: When that lease is to be renewed next.
        login: What has become, as far as is known, of the refresh token that the store handed out with the lease.
        refused: The error that refused the login, while the store is asked if another member has a newer token; or ``None``.
        haste: Why it is made now.
        step_up: What it asks for besides what the credentials say; ``None`` for nothing.
    """

    number: int
    request: int
    grant: Grant
    early: bool = False
    source_renewed: bool = False
    jump: ClockJumped | None = None
    lease: HeldLease | None = None
    renew_at: float = math.inf
    login: Literal["intact", "doubtful", "refused"] = "intact"
    refused: OIDCActorError | None = None
    haste: Haste = Haste.CALM
    step_up: StepUp | None = None


@dataclass(frozen=True, slots=True)
class Sharing:
    """What a manager knows of the store that it shares with other members. Times are readings of its clock.

    Attributes:
        key: What the manager's record is called; empty before its first claim.
        gen: The newest generation that was seen, 0 before the first.
        has_shared: Whether the present token is in the store, as that generation.
        unshared: A token that the store has not taken yet, or ``None``.
        share_at: When that is to be tried next; infinity while it is under way.
        shares: How often it was tried.
        error: Why the store could not be asked last; ``None`` where it could.
        failures: How often in a row it could not be asked.
        failing_since: Since when it could not be asked; `NEVER` where it could last.
        polls: How often in a row a claim was not granted.
        claim_at: When the next claim may be made at the soonest.
        passed: The newest generation that a look has led to asking for.
        alone_at: When a manager whose store cannot be asked asks the provider on its own.
        rejected: The token that was rejected last, until there is another; or ``None``.
        is_missing: Whether the last claim was refused because the record is missing, or was put back a moment ago.
        login: The refresh token that the record had beside the present token, as the store has it; or ``None``.
        lifetime_s: Seconds that the present token lived when it was issued.
        left: What a crashed predecessor held, and is to be given up; or ``None``.
    """

    key: str = ""
    gen: int = 0
    has_shared: bool = False
    unshared: ShareToken | None = None
    share_at: float = math.inf
    shares: int = 0
    error: StoreError | None = None
    failures: int = 0
    failing_since: float = NEVER
    polls: int = 0
    claim_at: float = NEVER
    passed: int = 0
    alone_at: float = math.inf
    rejected: Secret | None = None
    is_missing: bool = False
    login: Secret | None = None
    lifetime_s: float = 0.0
    left: HeldLease | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    """Other options, which a second machine tries beside the one that readers see.

    Attributes:
        number: What the trial is known by.
        state: What is known with those options; it has no token, or it would be in force.
        until: Reading of the clock from which on they hold, with or without a token.
    """

    number: int
    state: State
    until: float = math.inf


@dataclass(frozen=True, slots=True)
class Denial:
    """A wait that the issuer's other managers impose: it is known to be down, or they have all just started.

    Attributes:
        until: When the wait ends.
        at: When it was imposed; `NEVER` at the start, and where the provider asked for it: then no token's end shortens it.
        asked: Whether a reader had asked for a token then, so that the wait is as short as it may be.
        probing: Whether another manager's probe was under way then: it ends by ``until``, and mostly sooner.
    """

    until: float
    at: float = NEVER
    asked: bool = False
    probing: bool = False


@dataclass(frozen=True, slots=True)
class Heard:
    """What one origin has said. Tokens are known by their fingerprints; times are readings of the manager's clock.

    Attributes:
        accepted: The token that it accepted last; ``None`` before the first.
        refused: The token that it rejected last; ``None`` before the first.
        has_accepted: Whether it has accepted a token since that rejection.
        due_at: When that rejection is, or was, answered.
        spaced_at: When it would be if it had accepted a token before.
        refused_at: When it rejected one last, of whichever token.
        interval_s: How long after that answer the next rejection is answered.
    """

    accepted: str | None = None
    refused: str | None = None
    has_accepted: bool = False
    due_at: float = NEVER
    spaced_at: float = NEVER
    refused_at: float = NEVER
    interval_s: float = 0.0


Origins: TypeAlias = Mapping[str, Heard]
"""What is remembered, the origin that was heard of longest ago first."""


class State(NamedTuple):
    """All that a manager knows. Times are readings of its clock, in seconds.

    A step makes several, each from the one before. A named tuple of this size is copied six times as fast as a dataclass, and
    with a `_replace` of our own (below the class) twelve times.

    Attributes:
        oidc_config: The provider's metadata; ``None`` until discovered.
        auth: The credentials.
        token: The last token, which may have expired; ``None`` before the first and after it was rejected.
        refresh_buffer_seconds: Lead before expiry at which a refresh is due.
        refresh_timer: When the next tick comes, or ``None`` where none is set.
        rules: What does not change.
        expires_at: When ``token`` ends.
        refresh_at: When its refresh is due.
        ahead_s: How far the wall clock was ahead of the manager's when the request for ``token`` started.
        judged_ahead_s: How far it was ahead when that was last judged.
        withheld_until: Until when ``token`` is withheld at most, after a jump of the wall clock; `NEVER` where it is not.
        origins: What resource servers have said of its tokens.
        answer_at: When a rejection of ``token`` that waits its turn is answered; ``inf`` where there is none.
        step_up: What resource servers want of the next token besides what the credentials ask for; ``None`` for nothing.
        stepped_up: What ``token`` was asked for besides; ``None`` for nothing.
        step_up_at: When the next is asked for because of that; ``inf`` where it is not.
        lifetimes: What the last tokens, at most three, had left of their lives when they came, in seconds.
        refresh_token: What the next attempt redeems, or ``None`` for the full grant.
        previous: Where a function of the user's brings the token (`Credentials.asks_provider`): the last that came, also where it
            was rejected since, with the refresh token that came last; else ``None``.
        borrowed: Whether all this was the parent process's before a fork: ``token``, and the login that it came from.
        is_asking: Whether the circuit breaker is being asked if an attempt may begin.
        attempt: The attempt under way, or ``None``.
        attempts: How many attempts there were.
        attempted_at: When the last attempt started.
        posted_at: When the last request to the token endpoint was sent.
        wanted: Whether a reader wants an attempt now, before the refresh point and in a backoff too.
        failures: Failed attempts since the last success.
        probes: How many of them in a row, up to the last, were permanent errors; above 0 the manager is blocked.
        retry_at: When the wait after the last failure ends.
        floor_at: When the wait that the provider asked for (``Retry-After``) ends.
        failed_at: When the last attempt failed.
        early: How many of ``failures`` were of attempts that a live token's nearing end brought forward.
        asked_at: When a reader last asked for a token and there was none.
        denial: The wait that the issuer's other managers impose, or ``None``.
        last_error: The error of the last attempt; ``None`` after a success.
        config_at: When ``oidc_config`` was discovered.
        config_suspect: Whether the token endpoint behaves as if it had moved.
        resource_at: When the metadata of the resource last named the issuer; `NEVER` before the first time.
        skew: How the provider's clock goes against this machine's, as last seen; ``None`` where it did not show.
        checking: Whether the secrets' files are being looked at.
        waiters: The readers that wait.
        token_requests: Requests sent to the token endpoint.
        refreshes: Tokens obtained.
        sharing: What is known of the store; ``None`` without one. With one, ``refresh_token`` is ``None``: it is in the store, or
            with the attempt.
        trial: The options that are to replace these, while they are tried; or ``None``.
        not_replaced: Why the last ones that were tried are not in force; ``None`` where the last ones are.
        is_former: Whether ``token`` was had with the options before these, which no other provider must see.
        effects: What is to be done at the end of the step under way, in order; empty between two steps.
    """

    oidc_config: OIDCConfig | None
    auth: Credentials
    token: TokenResponse | None = None
    refresh_buffer_seconds: float = 60.0
    refresh_timer: float | None = None
    rules: Rules = Rules()
    expires_at: float = NEVER
    refresh_at: float = NEVER
    ahead_s: float = 0.0
    judged_ahead_s: float = 0.0
    withheld_until: float = NEVER
    origins: Origins = MappingProxyType({})
    answer_at: float = math.inf
    step_up: StepUp | None = None
    stepped_up: StepUp | None = None
    step_up_at: float = math.inf
    lifetimes: tuple[float, ...] = ()
    refresh_token: Secret | None = None
    previous: TokenResponse | None = None
    borrowed: bool = False
    is_asking: bool = False
    attempt: Attempt | None = None
    attempts: int = 0
    attempted_at: float = NEVER
    posted_at: float = NEVER
    wanted: bool = False
    failures: int = 0
    probes: int = 0
    retry_at: float = NEVER
    floor_at: float = NEVER
    failed_at: float = NEVER
    early: int = 0
    asked_at: float = NEVER
    denial: Denial | None = None
    last_error: OIDCActorError | None = None
    config_at: float = NEVER
    config_suspect: bool = False
    resource_at: float = NEVER
    skew: Skew | None = None
    checking: bool = False
    waiters: tuple[Waiter, ...] = ()
    token_requests: int = 0
    refreshes: int = 0
    sharing: Sharing | None = None
    trial: Trial | None = None
    not_replaced: OIDCActorError | None = None
    is_former: bool = False
    effects: tuple[Effect, ...] = ()

    def then(self, *effects: Effect) -> State:
        """Have something done at the end of the step."""
        return self._replace(effects=(*self.effects, *effects))

    def report(self, event: str, **fields: object) -> State:
        """Have an event logged."""
        return self.then(Report(event, self.attempts, fields))

    @property
    def phase(self) -> Phase:
        """What the manager is doing."""
        if self.attempt is not None:
            return _PHASES[type(self.attempt.grant)]
        if self.is_asking:
            return Phase.ASKING
        return Phase.BLOCKED if self.probes else Phase.BACKOFF if self.failures else Phase.IDLE

    @property
    def blocked(self) -> bool:
        """Whether the last attempt ended with an error that no retry cures."""
        return self.probes > 0

    @property
    def login_is_parents(self) -> bool:
        """Whether no request can be made: the one refresh token that there is goes on in the parent process."""
        return self.borrowed and self.rules.own_refresh_token and self.sharing is None

    @property
    def watching(self) -> bool:
        """Whether a change of a secret's file would be worth an attempt."""
        missing = isinstance(self.last_error, SecretUnavailable)
        return self.rules.watches_files and (self.blocked or missing)


_PLACES = {name: place for place, name in enumerate(State._fields)}


def _replaced(state: State, /, **changes: object) -> State:
    values: list[Any] = [*state]
    for name, value in changes.items():
        values[_PLACES[name]] = value
    return tuple.__new__(State, values)


setattr(State, "_replace", _replaced)  # noqa: B010 - so that the checker of types knows the names by the class's own


def is_valid(state: State, now: float, min_validity_s: float = 0.0) -> bool:
    """Whether the token lives longer than ``min_validity_s`` seconds from ``now``, and may be read."""
    return state.token is not None and state.expires_at - min_validity_s > now and not is_withheld(state)


def is_withheld(state: State) -> bool:
    """Whether no reader gets the token for the time being, although it lives by the manager's clock."""
    return state.withheld_until != NEVER


def is_asked(state: State, now: float) -> bool:
    """Whether a reader waits for a token, or has asked for one in vain not long ago."""
    if now - state.asked_at <= state.rules.retry.asked_maximum_s:
        return True
    return any(waiter.deadline >= now for waiter in state.waiters)


def is_trying(state: State) -> bool:
    """Whether a request is under way, or about to be, with options that are to replace these."""
    return state.trial is not None and (state.trial.state.attempt is not None or state.trial.state.is_asking)


def is_out_of_reach(state: State, min_validity_s: float) -> bool:
    """Whether no new token can be expected to live that long: none of the last three did. Unknown before the first."""
    return bool(state.lifetimes) and min_validity_s >= max(state.lifetimes)


def came_at(state: State) -> float:
    """When the token came."""
    return state.expires_at - state.lifetimes[-1] if state.lifetimes else NEVER


LOGIN_IS_PARENTS = (
    "this process was forked, and the login of these RefreshToken credentials goes on in its parent: a refresh token that two "
    "processes redeem is revoked. Start a manager here with a login of its own, or get the tokens from the parent"
)


def as_forked(state: State) -> State:
    """Say what a forked child knows of what its parent's manager knew: its token, but no refresh token and no request.

    The credentials' own refresh token cannot be left out; with those the child makes no request (`State.login_is_parents`).
    """
    previous = None if state.previous is None else state.previous.with_refresh_token(None)
    state = state._replace(waiters=(), refresh_token=None, previous=previous, borrowed=True, denial=None, trial=None)
    if state.sharing is not None:  # the child is a member of its own, which holds nothing
        kept = replace(state.sharing, unshared=None, share_at=math.inf, left=None)
        return state._replace(attempt=None, sharing=kept)
    if not state.login_is_parents:
        return state
    told = TokenRequestError(LOGIN_IS_PARENTS, retryable=False, sent=False)
    return state._replace(attempt=None, wanted=False, failures=0, probes=0, last_error=told)


def logins(state: State) -> list[StoredSecret]:
    """Every refresh token that a manager may still redeem: none of them is a forked child's."""
    found: list[StoredSecret] = [] if state.trial is None else logins(state.trial.state)
    if state.sharing is not None:  # the store sees to it that one of them redeems it
        return found
    if state.refresh_token is not None:
        found.append(state.refresh_token)
    if state.rules.own_refresh_token and state.auth.grant_secret is not None:
        found.append(state.auth.grant_secret)
    if state.token is not None and state.token.refresh_token:
        found.append(Secret(state.token.refresh_token))
    return found
