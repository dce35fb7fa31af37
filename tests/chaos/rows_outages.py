"""Rows about a provider that is down, for a while or for long."""

from __future__ import annotations

import random
import time

from chaos.readers import refused
from chaos.scenario import row
from chaos.world import World

from oidc_actor import NoTokenError, TokenManager, TokenRequestError

CALLS = 20


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


@row(
    "promise",
    "with callers, a token within 5 s of the provider's return; for managers of one issuer one probe at a time, every 5 s",
    lifetime_s=6,
)
def recovery_with_callers(world: World) -> None:
    names = [world.ready_manager(rng=Longest()) for _ in range(3)]
    world.backend.fail()
    began, before = world.clock(), world.requests
    without: dict[str, float] = {}

    def ask() -> None:
        for name in names:
            if refused(name) is not None:
                without.setdefault(name, world.clock())

    for _ in range(240):
        world.pass_time(0.5, meanwhile=ask)
    made, seconds = world.requests - before, world.clock() - began
    world.check("managers whose token had ended", len(without), len(without) == 3)
    world.check("requests", f"{made} in {seconds:.0f} s", seconds / 5 - 5 <= made <= seconds / 5 + 25)
    world.backend.heal()
    back = world.clock()
    waited: dict[str, float] = {}
    for _ in range(120):
        for name in names:
            if name not in waited and refused(name) is None:
                waited[name] = world.clock() - back
        if len(waited) == len(names):
            break
        world.pass_time(0.5)
    slowest = max(waited.values(), default=99.0)
    world.check("managers with a token", f"{len(waited)}, {slowest:.1f} s later", len(waited) == 3 and slowest <= 5.5)


class Longest(random.Random):
    """Makes every jittered wait as long as it may be."""

    def random(self) -> float:
        """The end of the range."""
        return 0.999


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
