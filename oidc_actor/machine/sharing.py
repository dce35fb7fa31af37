"""What a manager decides about the store that it shares: what to claim, how long to wait, when to go alone. Pure.

Every attempt begins with a claim. It brings a newer token, and no request is needed; or the right to ask the provider, which one
member has at a time; or neither, and the manager asks again. What was asked for under a claim is then shared, or given up.

=====================================================  ==============================================================
the claim was not granted, because                     the next one is made
=====================================================  ==============================================================
another member is asking the provider                  after 50 ms, and half as long again each time, to 500 ms, while a
                                                       reader waits; else when that member's lease ends
another member has failed, and waits for all           when its wait is over; every 500 ms while a reader waits
the login may be spent                                 when the live token is nearly over
this member redeemed it, and the store lacks the next  every half second, for a newer token only
the record was lost, or there never was one            when others have had the time to put back what they know; every
                                                       500 ms while a reader waits
the store cannot be asked                              after half a second, and twice as long each time, to 4 s
=====================================================  ==============================================================

**Alone.** Where the store cannot be asked, a manager waits for it while its token lives, and goes alone in the second half of
the time that it has for the refresh: at a moment of its own, so that not all members ask at once. One that has no token goes
alone when the store has not answered for two seconds. One whose login is a refresh token never does: another member may have
redeemed that. It waits.
"""

from __future__ import annotations

import math
from dataclasses import replace

from oidc_actor.machine.effects import Claim, RenewLease, RestoreRecord, ShareToken
from oidc_actor.machine.events import NEVER, ClaimOccupied, HeldLease
from oidc_actor.machine.failure_policy import Rng
from oidc_actor.machine.state import Denial, Sharing, State, is_asked, is_valid
from oidc_actor.values.errors import StoreError
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import TokenResponse

LEASE_S = 3.0
"""Seconds that a lease holds; it is renewed each `RENEWAL_S` while the provider is asked."""

RENEWAL_S = 1.0

LOOK_S = 1.6
"""Seconds between two looks at the store."""

QUARANTINE_S = 2.5 * LOOK_S
"""Seconds that a record must have been missing before the configured refresh token is taken for a fresh one.

Two looks of a member that knows the record, and a second less than a reader waits that says nothing of its patience: else the
first read of a new login would fail.
"""

PUT_BACK_S = 2 * RENEWAL_S
"""Seconds that a login which was put back is handed out to none: by then a holder has renewed its lease, or been stored."""

ALONE_S = 2.0
"""Seconds without an answer after which a manager that has no token goes alone."""

SHORTEST_POLL_S, LONGEST_POLL_S = 0.05, 0.5
LONGEST_RETRY_S = 4.0


def of(state: State) -> Sharing:
    """What is known of the store, which there is."""
    assert state.sharing is not None
    return state.sharing


def now_knows(state: State, **fields: object) -> State:
    """Change what is known of the store."""
    return state._replace(sharing=replace(of(state), **fields))  # type: ignore[arg-type]


def claim_of(state: State, now: float, *, adopts_only: bool = False) -> Claim:
    """What to claim now."""
    known, own = of(state), state.rules.own_refresh_token
    adopts_only = adopts_only or keeps_login_back(state)
    return Claim(
        known.gen if state.token is not None or known.rejected is not None else 0,
        _need_s(state, now),
        known.rejected,
        may_try=own and now >= _tries_at(state),
        adopts_only=adopts_only,
    )


def keeps_login_back(state: State) -> bool:
    """Whether this member alone has the login, which the store has not taken yet: what that has instead is spent."""
    return state.rules.own_refresh_token and of(state).unshared is not None


def _need_s(state: State, now: float) -> float:
    """Seconds that a token must still live to be of use: longer than the present one, and beyond its own refresh."""
    asked = max((one.min_validity_s for one in state.waiters if not one.wants_refresh), default=0.0)
    lead_s = min(state.refresh_buffer_seconds, of(state).lifetime_s / 2)
    left_s = state.expires_at - now if is_valid(state, now) else 0.0
    return max(asked, lead_s / 2, left_s)


def _tries_at(state: State) -> float:
    """When a login that may be spent is tried: once the live token has but a quarter of its lead left."""
    return state.expires_at - (state.expires_at - state.refresh_at) / 4 if state.token is not None else NEVER


def occupied(state: State, event: ClaimOccupied, now: float) -> State:
    """Wait before the next claim: a wait that other members impose."""
    known, is_waited_for = of(state), is_asked(state, now) and not is_valid(state, now)
    poll_s = min(LONGEST_POLL_S, SHORTEST_POLL_S * 1.5**known.polls)
    until = max(event.until, now + SHORTEST_POLL_S)
    if event.why == "missing" and _can_restore(state, now):
        # Once: the looks see to it where it is lost again.
        until = min(until, now + PUT_BACK_S) if known.is_missing else now + PUT_BACK_S
        state = state if known.is_missing else _restore(state)
    if event.why == "doubtful":
        until = max(until, _tries_at(state))
    elif event.why == "free":
        until = now + LONGEST_POLL_S
    elif is_waited_for:
        until = min(until, now + (poll_s if event.why == "lease" else LONGEST_POLL_S))
    is_missing, claim_at = event.why == "missing", min(now + poll_s, until)
    state = now_knows(state, polls=min(known.polls + 1, 20), claim_at=claim_at, is_missing=is_missing)
    denial = Denial(until, now, asked=is_asked(state, now), probing=event.why == "lease")
    return state._replace(attempt=None, denial=denial)


def failed(state: State, error: StoreError, now: float) -> State:
    """The store could not be asked: wait before it is asked again."""
    known = of(state)
    retry_s = min(LONGEST_RETRY_S, 0.5 * 2.0 ** min(known.failures, 10))
    until = now + retry_s
    state = unanswered(state, error, now)
    if not state.rules.own_refresh_token:
        until = min(at for at in (until, known.alone_at, of(state).failing_since + ALONE_S) if at > now)
    state = now_knows(state, claim_at=until)
    return state._replace(attempt=None, denial=Denial(until, asked=is_asked(state, now)))


def unanswered(state: State, error: StoreError, now: float) -> State:
    """The store could not be asked; the first such error is worth an event."""
    known = of(state)
    since = now if known.failing_since == NEVER else known.failing_since
    state = now_knows(state, error=error, failures=known.failures + 1, failing_since=since)
    return state if known.error is not None else state.report("store_failed", error=str(error))


def unseen(state: State, error: StoreError, now: float) -> State:
    """A look has shown that the store cannot be asked. No wait grows by it: nothing was wanted of the store."""
    return state if of(state).error is not None else now_knows(unanswered(state, error, now), failures=0)


def answered(state: State) -> State:
    """The store could be asked."""
    return now_knows(readable(state), failures=0, failing_since=NEVER)


def claimed(state: State) -> State:
    """A claim was answered that changed nothing. What waits to be stored tells whether the store takes anything."""
    return answered(state) if of(state).unshared is None else now_knows(state, failures=0, failing_since=NEVER)


def readable(state: State) -> State:
    """The store is there again."""
    known = of(state)
    if known.error is None:
        return state
    # What waits to be stored goes first: a member that knows an older login may be about to put that back.
    share_at = known.share_at if known.share_at == math.inf else NEVER
    since = known.failing_since if known.failures else NEVER
    return now_knows(state, error=None, claim_at=NEVER, share_at=share_at, failing_since=since).report("store_back")


def looked_at(state: State, now: float) -> State:
    """A look was answered. A store that is full answers looks and nothing else: what it has not done is asked for at once."""
    known = of(state)
    if known.error is None:
        return state
    is_claiming = state.attempt is not None and isinstance(state.attempt.grant, Claim)
    if known.unshared is None and not (known.failures and (is_claiming or known.claim_at > now)):
        return readable(state)
    is_ours = state.denial is not None and state.denial.until == known.claim_at
    share_at = known.share_at if known.unshared is None or math.isinf(known.share_at) else now
    state = state._replace(denial=None if is_ours else state.denial)
    return now_knows(state, claim_at=NEVER, share_at=share_at)


def may_go_alone(state: State, now: float) -> bool:
    """Whether a manager whose store cannot be asked asks the provider on its own."""
    known = of(state)
    if state.rules.own_refresh_token:
        return False
    # A call may fail on a busy machine: were that enough, members that start together would all ask the provider.
    has_failed = known.failing_since != NEVER and now - known.failing_since >= ALONE_S
    is_urgent = has_failed and (not is_valid(state, now) or state.wanted)
    return is_urgent or now >= known.alone_at


def obtained(state: State, lease: HeldLease | None, lifetime_s: float, refresh_token: Secret | None, rng: Rng) -> State:
    """A token came from the provider: under a lease it is shared, and else this member has it alone."""
    token = state.token
    assert token is not None
    known = replace(
        of(state),
        rejected=None,
        alone_at=_alone_at(state, rng),
        lifetime_s=lifetime_s,
        has_shared=False,
        login=None,
    )
    state = state._replace(refresh_token=None, sharing=known)
    if lease is None:
        return state
    return share(state, lease, token, state.expires_at, lifetime_s, refresh_token)


def share(
    state: State, lease: HeldLease, token: TokenResponse, expires_at: float, lifetime_s: float, refresh: Secret | None
) -> State:
    """Have the store keep a token, now and until it does."""
    keeps = refresh is None and state.rules.own_refresh_token
    unshared = ShareToken(lease, token, expires_at, lifetime_s, refresh, keeps)
    return now_knows(state, unshared=unshared, share_at=math.inf, shares=1).then(unshared)


def adopted(state: State, gen: int, lifetime_s: float, login: Secret | None, rng: Rng) -> State:
    """A token of another member's was adopted."""
    known = replace(
        of(state),
        gen=gen,
        has_shared=True,
        rejected=None,
        is_missing=False,
        login=login,
        lifetime_s=lifetime_s,
        alone_at=_alone_at(state, rng),
    )
    return state._replace(refresh_token=None, sharing=known)


def _alone_at(state: State, rng: Rng) -> float:
    lead_s = state.expires_at - state.refresh_at
    return state.expires_at - lead_s * rng.uniform(0.2, 0.5)


def shared(state: State, gen: int, login: Secret | None) -> State:
    """The store has the token that was got last, and the login that came with it."""
    unshared = of(state).unshared
    is_present = unshared is not None and state.token is unshared.token
    state = answered(state)
    known = replace(of(state), unshared=None, share_at=math.inf, shares=0, is_missing=False)
    if gen > known.gen:
        # A token that was rejected meanwhile leaves its login, which is put back without it.
        known = replace(known, gen=gen, login=login, has_shared=is_present or known.has_shared or state.token is None)
    return state._replace(sharing=known)


def overtaken(state: State) -> State:
    """Another member was granted before this one's token could be stored: what that one gets counts."""
    state = now_knows(answered(state), unshared=None, share_at=math.inf, shares=0)
    return state.report("token_overtaken")


def share_failed(state: State, error: StoreError, now: float) -> State:
    """The token could not be stored yet: again, for as long as it, or what it came with, is of use."""
    known = of(state)
    unshared = known.unshared
    assert unshared is not None
    if unshared.expires_at <= now and unshared.refresh_token is None and not unshared.keeps:
        return now_knows(state, unshared=None, share_at=math.inf, shares=0)
    wait_s = min(LONGEST_RETRY_S, 0.25 * 2.0 ** min(known.shares, 10))
    return now_knows(unanswered(state, error, now), share_at=now + wait_s, shares=known.shares + 1)


def due(state: State, now: float) -> State:
    """Renew the lease, share what is not shared yet, put the record back: what of it is due."""
    known, attempt = of(state), state.attempt
    if known.unshared is not None and known.share_at <= now:
        state = now_knows(state, share_at=math.inf).then(known.unshared)
    if attempt is not None and attempt.lease is not None and attempt.renew_at <= now:
        from_now = replace(attempt, renew_at=now + RENEWAL_S)
        state = state._replace(attempt=from_now).then(RenewLease(attempt.lease))
    return state


def wake_at(state: State) -> float:
    """When something of this is due next; infinity where nothing is."""
    known, attempt = of(state), state.attempt
    renew_at = attempt.renew_at if attempt is not None and attempt.lease is not None else math.inf
    return min(known.share_at, renew_at)


def named(state: State, key: str) -> State:
    """The record has that name. Under another one it was another login's: nothing that is known of it holds of this."""
    known = of(state)
    if known.key in ("", key):
        return now_knows(state, key=key)
    return now_knows(
        state,
        key=key,
        gen=0,
        has_shared=False,
        passed=0,
        is_missing=False,
        login=None,
    )


def rejects(state: State, token: TokenResponse) -> State:
    """A token was rejected: it is not adopted again, and shared with no one. What came with it is."""
    unshared = of(state).unshared
    if unshared is not None and unshared.token is token:
        unshared = replace(unshared, expires_at=unshared.lease.at)
    return now_knows(state, rejected=Secret(token.access_token), unshared=unshared)


def seen(state: State, gen: int, now: float) -> State:
    """A look has shown the record's generation: put back one that was lost while its token lives here."""
    state = looked_at(state, now)
    return _restore(state) if gen < of(state).gen and _can_restore(state, now) else state


def _can_restore(state: State, now: float) -> bool:
    """Whether this member has what was in the record.

    Another one may know more: of a login it puts that back in turn, while what is put back now is in quarantine.
    """
    return of(state).has_shared and (is_valid(state, now) or state.rules.own_refresh_token)


def _restore(state: State) -> State:
    known = of(state)
    login = known.login if state.rules.own_refresh_token else None
    restored = RestoreRecord(known.gen, state.token, state.expires_at, known.lifetime_s, login, known.key)
    return state.then(restored).report("store_restored")
