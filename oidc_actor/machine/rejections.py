"""What resource servers say of a manager's tokens, origin by origin, and how soon a complaint is answered. Pure.

A revoked token is replaced at once. But one bad node behind a balancer, or an origin that takes no token at all, would have the
provider asked once a second for ever, and every reader wait for it. So

- a first complaint is answered at once; one about the token that came in its place 1 s after that one's answer, the next 2 s
  after the second's, and so on to 5 min. The pace halves for each such period without a complaint, of 30 s at least: a node that
  is asked now and then has not mended itself in between;
- an origin that has accepted no token since its last complaint was answered waits the longest pace: a new one is of little use;
- the token is withdrawn from all readers by a first complaint only, and not where this origin has accepted it, nor in its first
  2 s. Otherwise the complainer alone waits for its successor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from oidc_actor.machine.attempt import Step
from oidc_actor.machine.backoff import Rng
from oidc_actor.machine.effects import Report, Retract
from oidc_actor.machine.events import Accepted, Rejected
from oidc_actor.machine.state import NEVER, State, came_at
from oidc_actor.values.secrets import fingerprint
from oidc_actor.values.tokens import TokenResponse

SHORTEST_S = 1.0
LONGEST_S = 300.0

QUIET_S = 30.0
"""Seconds without a complaint that halve a pace that is shorter."""

YOUNG_S = 2.0
"""A token that has been there for less is not withdrawn: the resource server may not know it yet."""

MOST_ORIGINS = 256
"""So many are remembered; then the one that was heard of longest ago is forgotten."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What one origin has said. Tokens are known by their fingerprints; times are readings of the manager's clock.

    Attributes:
        accepted: The token that it accepted last; ``None`` before the first.
        refused: The token that it complained about last; ``None`` before the first.
        has_accepted: Whether it has accepted a token since that complaint.
        due_at: When that complaint is, or was, answered.
        paced_at: When it would be if it had accepted a token before.
        refused_at: When it complained last, of whichever token.
        pace_s: How long after that answer the next complaint is answered.
    """

    accepted: str | None = None
    refused: str | None = None
    has_accepted: bool = False
    due_at: float = NEVER
    paced_at: float = NEVER
    refused_at: float = NEVER
    pace_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a complaint is worth.

    Attributes:
        due_at: When it is answered; in the past where that is now, or was.
        is_news: Whether that has been decided just now. A hundred threads complain of the same token; one is news.
        withdraws: Whether nobody is to read the token any more.
    """

    due_at: float
    is_news: bool
    withdraws: bool


Origins: TypeAlias = Mapping[str, Heard]
"""What is remembered, the origin that was heard of longest ago first."""


def rejected(state: State, event: Rejected, now: float, rng: Rng) -> Step:
    """An adapter hears a complaint."""
    token = state.token
    if token is None or not is_about(token, event):
        return state, []
    mark, age_s = fingerprint(token.access_token), now - came_at(state)
    origins, verdict = judge(state.origins, event.origin, mark, now, age_s=age_s)
    state = replace(state, origins=origins)
    if not verdict.is_news:
        waits = state.answer_at < math.inf  # else it has been answered, and how that ended is the backoff's
        return replace(state, answer_at=min(state.answer_at, verdict.due_at)) if waits else state, []
    if verdict.withdraws:
        state, effects = withdrawn(state, token)
    else:
        fields = {"fingerprint": mark, "origin": event.origin, "answer_in_s": round(verdict.due_at - now, 3)}
        effects = [Report("token_refused", state.flights, fields)]
    if verdict.due_at > now:
        return replace(state, answer_at=min(state.answer_at, verdict.due_at)), effects
    return (state if state.flight is not None else replace(state, wanted=True)), effects


def accepted(state: State, event: Accepted, now: float, rng: Rng) -> Step:
    """An adapter hears that a token is accepted; only the present one's news is of use."""
    if not is_about(state.token, event):
        return state, []
    mark = fingerprint(event.token.reveal())
    return replace(state, origins=note_accepted(state.origins, event.origin, mark)), []


def is_about(token: TokenResponse | None, said: Rejected | Accepted | None) -> bool:
    """Whether what is said concerns that very token."""
    return token is not None and said is not None and token.access_token == said.token.reveal()


def withdrawn(state: State, token: TokenResponse) -> Step:
    """Take the token from all readers."""
    fields = {"fingerprint": fingerprint(token.access_token)}
    return without_token(state), [Retract(token), Report("token_rejected", state.flights, fields)]


def without_token(state: State) -> State:
    """What is known once the token is gone."""
    return replace(state, token=None, expires_at=NEVER, refresh_at=NEVER, answer_at=math.inf, withheld_until=NEVER)


def note_accepted(origins: Origins, origin: str, token: str) -> Origins:
    """Note that an origin has accepted a token, given by its fingerprint."""
    heard = origins.get(origin, Heard())
    due_at = min(heard.due_at, heard.paced_at)
    return _with(origins, origin, replace(heard, accepted=token, has_accepted=True, due_at=due_at))


def judge(origins: Origins, origin: str, token: str, now: float, *, age_s: float) -> tuple[Origins, Verdict]:
    """Decide on a complaint.

    Args:
        origins: What is remembered.
        origin: Who complains.
        token: Fingerprint of the present token, which it complains about.
        now: Reading of the clock.
        age_s: Seconds since that token came.

    Returns:
        What is remembered now, and the verdict.
    """
    heard = origins.get(origin, Heard())
    if heard.refused == token:
        return _with(origins, origin, replace(heard, refused_at=now)), Verdict(heard.due_at, False, False)
    pace_s, is_hopeless = _pace_now_s(heard, now), heard.refused is not None and not heard.has_accepted
    paced_at = max(now, heard.due_at + pace_s)
    due_at = max(now, heard.due_at + LONGEST_S) if is_hopeless else paced_at
    goes_on = pace_s > 0 or is_hopeless
    withdraws = not goes_on and heard.accepted != token and age_s >= YOUNG_S
    heard = replace(
        heard,
        refused=token,
        has_accepted=False,
        due_at=due_at,
        paced_at=paced_at,
        refused_at=now,
        pace_s=min(LONGEST_S, max(SHORTEST_S, 2 * pace_s)),
    )
    return _with(origins, origin, heard), Verdict(due_at, True, withdraws)


def _pace_now_s(heard: Heard, now: float) -> float:
    """The pace as far as it has come back since the last complaint, or since its answer; 0 for at once."""
    pace_s, quiet_s = heard.pace_s, now - max(heard.refused_at, heard.due_at)
    while pace_s >= SHORTEST_S and quiet_s >= (period_s := max(QUIET_S, pace_s)):
        quiet_s -= period_s
        pace_s /= 2
    return pace_s if pace_s >= SHORTEST_S else 0.0


def _with(origins: Origins, origin: str, heard: Heard) -> Origins:
    others = {name: one for name, one in origins.items() if name != origin}
    if len(others) >= MOST_ORIGINS:
        del others[next(iter(others))]
    return {**others, origin: heard}
