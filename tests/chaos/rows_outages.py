"""Rows about a provider that is down, overloaded, refuses, or talks nonsense."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from email.utils import formatdate
from pathlib import Path
from typing import Any

from chaos.backends import credentials
from chaos.scenario import SCRIPTED, row
from chaos.world import World

from oidc_actor import NoTokenError, SecretFile, TokenManager, TokenRequestError

ONLY_SCRIPTED = (SCRIPTED,)
CALLS = 20


def refused(name: str, timeout: float = 0.0, **more: Any) -> NoTokenError | None:
    """What a caller is told who gets no token; `None` if it gets one."""
    try:
        TokenManager.get_token(name, timeout=timeout, **more)
    except NoTokenError as error:
        return error
    return None


@row(
    "peers: 503 with a live token; pain 2",
    "no read fails while a token lives; a few attempts, closer as its end comes nearer",
)
def outage_shorter_than_life(world: World) -> None:
    name = world.ready_manager()
    old, began = TokenManager.get_access_token(name), world.clock()
    with world.readers(name) as readers:
        world.backend.fail()
        world.pass_time(world.lifetime_s - 1)
        during = world.requests - 1
        calls = [refused(name) for _ in range(CALLS)]
        after_calls = world.requests - 1
        still = TokenManager.get_access_token(name)
        world.backend.heal()
        world.until_attempt()
        renewed = TokenManager.get_access_token(name)
    world.check_reads(readers)
    world.check("attempts during the outage", during, 5 <= during <= 60)
    world.check("attempts that 20 calls caused", after_calls - during, after_calls == during)
    world.check("calls that raised", sum(error is not None for error in calls), not any(calls) and still == old)
    early = world.lifetime_s - (world.clock() - began)
    world.check("renewed before the old one's end", f"{early:.2f} s", renewed != old and early > 0)


@row(
    "peers: 503 with a live token; pain 2",
    "a failed early refresh leaves a token with 240 s to live in place, and says so in its health",
)
def failed_early_refresh(world: World) -> None:
    name = world.ready_manager(refresh_buffer_seconds=240)
    old = TokenManager.get_access_token(name)
    world.backend.fail()
    world.until_attempt()
    health = TokenManager.health(name)
    world.expect("token served", "the old one", TokenManager.get_access_token(name) == old)
    left = health.expires_in_s or 0.0
    world.check("its life", f"{left:.0f} s", 230 <= left <= 300)
    world.check("health", health.state, (health.state, health.ready) == ("stale", True) and health.last_error)
    world.check("next attempt", f"in {health.next_attempt_in_s:.2f} s", (health.next_attempt_in_s or 99) <= 1.0)


@row("peers: refusing a live token", "a token is served to its last moment, and not a moment longer")
def served_to_the_last_moment(world: World) -> None:
    name = world.ready_manager()
    world.backend.fail()
    began, token = world.clock(), TokenManager.get_access_token(name)
    world.pass_time(world.lifetime_s - 0.5 - (world.clock() - began))
    world.expect("half a second before the end", "served", TokenManager.get_access_token(name, timeout=0) == token)
    world.clock.advance(0.5)
    error = refused(name)
    world.check("at the end", type(error).__name__, error is not None)


@row("peers: 503 without a token", "callers fail at once or by their deadline, and cause no attempt of their own")
def outage_without_a_token(world: World) -> None:
    world.backend.fail()
    name = world.manager()
    world.settle(name)
    rounds, raised, slowest = 10, 0, 0.0
    for _ in range(rounds):
        before = world.requests
        answers = world.herd(CALLS, lambda: TokenManager.get_token(name, timeout=0.3)).answers()
        raised += sum(isinstance(answer.error, NoTokenError) for answer in answers)
        slowest = max(slowest, *(answer.took_s for answer in answers))
        if world.requests != before:
            world.check("requests that callers caused", world.requests - before, kept=False)
        world.until_attempt()
    world.check("callers that raised", f"{raised} of {rounds * CALLS}", raised == rounds * CALLS)
    world.check("slowest, by the timeout", f"{slowest / 0.3:.2f}", slowest < 1.0)
    attempts = TokenManager.health(name).consecutive_failures
    world.check("requests in 10 backoff steps", world.requests, world.requests == attempts <= rounds + 1)
    error = refused(name)
    world.check("the error", type(error and error.cause).__name__, error and isinstance(error.cause, TokenRequestError))


@row(
    "peers: failing on after recovery",
    "after one failure the next attempt comes within a second, and brings the token to those who wait",
)
def one_failure_then_healed(world: World) -> None:
    world.backend.fail()
    name = world.manager()
    world.settle(name)
    world.backend.heal()
    began = world.clock()
    world.pass_time(1.0)
    token = TokenManager.get_access_token(name, timeout=0)
    world.check("token", f"{world.clock() - began:.1f} s after the failure", token)
    world.check("requests", world.requests, world.requests == 2)


@row("pain 3", "an hour's outage with no token, then within a minute there is one; the attempts are spread")
def long_outage(world: World) -> None:
    world.backend.fail()
    name = world.manager()
    world.pass_time(3600)
    during = world.requests
    world.backend.heal()
    began = world.clock()
    world.pass_time(60)
    # With waits of 0 to 60 s about 130; 67 if every wait were the longest, thousands if each were the shortest.
    world.check("attempts in an hour", during, 85 <= during <= 200)
    world.check("token after", f"at most {world.clock() - began:.0f} s", refused(name) is None)


@row(
    "promise",
    "40 managers of one issuer share its outage: hardly more attempts than one makes; afterwards all have a token",
)
def shared_outage(world: World) -> None:
    world.backend.fail()
    names = [world.manager() for _ in range(40)]
    world.settle()
    first = world.requests
    world.pass_time(300)
    during = world.requests - first
    world.backend.heal()
    world.pass_time(90)
    world.check("attempts in 5 minutes", during, 3 <= during <= 80)
    tokens = sum(refused(name) is None for name in names)
    world.check("managers with a token 90 s later", tokens, tokens == 40)


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


@row("pain 13", "it starts while the provider is down, and has a token within a minute of its coming up")
def down_at_boot(world: World) -> None:
    world.proxy.down()
    began = time.perf_counter()
    name = world.manager(discover=True)
    took = time.perf_counter() - began
    world.settle(name)
    error = refused(name)
    world.pass_time(600)
    world.proxy.up()
    world.pass_time(60)
    world.check("start_link", f"{took * 1e3:.0f} ms", took < 1)
    world.check("callers meanwhile", type(error).__name__, error is not None and error.retry_in_s is not None)
    world.expect("token within a minute", "there", refused(name) is None)


def nonsense() -> Iterator[tuple[str, dict[str, Any]]]:
    """Answers that are none, by what is wrong with them."""

    def ok(body: object, **headers: str) -> dict[str, Any]:
        text = body if isinstance(body, (str, bytes)) else json.dumps(body)
        return {"status": 200, "body": text, "headers": {"Content-Type": "application/json", **headers}}

    token = {"access_token": "t", "token_type": "Bearer", "expires_in": 300}
    yield "an HTML page with 503", {"status": 503}
    yield "an HTML page with 200", {"status": 200}
    yield "an empty 200", ok("")
    yield "no object", ok([token])
    yield "no access_token", ok({"token_type": "Bearer"})
    yield "a number for a token", ok({**token, "access_token": 5})
    yield "an empty token", ok({**token, "access_token": ""})
    yield "a header injected by the token", ok({**token, "access_token": "t\r\nX: y"})
    yield "another token_type", ok({**token, "token_type": "mac"})
    yield "a token that has ended", ok({**token, "expires_in": 0})
    yield "a token that has never been", ok({**token, "expires_in": -5})
    yield "a token in a 400", {"status": 400, "body": json.dumps(token)}
    yield "a 401 without a code", {"status": 401, "body": "no"}
    yield "a 404", {"status": 404}
    yield "a 500 with JSON", {"status": 500, "error": "server_error"}
    yield "an unknown error", {"status": 400, "error": "computer_says_no"}
    yield "invalid_request", {"status": 400, "error": "invalid_request"}
    yield "a redirect", {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}}
    yield "a redirect that keeps the method", {"status": 307, "headers": {"Location": "http://127.0.0.1:1/"}}
    yield "two megabytes", ok('{"access_token": "' + "x" * 2**21 + '"}')
    yield "deep JSON", ok("[" * 100_000)
    yield "NUL bytes", ok(b"\x00" * 10)
    yield "no UTF-8", ok(b'{"access_token": "\xff"}')
    yield "half a body", ok('{"access_token": "t", "expi')


@row(
    "pain 1; pain 4; pain 10",
    "every answer that is none is a typed, retryable error; the loop lives on, and the live token with it",
)
def nonsense_answers(world: World) -> None:
    name = world.ready_manager()
    wrong: list[str] = []
    answers = list(nonsense())
    with world.readers(name) as readers:
        for what, answer in answers:
            world.backend.fail_next(1, **answer)
            world.clock.advance(1.0)
            try:
                TokenManager.force_refresh(name, wait=True)
            except NoTokenError as error:
                cause = error.cause
                if not isinstance(cause, TokenRequestError) or not cause.retryable or cause.status is None:
                    wrong.append(f"{what}: {cause!r}")
            else:
                wrong.append(f"{what}: taken for a token")
    world.check_reads(readers)
    world.check("answers", f"{len(answers)}, {len(wrong)} not as they should be {wrong or ''}", not wrong)
    world.check("requests", world.requests - 1, world.requests - 1 == len(answers))
    old = TokenManager.get_access_token(name)
    world.pass_time(60)
    world.expect("within a minute", "a new token", TokenManager.get_access_token(name) != old)


@row("pain 4; elixir 1", "a bad body is retried, and never in a hot loop: ten minutes of empty 200s")
def empty_bodies(world: World) -> None:
    world.backend.fail_next(None, status=200, body="")
    name = world.manager()
    world.pass_time(600)
    during = world.requests
    world.backend.heal()
    world.pass_time(60)
    world.check("requests in ten minutes", during, 10 <= during <= 100)
    world.expect("afterwards", "a token", refused(name) is None)


@row("elixir 7", "force_refresh a thousand times in an outage adds no attempts beyond one a second")
def impatience(world: World) -> None:
    world.backend.fail()
    name = world.manager()
    world.settle(name)
    before, began = world.requests, world.clock()
    for _ in range(100):
        for _ in range(10):
            TokenManager.force_refresh(name)
        world.pass_time(0.1)
    made, seconds = world.requests - before, world.clock() - began
    world.check("requests", f"{made} in {seconds:.0f} s", 1 <= made <= seconds + 1)
    world.pass_time(1)
    before = world.requests
    world.pass_time(600)
    quiet = world.requests - before
    world.check("in the ten minutes after", quiet, 5 <= quiet <= 80)
