"""Rows about many callers at once, and about what each of them waits."""

from __future__ import annotations

import asyncio
import statistics
from typing import Any

from chaos.readers import read_times_s
from chaos.scenario import row
from chaos.world import World

from oidc_actor import NoTokenError, TokenManager
from oidc_actor.adapters.presenter import Presenter

CALLERS = 50
READS = 4000
P99 = 0.99


def distinct(answers: list[Any]) -> int:
    """How many different tokens a herd got."""
    return len({answer.value for answer in answers if answer.error is None})


@row("peers: cold; pain 5", "50 callers without a token share one request")
def cold_herd(world: World) -> None:
    world.proxy.stall(None)
    name = world.manager()
    herd = world.herd(CALLERS, lambda: TokenManager.get_access_token(name, timeout=10))
    world.wait_for_requests(1)
    world.proxy.heal()
    answers = herd.answers()
    world.check("token requests", world.requests, world.requests == 1)
    world.check(
        "callers served", sum(a.error is None for a in answers), len(answers) == CALLERS and distinct(answers) == 1
    )


@row("peers: cold; pain 5", "threads, asyncio tasks and force_refresh share one request")
def cold_herd_of_threads_and_tasks(world: World) -> None:
    world.proxy.stall(None)
    name = world.manager()

    async def tasks() -> list[str]:
        return await asyncio.gather(*(TokenManager.aget_access_token(name, timeout=10) for _ in range(CALLERS)))

    loops = world.herd(2, lambda: asyncio.run(tasks()))
    threads = world.herd(CALLERS, lambda: TokenManager.get_access_token(name, timeout=10))
    refreshers = world.herd(10, lambda: TokenManager.force_refresh(name, wait=True, timeout=10))
    world.eventually(lambda: world.waiting(name) == 3 * CALLERS + 10, "everybody's wait")
    world.proxy.heal()
    everybody = [*loops.answers(), *threads.answers(), *refreshers.answers()]
    world.check("token requests", world.requests, world.requests == 1)
    world.check("served", sum(a.error is None for a in everybody), all(a.error is None for a in everybody))


@row("peers: cold; pain 5", "50 callers on a token that has just ended share one request")
def expired_herd(world: World) -> None:
    name = world.ready_manager()
    before = world.requests
    world.proxy.stall(None)
    world.clock.advance(world.lifetime_s)
    herd = world.herd(CALLERS, lambda: TokenManager.get_access_token(name, timeout=10))
    world.wait_for_requests(before + 1)
    world.proxy.heal()
    answers = herd.answers()
    world.check("token requests", world.requests - before, world.requests - before == 1)
    world.check(
        "callers served", sum(a.error is None for a in answers), distinct(answers) == 1 and len(answers) == CALLERS
    )


@row(
    "peers: in the refresh window; pain 7",
    "callers with a live token wait for nobody while it is refreshed: one request",
)
def herd_in_the_refresh_window(world: World) -> None:
    name = world.ready_manager()
    old, before = TokenManager.get_access_token(name), world.requests
    world.proxy.stall(None)
    world.until_refresh_starts(name)
    herd = world.herd(CALLERS, lambda: TokenManager.get_access_token(name, timeout=0))
    answered = herd.wait_until_answered(CALLERS)
    world.check("answered before the provider", answered, answered and distinct(herd.answers()) == 1)
    world.check("token requests", world.requests - before, world.requests - before == 1)
    world.proxy.heal()
    world.settle(name)
    world.check("refreshed", world.requests - before, TokenManager.get_access_token(name) != old)


@row("peers: slow provider; pain 7", "with a provider that does not answer, reads are as fast as with an idle one")
def slow_provider(world: World) -> None:
    name = world.ready_manager()
    source = TokenManager.source(name)
    idle = [p99_s(source)]
    world.proxy.stall(None)
    world.until_refresh_starts(name)
    slow = statistics.median(p99_s(source) for _ in range(3))
    world.proxy.heal()
    world.settle(name)
    idle.append(p99_s(source))
    ratio = slow / statistics.mean(idle)
    world.check("p99 of a read, by the idle one's", f"{ratio:.2f}", ratio < 10)
    world.check("p99 of a read", f"{slow * 1e6:.1f} us", slow < 1e-3)


@row("pain 7", "no latency spike at any refresh: reads during 20 of them are as fast as before")
def reads_across_refreshes(world: World) -> None:
    name = world.ready_manager()
    source = TokenManager.source(name)
    idle = p99_s(source)
    before, spikes = world.requests, []
    for _ in range(20):
        world.proxy.stall(1)
        world.until_refresh_starts(name)
        spikes.append(p99_s(source, READS // 20))
        world.proxy.heal()
        world.settle(name)
    ratio = statistics.median(spikes) / idle
    world.check("p99 of a read, by the idle one's", f"{ratio:.2f}", ratio < 10)
    world.check("token requests", world.requests - before, world.requests - before == 20)


@row("pain 11", "100 threads with the same 401 cause one request, and none of them reads that token again")
def same_401_for_100_threads(world: World) -> None:
    name = world.ready_manager()
    rejected, before = TokenManager.get_access_token(name), world.requests
    world.clock.advance(5)
    world.proxy.stall(None)

    def reject() -> str:
        TokenManager.force_refresh(name, rejected=rejected)
        return TokenManager.get_access_token(name, timeout=10)

    herd = world.herd(100, reject)
    world.wait_for_requests(before + 1)
    try:
        still = TokenManager.get_access_token(name, timeout=0)
    except NoTokenError:
        still = ""
    world.check("given out after the rejection", still == rejected, not still)
    world.proxy.heal()
    answers = herd.answers()
    world.check("token requests", world.requests - before, world.requests - before == 1)
    world.check(
        "got the new one", sum(a.error is None for a in answers), distinct(answers) == 1 and len(answers) == 100
    )
    world.clock.advance(5)
    TokenManager.force_refresh(name, rejected=rejected)
    TokenManager.force_refresh(name, rejected=rejected, wait=True)
    world.pass_time(5)
    world.check("requests for two late rejections", world.requests - before - 1, world.requests - before == 1)


@row("pain 11", "a resource server that rejects every token causes at most one request a second")
def a_401_storm(world: World) -> None:
    name = world.ready_manager()
    before, began = world.requests, world.clock()
    for _ in range(200):
        try:
            TokenManager.force_refresh(name, rejected=TokenManager.get_access_token(name, timeout=0))
        except NoTokenError:
            world.pass_time(0.05)
    seconds, made = world.clock() - began, world.requests - before
    world.check("requests", f"{made} in {seconds:.1f} s of rejections", 3 <= made <= seconds + 1)


@row(
    "pain 11",
    "one bad node in ten behind a resource server's balancer: the provider is asked at a growing pace, no reader waits",
    lifetime_s=3600,
)
def one_bad_node_in_ten(world: World) -> None:
    name = world.ready_manager()
    presenter, api = Presenter(name), "https://api.example.com:443"
    source, before, began = TokenManager.source(name), world.requests, world.clock()
    rejections = waits = 0
    while world.clock() - began < 120:
        for node in range(10):
            sent = presenter.bearer()
            if node:
                presenter.accept(api, sent)
                continue
            rejections += 1
            presenter.reject(api, sent)
            TokenManager.health(name)  # answered after those
            try:
                source(timeout=0)
            except NoTokenError:
                waits += 1
        world.pass_time(1)
    made = world.requests - before
    world.check("token requests", f"{made} for {rejections} rejections in 120 s", 5 <= made <= 8)
    world.check("reads without a token meanwhile", waits, waits == 0)
    world.pass_time(600)
    sent, before = presenter.bearer(), world.requests
    presenter.reject(api, sent)
    world.settle(name)
    world.check("one revocation, ten quiet minutes later", f"{world.requests - before} at once", source() != sent.token)


def p99_s(source: Any, reads: int = READS) -> float:
    """99th percentile of reads by a source, in seconds."""
    return read_times_s(source.access_token, reads)[int(reads * P99)]
