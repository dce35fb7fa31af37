"""The manager's decisions: ``step(state, event, now, rng) -> (state, effects)``. Pure.

`TABLE`, at the end, is the machine: in which phase (`Phase`) which event is decided by which function, and to which phases that
leads. `step` interprets it; what the table does not name changes nothing.

After every event the machine settles: while it waits and an attempt is due (`oidc_actor.machine.schedule`) it asks the
circuit breaker, and else sees that a tick comes when the next one is due. So no event is needed for time to count, and none
can be missed.
The answer of the breaker is the next event: an attempt begins when it is allowed, and nothing has to be taken back.

A result carries the numbers of its attempt and request; any other than the one under way is ignored. An error never touches
a live token, an expired one is nobody's answer, and every path leaves an attempt under way or a tick to come.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from oidc_actor.machine import failure_policy, invalidation
from oidc_actor.machine.effects import (
    AskPermission,
    CancelTick,
    CheckSecrets,
    Discover,
    Effect,
    Fetch,
    FullGrant,
    Grant,
    Publish,
    Redeem,
    Reply,
    Report,
    ScheduleTick,
)
from oidc_actor.machine.events import (
    NEVER,
    Accepted,
    Allowed,
    BreakerClosed,
    CheckNow,
    ClockJumped,
    Denied,
    Event,
    FetchFailed,
    FetchStarted,
    FetchSucceeded,
    Haste,
    ProbeFailed,
    Refresh,
    Rejected,
    SecretsChecked,
    SourceRenewed,
    Started,
    Tick,
    Wait,
    Waiter,
)
from oidc_actor.machine.failure_policy import Rng
from oidc_actor.machine.schedule import (
    asked_retry_at,
    hopeless,
    is_brought_forward,
    next_attempt_at,
    refresh_point,
    replies,
    retry_point,
    wake_at,
)
from oidc_actor.machine.state import (
    METADATA_AGE_S,
    Attempt,
    Denial,
    Phase,
    State,
    Step,
    is_asked,
    is_out_of_reach,
    is_valid,
    is_withheld,
)
from oidc_actor.protocol.metadata import OIDCConfig
from oidc_actor.protocol.response_fields import Skew
from oidc_actor.protocol.token_response import ParsedToken
from oidc_actor.values.errors import DiscoveryError, OIDCActorError, TokenRequestError, refuses_refresh_token
from oidc_actor.values.secrets import Secret, fingerprint
from oidc_actor.values.tokens import TokenResponse


def step(state: State, event: Event, now: float, rng: Rng) -> Step:
    """Decide what an event means.

    Args:
        state: What the manager knows.
        event: What happened.
        now: Reading of the manager's clock.
        rng: Random source for jitter.

    Returns:
        What it knows now, and what to do, in order.
    """
    row = row_of(state, event)
    state, effects = (state, []) if row is None else row.decide(state, event, now, rng)
    for follow in (_settle, _dismiss):
        state, more = follow(state, event, now, rng)
        effects = effects + more
    # The tick is set before a reader can see the outcome: a reader that then moves a clock made for tests moves it past the tick.
    return state, sorted(effects, key=_comes_later)


def adopt(state: State, *, under_way: bool, rejected: bool) -> State:
    """Take over what a crashed predecessor of the same name, credentials and issuer knew.

    Args:
        state: What it knew.
        under_way: Whether the request it was waiting for is still to be heard of.
        rejected: Whether its token was rejected meanwhile.

    Returns:
        What its successor starts with. Its waiters are told to it anew.
    """
    state = replace(state, refresh_timer=None, checking=False, is_asking=False, waiters=())
    if rejected:  # and the reader that rejected it may have told only the predecessor
        state = replace(invalidation.without_token(state), wanted=not under_way)
    if under_way or state.attempt is None:
        return state
    lost = isinstance(state.attempt.grant, Redeem) and not state.rules.own_refresh_token
    return replace(state, attempt=None, refresh_token=None if lost else state.refresh_token)


# --- after every event -------------------------------------------------------------------------------------------------


def _settle(state: State, event: Event, now: float, rng: Rng) -> Step:
    """Give back a token that was withheld for long enough, ask if an attempt is due, and see that the next tick comes."""
    effects: list[Effect] = []
    if is_withheld(state) and state.withheld_until <= now:
        state, effects = invalidation.give_back(state, now)
    if state.phase in DUE.phases and next_attempt_at(state) <= now:
        state, more = DUE.decide(state, event, now, rng)
        effects = effects + more
    if state.is_asking:  # the answer, which comes next, says when the next tick is due
        return state, effects
    due = wake_at(state, now)
    if due == state.refresh_timer:
        return state, effects
    effects.append(CancelTick() if due is None else ScheduleTick(due - now))
    return replace(state, refresh_timer=due), effects


def _dismiss(state: State, event: Event, now: float, rng: Rng) -> Step:
    """Refuse the waiters that waiting cannot help; one that has just come is the only news of its event."""
    asked = (event.waiter,) if isinstance(event, Wait) else state.waiters
    gone = [waiter for waiter in asked if waiter in state.waiters and hopeless(state, waiter, now)]
    if not gone:
        return state, []
    kept = tuple(waiter for waiter in state.waiters if waiter not in gone)
    return replace(state, waiters=kept), [*replies(state, gone, now)]


def _comes_later(effect: Effect) -> bool:
    return not isinstance(effect, ScheduleTick | CancelTick)


# --- readers, and what they say of the token ----------------------------------------------------------------------------


def _started(state: State, event: Started, now: float, rng: Rng) -> Step:
    return state, [Report("login_is_parents", state.attempts)] if state.login_is_parents else []


def _tick(state: State, event: Tick, now: float, rng: Rng) -> Step:
    return _look_at_secrets(replace(state, refresh_timer=None))


def _check_now(state: State, event: CheckNow, now: float, rng: Rng) -> Step:
    state = _want(state, event.min_validity_s, now, asks=event.asks)
    return (state, []) if is_valid(state, now, event.min_validity_s) else _look_at_secrets(state)


def _wait(state: State, event: Wait, now: float, rng: Rng) -> Step:
    waiter = event.waiter
    if waiter.wants_refresh:
        return _refresh(state, Refresh(waiter), now, rng)
    effects: list[Effect] = []
    if waiter.rejected is not None:
        state, effects = invalidation.rejected(state, waiter.rejected, now, rng)
    is_served = is_valid(state, now, waiter.min_validity_s) and not invalidation.is_about(state.token, waiter.rejected)
    if state.token is not None and is_served:
        return state, [*effects, Reply((waiter,), state.token)]
    state, more = _look_at_secrets(_with_waiter(_want(state, waiter.min_validity_s, now), waiter))
    return state, effects + more


def _refresh(state: State, event: Refresh, now: float, rng: Rng) -> Step:
    effects: list[Effect] = []
    # Without a token this is about one that a crashed predecessor had: it has been rejected, and is to be replaced.
    if event.rejected is not None and state.token is not None:
        if (
            state.token.access_token != event.rejected.reveal()
        ):  # it has been replaced meanwhile, which is what is wanted
            return state, [] if event.waiter is None else [Reply((event.waiter,), state.token)]
        state, effects = invalidation.reject(state, state.token)
    if event.waiter is not None:
        state = _with_waiter(state, event.waiter)
    return _wanting(state), effects


def _want(state: State, min_validity_s: float, now: float, *, asks: bool = True) -> State:
    """Make an attempt due for a live token that falls short, and the very first; where none lives, make the wait a short one."""
    if is_out_of_reach(state, min_validity_s):
        return state
    if not is_valid(state, now):
        return _asked(state, now) if asks else _first_at_once(state)
    if is_valid(state, now, min_validity_s) or state.failures:
        return state
    return _wanting(state)


def _asked(state: State, now: float) -> State:
    """A reader wants a token and there is none: the issuer is asked as soon as it may be for those who are asked."""
    state = replace(state, asked_at=now, refresh_at=min(state.refresh_at, now))
    if state.denial is not None and not state.denial.asked:
        state = replace(state, denial=None)
    return replace(state, retry_at=asked_retry_at(state))


def _first_at_once(state: State) -> State:
    was_asked = state.denial is not None and state.denial.asked
    return replace(state, denial=None) if state.attempted_at == NEVER and not was_asked else state


def _wanting(state: State) -> State:
    return state if state.attempt is not None else replace(state, wanted=True)


def _with_waiter(state: State, waiter: Waiter) -> State:
    return replace(state, waiters=(*state.waiters, waiter))


# --- the world around ---------------------------------------------------------------------------------------------------


def _look_at_secrets(state: State) -> Step:
    """See whether a secret that is waited for has changed, unless that is being seen to."""
    if not state.watching or state.checking or state.attempt is not None:
        return state, []
    return replace(state, checking=True), [CheckSecrets()]


def _secrets_checked(state: State, event: SecretsChecked, now: float, rng: Rng) -> Step:
    state = replace(state, checking=False)
    if not event.changed or not state.watching or state.attempt is not None:
        return state, []
    return replace(state, wanted=True), [Report("secret_changed", state.attempts)]


def _source_renewed(state: State, event: SourceRenewed, now: float, rng: Rng) -> Step:
    """Try again where it was for want of that token; an attempt under way may have read the old one, and ends first."""
    if state.attempt is not None:
        return replace(state, attempt=replace(state.attempt, source_renewed=True)), []
    return _with_renewed_source(state), []


def _with_renewed_source(state: State) -> State:
    """The minimum interval counts from the last request for a token: an attempt that had none to trade sent nothing."""
    if not failure_policy.is_about_secrets(state.last_error):
        return state
    return replace(state, wanted=True, attempted_at=min(state.attempted_at, state.posted_at))


def _breaker_closed(state: State, event: BreakerClosed, now: float, rng: Rng) -> Step:
    # A manager whose token is asked for goes now, as at its start; the others come one after the other.
    at = now if is_asked(state, now) else now + rng.uniform(0.0, event.within_s)
    if state.denial is not None:
        state = replace(state, denial=Denial(min(state.denial.until, at)))
    if state.failures and not state.blocked:
        state = replace(state, retry_at=min(state.retry_at, at))
    return state, []


def _probe_failed(state: State, event: ProbeFailed, now: float, rng: Rng) -> Step:
    # Where a token lives its end says when to ask again.
    is_waited_for = state.denial is not None and state.denial.probing and not is_valid(state, now)
    return (replace(state, denial=None) if is_waited_for else state), []


# --- an attempt: metadata if need be, a refresh token if there is one, else the full grant ----------------------------


def _ask(state: State, event: Event, now: float, rng: Rng) -> Step:
    return replace(state, is_asking=True), [AskPermission(_haste(state, now), state.oidc_config is None)]


def _haste(state: State, now: float) -> Haste:
    if state.wanted:
        return Haste.EXPLICIT
    if is_brought_forward(state) or state.attempted_at == NEVER:
        return Haste.PRESSING
    return Haste.ASKED if is_asked(state, now) and not is_valid(state, now) else Haste.CALM


def _denied(state: State, event: Denied, now: float, rng: Rng) -> Step:
    denial = Denial(event.until, now, asked=is_asked(state, now), probing=event.probing)
    floor_at = max(state.floor_at, event.until) if event.by_provider else state.floor_at
    state = replace(state, is_asking=False, denial=denial, floor_at=floor_at)
    return state, [Report("issuer_held", state.attempts, {"wait_s": round(next_attempt_at(state) - now, 3)})]


def _allowed(state: State, event: Allowed, now: float, rng: Rng) -> Step:
    config, early = state.oidc_config, is_brought_forward(state)
    discovers = config is None or (state.rules.discovers and _are_doubtful(state, now))
    grant = Discover(instead_of=config) if config is None or discovers else _token_grant(state, config)
    number = state.attempts + 1
    state = replace(state, is_asking=False, attempts=number, attempted_at=now, wanted=False, denial=None)
    return _send(replace(state, attempt=Attempt(number, 0, grant, early)), grant)


def _are_doubtful(state: State, now: float) -> bool:
    """Whether to ask for the metadata again before they are used. After a wait that the answer to that asked for they serve."""
    if isinstance(state.last_error, DiscoveryError):
        return False
    return state.config_suspect or now - state.config_at > METADATA_AGE_S


def _token_grant(state: State, config: OIDCConfig) -> Grant:
    return FullGrant(config) if state.refresh_token is None else Redeem(config, state.refresh_token)


def _send(state: State, grant: Grant) -> Step:
    """Go on with the next request of the attempt under way."""
    assert state.attempt is not None
    attempt = replace(state.attempt, request=state.attempt.request + 1, grant=grant)
    return replace(state, attempt=attempt), [Fetch(attempt.number, attempt.request, grant, attempt.early)]


def _request_started(state: State, event: FetchStarted, now: float, rng: Rng) -> Step:
    """A request is about to be sent; from here on the minimum interval counts."""
    assert state.attempt is not None
    attempt = replace(state.attempt, jump=None)
    state = replace(state, attempt=attempt, attempted_at=max(state.attempted_at, event.at))
    if isinstance(attempt.grant, Discover):
        return state, []
    return replace(state, posted_at=state.attempted_at, token_requests=state.token_requests + 1), []


def _metadata_came(state: State, event: FetchSucceeded, now: float, rng: Rng) -> Step:
    assert isinstance(event.result, OIDCConfig)
    effects: list[Effect] = []
    if event.result != state.oidc_config:
        effects.append(Report("provider_discovered", state.attempts, {"token_endpoint": event.result.token_endpoint}))
    state = replace(state, oidc_config=event.result, config_at=now, config_suspect=False)
    return _after(effects, _send(state, _token_grant(state, event.result)))


def _metadata_failed(state: State, event: FetchFailed, now: float, rng: Rng) -> Step:
    state, seen = _with_skew(state, event.skew)
    if state.oidc_config is None or failure_policy.retry_after_s(event.error):
        return _after(seen, _end(state, event.error, event.retry_at, now, rng))
    seen.append(Report("discovery_failed", state.attempts, _fields(event.error)))
    return _after(seen, _send(state, _token_grant(state, state.oidc_config)))


def _token_came(state: State, event: FetchSucceeded, now: float, rng: Rng) -> Step:
    assert isinstance(event.result, ParsedToken)
    state, seen = _with_skew(state, event.skew)
    if event.at + event.result.lifetime_s <= now:
        late = TokenRequestError(f"the token had expired when it came: it lived {event.result.lifetime_s:.1f} s")
        state = replace(state, refresh_token=_next_refresh_token(state, event.result.token))  # that came alive
        return _after(seen, _end(state, late, None, now, rng))
    return _after(seen, _obtained(state, event, event.result, now, rng))


def _refresh_failed(state: State, event: FetchFailed, now: float, rng: Rng) -> Step:
    assert state.attempt is not None
    assert isinstance(state.attempt.grant, Redeem)
    error, config = event.error, state.attempt.grant.config
    if not refuses_refresh_token(error):
        if failure_policy.may_have_rotated(error) and not state.rules.own_refresh_token:
            state = replace(state, refresh_token=None)
        return _grant_failed(state, event, now, rng)
    state, seen = _with_skew(state, event.skew)
    seen.append(Report("refresh_token_refused", state.attempts, _fields(error)))
    state = replace(state, refresh_token=None)
    if failure_policy.retry_after_s(error):
        return _after(seen, _end(state, error, event.retry_at, now, rng))
    return _after(seen, _send(state, FullGrant(config)))


def _grant_failed(state: State, event: FetchFailed, now: float, rng: Rng) -> Step:
    state, seen = _with_skew(state, event.skew)
    if failure_policy.may_have_moved(event.error, state.failures + 1):
        state = replace(state, config_suspect=True)
    return _after(seen, _end(state, event.error, event.retry_at, now, rng))


def _obtained(state: State, event: FetchSucceeded, minted: ParsedToken, now: float, rng: Rng) -> Step:
    at, expires_at = event.at, event.at + minted.lifetime_s
    assert state.attempt is not None
    token, rules = _keeping(state, minted.token), state.rules
    grant, jump = state.attempt.grant, state.attempt.jump
    state = replace(
        state,
        token=token,
        expires_at=expires_at,
        lives=(*state.lives[-2:], expires_at - now),
        answer_at=math.inf,
        ahead_s=event.ahead_s,
        judged_ahead_s=event.ahead_s,
        withheld_until=NEVER,
        refresh_at=refresh_point(state.refresh_buffer_seconds, at, minted.lifetime_s, rules.min_interval_s, rng),
        refresh_token=_next_refresh_token(state, token),
        borrowed=False,
        attempt=None,
        failures=0,
        early=0,
        probes=0,
        last_error=None,
        refreshes=state.refreshes + 1,
    )
    reports = _reports_of(state, minted, grant, now)
    state, seen = (state, []) if jump is None else invalidation.jumped(state, jump, now, rng)
    if is_withheld(state):
        return state, reports + seen
    effects: list[Effect] = [Publish(token, expires_at, state.ahead_s), *_answers(state, now), *reports, *seen]
    return replace(state, waiters=()), effects


def _answers(state: State, now: float) -> list[Effect]:
    served = [w for w in state.waiters if is_valid(state, now, w.min_validity_s)]
    short = [w for w in state.waiters if not is_valid(state, now, w.min_validity_s)]
    answers: list[Effect] = []
    if served and state.token is not None:
        answers.append(Reply(served, state.token))
    return answers + replies(state, short, now)


def _end(state: State, error: OIDCActorError, issuer_at: float | None, now: float, rng: Rng) -> Step:
    """End the attempt with an error; it displaces no token."""
    assert state.attempt is not None
    attempt = state.attempt
    # What was sent before a jump of the wall clock is not the refresh that a withheld token waits for: that is to come.
    jump = attempt.jump if is_withheld(state) else None
    state, given_back = invalidation.give_back(state, now) if jump is None else (state, [])
    state = replace(
        state,
        attempt=None,
        failures=state.failures + 1,
        early=state.early + attempt.early,
        failed_at=now,
        probes=state.probes + 1 if error.permanent else 0,
        floor_at=max(state.floor_at, now + failure_policy.retry_after_s(error)),
        last_error=error,
    )
    turn_at = math.inf if jump is None else max(now, jump.turn_at)
    state = replace(state, retry_at=min(retry_point(state, now, issuer_at, rng), turn_at))
    state = _with_renewed_source(state) if attempt.source_renewed else state
    retry_in_s = next_attempt_at(state) - now
    fields = {**_fields(error), "failures": state.failures, "retry_in_s": round(retry_in_s, 3)}
    event = "blocked" if state.blocked else "request_failed"
    effects: list[Effect] = [Report(event, state.attempts, fields), *given_back]
    refused = [waiter for waiter in state.waiters if waiter.wants_refresh]
    if refused:
        state = replace(state, waiters=tuple(waiter for waiter in state.waiters if not waiter.wants_refresh))
        effects += replies(state, refused, now)
    return state, effects


def _with_skew(state: State, skew: Skew | None) -> Step:
    """Keep what an answer shows of the provider's clock; the first that is far off is worth a warning."""
    if skew is None:
        return state, []
    was_tolerable = state.skew is None or state.skew.is_tolerable
    news = not skew.is_tolerable and was_tolerable
    reports = [Report("clock_skewed", state.attempts, {"skew_s": round(skew.ahead_s, 1)})] if news else []
    return replace(state, skew=skew), [*reports]


def _after(effects: list[Effect], step: Step) -> Step:
    state, more = step
    return state, effects + more


def _keeping(state: State, token: TokenResponse) -> TokenResponse:
    """The token with the refresh token that stays in use where the response left it out (RFC 6749 section 6)."""
    grant = None if state.attempt is None else state.attempt.grant
    if token.refresh_token or not isinstance(grant, Redeem):
        return token
    return token.with_refresh_token(grant.refresh_token.reveal())


def _next_refresh_token(state: State, token: TokenResponse) -> Secret | None:
    """What the next attempt redeems; where that is just what the full grant redeems, the full grant says it better."""
    text = _keeping(state, token).refresh_token
    if not text:
        return None
    refresh_token = Secret(text)
    return None if refresh_token == state.auth.grant_secret else refresh_token


def _fields(error: OIDCActorError) -> dict[str, object]:
    return {"error": str(error), "status": failure_policy.status_of(error), "code": failure_policy.code_of(error)}


def _reports_of(state: State, minted: ParsedToken, grant: Grant | None, now: float) -> list[Effect]:
    fields: dict[str, object] = {
        "fingerprint": fingerprint(minted.token.access_token),
        "grant": "refresh_token" if isinstance(grant, Redeem) else state.auth.grant_type,
        "lifetime_s": minted.lifetime_s,
        "refresh_in_s": round(state.refresh_at - now, 3),
    }
    reports: list[Effect] = [Report("token_obtained", state.attempts, fields)]
    if minted.lifetime_source == "default":
        reports.append(Report("lifetime_assumed", state.attempts, {"lifetime_s": minted.lifetime_s}))
    return reports


def _is_current(state: State, event: Event) -> bool:
    """Whether an event is not the news of a request that is no longer under way."""
    if not isinstance(event, FetchStarted | FetchSucceeded | FetchFailed):
        return True
    attempt = state.attempt
    return attempt is not None and (attempt.number, attempt.request) == (event.attempt, event.request)


# --- the machine ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Row:
    """One line of the table.

    Attributes:
        phases: The phases in which it holds.
        event: The class of the event; ``None`` stands for "an attempt is due", which is looked at after every event.
        decide: What is done.
        leads_to: The phases to which that may lead; `Phase.SAME` leaves it. From a phase of waiting, the row of ``None`` may
            follow in the same step.
        when: The reasons.
    """

    phases: Phase
    event: type[Any] | None
    decide: Callable[[State, Any, float, Rng], Step]
    leads_to: Phase
    when: str


# fmt: off
TABLE = (
    # An attempt, from the question whether it may begin to its end.
    _Row(Phase.WAITING, None, _ask, Phase.ASKING,
        "an attempt is due: the refresh point or the end of a backoff has come, or somebody wants one"),
    _Row(Phase.ASKING, Allowed, _allowed, Phase.UNDER_WAY,
        "metadata first where they are missing or in doubt; then a refresh token if there is one; else the full grant"),
    _Row(Phase.ASKING, Denied, _denied, Phase.WAITING,
        "the circuit breaker is open, or the provider asked to wait: it waits on, as it did before"),
    _Row(Phase.UNDER_WAY, FetchStarted, _request_started, Phase.SAME,
        "from here on the minimum interval counts"),
    _Row(Phase.DISCOVERING, FetchSucceeded, _metadata_came, Phase.REFRESHING | Phase.GRANTING,
        "a refresh token is there, or not"),
    _Row(Phase.DISCOVERING, FetchFailed, _metadata_failed, Phase.REFRESHING | Phase.GRANTING | Phase.BACKOFF,
        "older metadata serve, unless the provider asks to wait: then they serve the next attempt"),
    _Row(Phase.REFRESHING | Phase.GRANTING, FetchSucceeded, _token_came, Phase.IDLE | Phase.BACKOFF,
        "the token is published and every waiter answered; one that had expired when it came is a failure"),
    _Row(Phase.REFRESHING, FetchFailed, _refresh_failed, Phase.GRANTING | Phase.BACKOFF | Phase.BLOCKED,
        "a refused refresh token: the full grant in the same attempt, unless the provider asks to wait; else as below"),
    _Row(Phase.GRANTING, FetchFailed, _grant_failed, Phase.BACKOFF | Phase.BLOCKED,
        "a retry may help; or the error is permanent: only a change, somebody who insists, or a slow probe helps"),
    # Readers, and what they say of the token.
    _Row(Phase.ANY, Started, _started, Phase.SAME,
        "a forked child whose login is its parent's says so"),
    _Row(Phase.ANY, Tick, _tick, Phase.SAME,
        "it is worth looking at the clock, and at the file of a secret that is waited for"),
    _Row(Phase.ANY, CheckNow, _check_now, Phase.SAME,
        "an attempt is due for a live token that falls short, and for the very first; without a token the wait is a short one"),
    _Row(Phase.ANY, Wait, _wait, Phase.SAME,
        "the same, and the reader gets what comes; it is refused as soon as waiting cannot help"),
    _Row(Phase.ANY, Refresh, _refresh, Phase.SAME,
        "an attempt is wanted, in a backoff and while blocked too; a token that is rejected by its text is read no more"),
    _Row(Phase.ANY, Rejected, invalidation.rejected, Phase.SAME,
        "the same, at intervals that grow with the origin's rejections, and other readers may keep the token"),
    _Row(Phase.ANY, Accepted, invalidation.accepted, Phase.SAME,
        "the origin's next rejection is answered sooner"),
    # What happens around.
    _Row(Phase.ANY, SecretsChecked, _secrets_checked, Phase.SAME,
        "an attempt is wanted where a secret has changed that is waited for"),
    _Row(Phase.ANY, SourceRenewed, _source_renewed, Phase.SAME,
        "an attempt is wanted where the last one failed for want of the token that this one trades, or was refused"),
    _Row(Phase.ANY, ClockJumped, invalidation.jumped, Phase.SAME,
        "a token past its refresh point by the wall clock is to be refreshed; one past its end by it is withheld"),
    _Row(Phase.ANY, BreakerClosed, _breaker_closed, Phase.SAME,
        "the issuer answers again: what the breaker imposed, and backoffs, end soon"),
    _Row(Phase.ANY, ProbeFailed, _probe_failed, Phase.SAME,
        "the other manager's probe that was waited for has failed: the breaker is asked anew"),
)
# fmt: on

DUE = TABLE[0]
_ROWS = {(phase, row.event): row for row in TABLE for phase in row.phases}


def row_of(state: State, event: Event) -> _Row | None:
    """The row that decides an event; ``None`` where it means nothing in this phase, or is the news of a request of the past."""
    return _ROWS.get((state.phase, type(event))) if _is_current(state, event) else None
