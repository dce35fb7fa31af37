"""How a token ends before its time: rejected by an origin, past by the wall clock, or revoked at a stop. Pure.

**Rejected by an origin** (401; RFC 6750 section 3.1). A revoked token is replaced at once. But one bad node behind a balancer, or
an origin that takes no token at all, would have the provider asked once a second for ever, and every reader wait for it. So

- a first rejection is answered at once; a rejection of its successor 1 s after that answer, the next 2 s after the second answer,
  and so on to 5 min. That interval halves for each such period without a rejection, of 30 s at least: a node that
  is asked now and then has not mended itself in between;
- an origin that has accepted no token since its last rejection was answered waits the longest interval: a new one helps little;
- the token is rejected for all readers by a first rejection only, and not where this origin has accepted it, nor in its first
  2 s. Otherwise only the reader that was refused waits for its successor.

**Past by the wall clock.** Deadlines are kept on a clock that tells no truth after a machine was restored: it goes on
where it was, and only the wall clock has seen the time between. So where the wall clock has jumped forward

- a token whose refresh point has passed by it is refreshed, at the rate of first attempts;
- one that is past its end by it is withheld from all readers until that refresh has an outcome, at most `WITHHELD_S`. Without
  a new one it is served on, to its end by the manager's clock: the wall clock may have been wrong.

Steps back, and jumps that no refresh point lies in, mean nothing. A token that was asked for after the jump is not concerned:
each is judged by what the wall clock has gained since its own request. So one whose request was under way during the jump is
judged when it comes; and where that request fails, it was not the refresh that a withheld token waits for.

**Revoked.** Its manager stops for good: the provider is asked to revoke it (RFC 7009), where the options say so.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeAlias

from oidc_actor.machine import sharing
from oidc_actor.machine.effects import Publish, Reject, Revoke, Withhold
from oidc_actor.machine.events import NEVER, Accepted, ClockJumped, Rejected
from oidc_actor.machine.failure_policy import Rng
from oidc_actor.machine.schedule import asked_retry_at, serve
from oidc_actor.machine.state import Heard, Origins, Rules, State, came_at, is_asked, is_valid, is_withheld
from oidc_actor.values.clock import is_past
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, fingerprint
from oidc_actor.values.tokens import TokenResponse, TokenTypeHint
from supervision.frozen import dataclass

SHORTEST_S = 1.0
LONGEST_S = 300.0

QUIET_S = 30.0
"""Seconds without a rejection that halve an interval that is shorter."""

YOUNG_S = 2.0
"""A token that has been there for less is not rejected for all: the resource server may not know it yet."""

MOST_ORIGINS = 256
"""How many origins are remembered; beyond that the one with the oldest news is forgotten."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rejection is worth.

    Attributes:
        due_at: When it is answered; in the past where that is now, or was.
        is_news: Whether that has been decided just now. Of a hundred threads that reject the same token, the first one is news.
        rejects: Whether the token is taken from all readers.
    """

    due_at: float
    is_news: bool
    rejects: bool


def rejected(state: State, event: Rejected, now: float, rng: Rng) -> State:
    """An adapter hears a rejection."""
    token = state.token
    if token is None or not is_about(token, event):
        return state
    mark, age_s = fingerprint(token.access_token), now - came_at(state)
    origins, verdict = judge(state.origins, event.origin, mark, now, age_s=age_s)
    state = state._replace(origins=origins)
    if not verdict.is_news:
        waits = state.answer_at < math.inf  # else it has been answered, and how that ended is the backoff's
        return state._replace(answer_at=min(state.answer_at, verdict.due_at)) if waits else state
    if verdict.rejects:
        state = reject(state, token)
    else:
        wait_s = round(verdict.due_at - now, 3)
        state = state.report("token_refused", fingerprint=mark, origin=event.origin, answer_in_s=wait_s)
    if verdict.due_at > now:
        return state._replace(answer_at=min(state.answer_at, verdict.due_at))
    return state if state.attempt is not None else state._replace(wanted=True)


def accepted(state: State, event: Accepted, now: float, rng: Rng) -> State:
    """An adapter hears that a token is accepted; only the present one's news is of use."""
    if not is_about(state.token, event):
        return state
    mark, key = fingerprint(event.token.reveal()), step_up_key(event.origin)
    origins = note_accepted(state.origins, event.origin, mark)
    return state._replace(origins=note_accepted(origins, key, mark) if key in origins else origins)


def step_up_key(origin: str) -> str:
    """What an origin's wishes for another token are remembered by, apart from its rejections (`oidc_actor.machine.step_up`)."""
    return f"{origin} step-up"


def is_about(token: TokenResponse | None, said: Rejected | Accepted | None) -> bool:
    """Whether what is said concerns that very token."""
    return token is not None and said is not None and token.access_token == said.token.reveal()


def reject(state: State, token: TokenResponse) -> State:
    """Take the token from all readers."""
    state = without_token(state).then(Reject(token))
    if state.sharing is not None:
        state = sharing.rejects(state, token)
    return state.report("token_rejected", fingerprint=fingerprint(token.access_token))


def without_token(state: State) -> State:
    """What is known once the token is gone."""
    return state._replace(token=None, expires_at=NEVER, refresh_at=NEVER, answer_at=math.inf, withheld_until=NEVER)


def note_accepted(origins: Origins, origin: str, token: str) -> Origins:
    """Note that an origin has accepted a token, given by its fingerprint."""
    heard = origins.get(origin, Heard())
    due_at = min(heard.due_at, heard.spaced_at)
    return _with(origins, origin, replace(heard, accepted=token, has_accepted=True, due_at=due_at))


def judge(origins: Origins, origin: str, token: str, now: float, *, age_s: float) -> tuple[Origins, Verdict]:
    """Decide on a rejection.

    Args:
        origins: What is remembered.
        origin: Which one.
        token: Fingerprint of the present token, which it rejects.
        now: Reading of the clock.
        age_s: Seconds since that token came.

    Returns:
        What is remembered now, and the verdict.
    """
    heard = origins.get(origin, Heard())
    if heard.refused == token:
        return _with(origins, origin, replace(heard, refused_at=now)), Verdict(heard.due_at, False, False)
    interval_s, is_hopeless = _interval_now_s(heard, now), heard.refused is not None and not heard.has_accepted
    spaced_at = max(now, heard.due_at + interval_s)
    due_at = max(now, heard.due_at + LONGEST_S) if is_hopeless else spaced_at
    goes_on = interval_s > 0 or is_hopeless
    rejects = not goes_on and heard.accepted != token and age_s >= YOUNG_S
    heard = replace(
        heard,
        refused=token,
        has_accepted=False,
        due_at=due_at,
        spaced_at=spaced_at,
        refused_at=now,
        interval_s=min(LONGEST_S, max(SHORTEST_S, 2 * interval_s)),
    )
    return _with(origins, origin, heard), Verdict(due_at, True, rejects)


def _interval_now_s(heard: Heard, now: float) -> float:
    """The interval as far as it has come back since the last rejection, or since its answer; 0 for at once."""
    interval_s, quiet_s = heard.interval_s, now - max(heard.refused_at, heard.due_at)
    while interval_s >= SHORTEST_S and quiet_s >= (period_s := max(QUIET_S, interval_s)):
        quiet_s -= period_s
        interval_s /= 2
    return interval_s if interval_s >= SHORTEST_S else 0.0


def _with(origins: Origins, origin: str, heard: Heard) -> Origins:
    others = {name: one for name, one in origins.items() if name != origin}
    if len(others) >= MOST_ORIGINS:
        del others[next(iter(others))]
    return {**others, origin: heard}


WITHHELD_S = 10.0
"""Seconds for which a token is withheld at most."""


def jumped(state: State, event: ClockJumped, now: float, rng: Rng) -> State:
    """The wall clock has jumped forward; what has been decided of an earlier jump is decided anew."""
    attempt = None if state.attempt is None else replace(state.attempt, jump=event)
    state, token = state._replace(attempt=attempt, judged_ahead_s=event.ahead_s), state.token
    if token is None or state.expires_at <= now or not is_past(state.refresh_at, state.ahead_s, now, event.ahead_s):
        return state
    ends = is_past(state.expires_at, state.ahead_s, now, event.ahead_s)
    turn_at = max(now, event.turn_at)
    state = state.report("clock_jumped", jump_s=round(event.ahead_s - state.ahead_s, 1), withheld=ends)
    state = state._replace(refresh_at=min(state.refresh_at, turn_at), retry_at=min(state.retry_at, turn_at))
    if not ends:
        return state
    until = state.withheld_until if is_withheld(state) else now + WITHHELD_S
    retry_at = asked_retry_at(state) if is_asked(state, now) else state.retry_at
    return state._replace(withheld_until=until, retry_at=retry_at).then(Withhold(token))


def give_back(state: State, now: float) -> State:
    """Serve a token on that was withheld: no new one has come, or not in time."""
    if not is_withheld(state):
        return state
    state, token = state._replace(withheld_until=NEVER), state.token
    if token is None or not is_valid(state, now):
        return state
    state = state.then(Publish(token, state.expires_at, state.ahead_s, is_new=False))
    state = state.report("token_served_on", expires_in_s=round(state.expires_at - now, 1))
    others = (waiter for waiter in state.waiters if not waiter.wants_refresh and waiter.rejected is None)
    return serve(state, [waiter for waiter in others if is_valid(state, now, waiter.min_validity_s)])


_Found: TypeAlias = tuple[Secret | None, TokenResponse | None]


def tokens_to_revoke(state: State, now: float, late: TokenResponse | None = None) -> list[Revoke]:
    """Say what is left to do once a manager has come to an orderly end and no reader gets its token any more.

    Args:
        state: What it knew.
        now: Reading of its clock.
        late: A token that had arrived and that it had not taken yet.

    Returns:
        What to do. A token that was given to a forked child is the parent's to revoke, and a refresh token that the user
        configured is the user's.
    """
    found = [] if late is None else [_pair_of(late)]
    if not state.borrowed:
        is_own = state.expires_at > now and not state.is_former
        found.insert(0, (state.refresh_token, state.token if is_own else None))
    return _revocation(state.rules, state.attempts, state.oidc_config, found)


def late_tokens_to_revoke(rules: Rules, attempt: int, config: OIDCConfig, late: TokenResponse) -> list[Revoke]:
    """Say what is left to do with a token that arrives when its manager has come to an orderly end.

    Args:
        rules: The manager's.
        attempt: Number of the attempt that brought it.
        config: The provider's metadata.
        late: The token. The refresh token with it is new, or has been redeemed for it and is kept.

    Returns:
        What to do.
    """
    return _revocation(rules, attempt, config, [_pair_of(late)])


def _revocation(rules: Rules, attempt: int, config: OIDCConfig | None, found: list[_Found]) -> list[Revoke]:
    if not rules.revokes:
        return []
    refresh_tokens = [] if rules.own_refresh_token else [one for one, _ in found if one is not None]
    # First what new access tokens could be had with; one that does not rotate was found twice.
    tokens: list[tuple[TokenTypeHint, Secret]] = [("refresh_token", one) for one in dict.fromkeys(refresh_tokens)]
    tokens += [("access_token", Secret(one.access_token)) for _, one in found if one is not None]
    return [Revoke(attempt, config, tuple(tokens))] if tokens else []


def _pair_of(token: TokenResponse) -> _Found:
    return None if token.refresh_token is None else Secret(token.refresh_token), token
