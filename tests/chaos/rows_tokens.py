"""Rows about lifetimes and about refresh tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chaos.readers import refused
from chaos.scenario import NPM, SCRIPTED, add, row
from chaos.world import World

from oidc_actor import NoTokenError, TokenManager

ONLY_SCRIPTED = (SCRIPTED,)
ROTATIONS = 10


def short_lifetime(lifetime_s: int, least: int, most: int) -> Callable[[World], None]:
    """Ten lives of a token that is shorter than the default lead of 60 s."""

    def play(world: World) -> None:
        name = world.ready_manager()
        with world.readers(name, timeout_s=5) as readers:
            world.pass_time(10 * lifetime_s)
            before = world.requests
            for _ in range(10):
                TokenManager.get_access_token(name)
            calls = world.requests - before
        world.check_reads(readers)
        world.check("requests in ten lives", world.requests, least <= world.requests <= most)
        world.check("requests that ten calls caused", calls, calls == 0)

    return play


for _lifetime_s, _least, _most in ((25, 17, 27), (2, 14, 22), (1, 9, 12)):
    add(
        f"lifetime_of_{_lifetime_s}_s",
        "peers: 25 s token; pain 14",
        "a token shorter than the lead is refreshed once in its life, never for a call, and never twice in a second",
        short_lifetime(_lifetime_s, _least, _most),
        lifetime_s=_lifetime_s,
    )

LIFETIMES: list[tuple[str, dict[str, Any], float]] = [
    ("missing, opaque token", {"omit": ["expires_in"], "changes": {"access_token": "opaque-1"}}, 300),
    ("missing, JWT", {"omit": ["expires_in"]}, 600),
    ("numeric text", {"changes": {"expires_in": "120", "access_token": "opaque-2"}}, 120),
    ("text", {"changes": {"expires_in": "soon", "access_token": "opaque-3"}}, 300),
    ("null", {"changes": {"expires_in": None, "access_token": "opaque-4"}}, 300),
    ("a list", {"changes": {"expires_in": [1], "access_token": "opaque-5"}}, 300),
    ("true", {"changes": {"expires_in": True, "access_token": "opaque-6"}}, 300),
    ("1e308", {"changes": {"expires_in": 1e308, "access_token": "opaque-7"}}, 300),
]


@row(
    "peers: expires_in missing; pain 12",
    "without a usable expires_in: expires_at, exp, or 300 s; never for ever",
)
def no_usable_expires_in(world: World) -> None:
    for what, answer, expected in LIFETIMES:
        if what == "missing, JWT" and world.backend.name == NPM:
            continue  # its tokens are opaque
        world.backend.answer_next(1, **answer)
        name = world.ready_manager()
        left = TokenManager.health(name).expires_in_s or 0.0
        world.check(what, f"{left:.1f} s", abs(left - expected) < 2)
    world.backend.fail_next(None, status=503)
    world.clock.advance(300)
    served = refused(name) is None
    world.check("after that, in an outage", "served" if served else "refused", not served)


@row("peers: rotating refresh token; pain 6", "50 threads, ten refreshes: each refresh token is redeemed once")
def rotation_with_50_threads(world: World) -> None:
    name = world.ready_manager(world.user())
    seen = {TokenManager.get_token(name).refresh_token}
    served = 0
    for _ in range(ROTATIONS):
        before = world.requests
        world.proxy.stall(None)
        world.clock.advance(world.lifetime_s)
        herd = world.herd(50, lambda: TokenManager.get_token(name, timeout=10))
        world.wait_for_requests(before + 1)
        world.proxy.heal()
        served += sum(answer.error is None for answer in herd.answers())
        seen.add(TokenManager.get_token(name).refresh_token)
    world.check("callers served", f"{served} of {50 * ROTATIONS}", served == 50 * ROTATIONS)
    world.check("refresh tokens", len(seen), len(seen) == ROTATIONS + 1)
    world.check("refused", world.backend.refused_refreshes(), world.backend.refused_refreshes() == 0)
    world.check("logins", world.backend.full_grants(), world.backend.full_grants() == 1)


@row(
    "pain 6",
    "the provider rotated and its answer was lost: the spent token is not redeemed again; no read fails",
)
def rotation_with_a_lost_answer(world: World) -> None:
    name = world.ready_manager(world.user())
    old = TokenManager.get_access_token(name)
    with world.readers(name) as readers:
        for _ in range(3):
            world.proxy.cut(after_bytes=0)
            world.until_attempt()
            failed = TokenManager.health(name).consecutive_failures
            world.check("the answer was lost", failed, failed == 1)
            world.until_attempt()
    world.check_reads(readers)
    world.check("spent tokens redeemed", world.backend.refused_refreshes(), world.backend.refused_refreshes() == 0)
    world.check("logins", world.backend.full_grants(), world.backend.full_grants() == 4)
    world.expect("afterwards", "a new token", TokenManager.get_access_token(name) != old)


@row(
    "pain 6",
    "an answer without a refresh token keeps the old one; a refused one falls back in the same attempt",
    on=ONLY_SCRIPTED,
)
def refused_refresh_token(world: World) -> None:
    name = world.ready_manager(world.user())
    first = TokenManager.get_token(name).refresh_token
    world.provider.answer_next(rotation=False)
    world.clock.advance(1.0)
    TokenManager.force_refresh(name, wait=True)
    world.expect("kept where none came", "the old one", TokenManager.get_token(name).refresh_token == first)
    world.provider.revoke_refresh_tokens()
    world.clock.advance(1.0)
    before = world.requests
    TokenManager.force_refresh(name, wait=True)
    world.check("requests of the attempt", world.requests - before, world.requests - before == 2)
    health = TokenManager.health(name)
    world.check("failures", health.consecutive_failures, health.consecutive_failures == 0)
    world.check("logins", world.backend.full_grants(), world.backend.full_grants() == 2)


@row("promise", "tokens that came at the same moment are refreshed at as many moments as there are")
def tokens_of_one_age(world: World) -> None:
    names = [world.ready_manager() for _ in range(20)]
    points = sorted(TokenManager.health(name).refresh_in_s or 0.0 for name in names)
    world.check("refresh points", f"{points[0]:.0f} to {points[-1]:.0f} s", len(set(points)) == len(names))
    spread = (points[-1] - points[0]) / world.lifetime_s
    world.check("spread, by their life", f"{spread:.2f}", 0.05 < spread <= 0.1)


@row("promise", "min_validity that no token reaches is refused at once, without a request")
def min_validity_beyond_reach(world: World) -> None:
    name = world.ready_manager()
    world.clock.advance(2.0)
    before = world.requests
    errors = [refused(name, timeout=0.2, min_validity=world.lifetime_s + 100) for _ in range(20)]
    world.check("calls that raised", sum(error is not None for error in errors), all(errors))
    world.check("requests", world.requests - before, world.requests - before == 0)
    world.expect("without it", "served", refused(name) is None)


@row("peers: repr", "no secret in the repr, str or pickle of anything a caller gets")
def nothing_shows_a_secret(world: World) -> None:
    import pickle

    auth = world.user()
    name = world.ready_manager(auth)
    token = TokenManager.get_token(name)
    try:
        TokenManager.get_token(name, min_validity=1e6, timeout=0)
    except NoTokenError as error:
        raised: list[object] = [error, error.cause]
    shown = [token, auth, TokenManager.health(name), TokenManager.source(name), world.config, *raised]
    text = " ".join(f"{thing!r} {thing} {getattr(thing, '__dict__', '')}" for thing in shown)
    secrets = [token.access_token, str(token.refresh_token), world.backend.password, world.backend.client_secret]
    leaks = [secret for secret in secrets if secret in text]
    pickled = 0
    for thing in (token, auth):
        try:
            pickle.dumps(thing)
        except TypeError:
            continue
        pickled += 1
    world.check("leaks", len(leaks), not leaks)
    world.check("pickled", pickled, pickled == 0)
