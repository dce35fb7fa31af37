"""Rows about a provider that refuses: wrong credentials, secrets that change, and requests that are too many."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from email.utils import formatdate
from pathlib import Path

from chaos.backends import credentials
from chaos.readers import refused
from chaos.scenario import SCRIPTED, row
from chaos.world import World

from oidc_actor import SecretFile, TokenManager, TokenRequestError

ONLY_SCRIPTED = (SCRIPTED,)
CALLS = 20


@row("peers: invalid_client", "at most two requests in the first minute and ten in an hour; callers are told at once")
def invalid_client(world: World) -> None:
    name = world.manager(credentials(world.backend, "a-wrong-secret"))
    world.settle(name)
    errors = [refused(name, timeout=5) for _ in range(CALLS)]
    world.pass_time(60)
    minute = world.requests
    world.pass_time(3540)
    cause = errors[0] and errors[0].cause
    world.check("calls that raised", sum(e is not None for e in errors), all(errors))
    world.check(
        "cause",
        cause,
        isinstance(cause, TokenRequestError) and (cause.error, cause.permanent) == ("invalid_client", True),
    )
    world.check("requests in the first minute", minute, minute <= 2)
    world.check("requests in an hour", world.requests, 3 <= world.requests <= 10)
    world.check("health", TokenManager.health(name).last_error, TokenManager.health(name).blocked)


@row("pain 3; pain 9", "a changed secret file heals a refused client within seconds; nothing is restarted")
def heal_after_secret_change(world: World) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "secret"
        file.write_text("a-wrong-secret\n", encoding="utf-8")
        name = world.manager(credentials(world.backend, SecretFile(file)))
        world.settle(name)
        blocked = TokenManager.health(name).blocked
        world.pass_time(30)
        before, began = world.requests, world.clock()
        file.write_text(f"{world.backend.client_secret}\n", encoding="utf-8")
        # The file is looked at off the mailbox, in real time; the first probe would come 120 s later at the soonest.
        world.eventually(lambda: world.pass_time(0.5) or TokenManager.health(name).ready, "a token")
    took = world.clock() - began
    world.check("a token after", f"{took:.1f} s", took < 100)
    world.check("blocked before", blocked, blocked)
    world.check("requests after the change", world.requests - before, world.requests - before == 1)


@row("pain 3", "force_refresh wakes a refused client at once")
def force_refresh_wakes_a_refused_client(world: World) -> None:
    secrets = ["a-wrong-secret", world.backend.client_secret]
    name = world.manager(credentials(world.backend, lambda: secrets[0]))
    world.settle(name)
    secrets.pop(0)
    world.clock.advance(1.0)
    TokenManager.force_refresh(name, wait=True)
    world.expect("token", "there", TokenManager.get_access_token(name, timeout=0))
    world.check("requests", world.requests, world.requests == 2)


@row(
    "pain 9",
    "a callable secret is asked at each request: a rotated one is used without a failure",
    on=ONLY_SCRIPTED,
)
def rotated_secret(world: World) -> None:
    asked: list[str] = []

    def secret() -> str:
        asked.append("asked")
        return world.provider.client_secret

    name = world.ready_manager(credentials(world.backend, secret))
    with world.readers(name) as readers:
        for number in range(5):
            world.provider.client_secret = f"rotated-{number}"
            world.keep_secret(world.provider.client_secret)
            world.pass_time(world.lifetime_s)
    world.check_reads(readers)
    failures = TokenManager.health(name).last_error
    world.check("times asked, by requests", f"{len(asked)} / {world.requests}", len(asked) == world.requests >= 5)
    world.check("failures", failures, failures is None)


def retry_after(world: World, headers: Mapping[str, str], at_least_s: float, at_most_s: float) -> None:
    world.backend.fail_next(None, status=429, headers=headers)
    name = world.manager()
    world.settle(name)
    for _ in range(CALLS):
        refused(name, timeout=0.05)
        TokenManager.force_refresh(name)
    world.pass_time(at_least_s)
    world.check(
        f"requests in {at_least_s:g} s, with 20 calls and 20 force_refresh", world.requests, world.requests == 1
    )
    world.backend.heal()
    world.pass_time(at_most_s - at_least_s)
    world.check(f"after {at_most_s:g} s", "a token", refused(name) is None and world.requests == 2)


@row("peers: 429", "Retry-After in seconds is obeyed, by force_refresh too")
def retry_after_in_seconds(world: World) -> None:
    retry_after(world, {"Retry-After": "30"}, 29.9, 31)


@row("peers: 429", "Retry-After as a date is obeyed")
def retry_after_as_a_date(world: World) -> None:
    retry_after(world, {"Retry-After": formatdate(world.backend.wall() + 30, usegmt=True)}, 28, 32)


@row("promise", "Retry-After of a day is honoured for an hour, not more")
def retry_after_of_a_day(world: World) -> None:
    retry_after(world, {"Retry-After": "86400"}, 3599, 3665)


@row("promise", "Retry-After holds for all managers of the issuer")
def retry_after_is_shared(world: World) -> None:
    world.backend.fail_next(1, status=429, headers={"Retry-After": "30"})
    first = world.manager()
    world.settle(first)
    others = [world.manager() for _ in range(10)]
    world.pass_time(29)
    world.check("requests of 11 managers in 29 s", world.requests, world.requests == 1)
    world.pass_time(5)
    served = sum(refused(name) is None for name in (first, *others))
    world.check("with a token 5 s later", served, served == 11)
