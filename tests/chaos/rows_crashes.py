"""Rows about the manager's own death."""

from __future__ import annotations

from typing import Any

from chaos.scenario import row
from chaos.world import World

from oidc_actor import TokenManager
from supervision import Supervisor, kill, whereis

KILLS = 1000


def supervised(world: World, **options: Any) -> str:
    """Start a manager under a supervisor that restarts it for ever; its name."""
    spec = TokenManager.child_spec(**world.options(**options))
    supervisor = Supervisor.start_link([spec], max_restarts=100 * KILLS, max_seconds=5.0)
    world.later(lambda: Supervisor.stop(supervisor))
    return world.adopt(str(spec.id))


def crash(world: World, name: str) -> None:
    """Kill the manager and wait for the next incarnation."""
    old = whereis(name)
    assert old is not None
    kill(old)
    world.eventually(lambda: whereis(name) not in (None, old), "the restart")


@row("pain 1", "killed 1,000 times under load: no read fails, and hardly a request more is made")
def killed_a_thousand_times(world: World) -> None:
    name = supervised(world)
    TokenManager.get_access_token(name)
    world.settle(name)
    before = world.requests
    with world.readers(name) as readers:
        for _ in range(KILLS):
            crash(world, name)
        world.settle(name)
    world.check_reads(readers)
    world.check("extra token requests", world.requests - before, world.requests - before <= 2)


@row("pain 1", "killed 20 times while its first request is under way: the answer serves all who wait")
def killed_amid_a_request(world: World) -> None:
    world.proxy.stall(None)
    name = supervised(world, timeout_seconds=10)
    world.wait_for_requests(1)
    herd = world.herd(20, lambda: TokenManager.get_access_token(name, timeout=10))
    for _ in range(20):
        crash(world, name)
    world.proxy.heal()
    answers = herd.answers()
    served = sum(answer.error is None for answer in answers)
    world.check("callers served", served, served == 20)
    world.check("token requests", world.requests, world.requests == 1)


@row("promise", "killed 100 times in an outage: the token lives on, and crashes make no attempts")
def killed_in_an_outage(world: World) -> None:
    name = supervised(world)
    TokenManager.get_access_token(name)
    world.settle(name)
    world.backend.fail()
    world.until_attempt()
    before = world.requests
    with world.readers(name) as readers:
        for _ in range(100):
            crash(world, name)
        world.settle(name)
    world.check_reads(readers)
    world.check("attempts because of it", world.requests - before, world.requests - before <= 1)
    world.backend.heal()
    old = TokenManager.get_access_token(name)
    world.pass_time(61)
    world.expect("afterwards", "a new token", TokenManager.get_access_token(name) != old)
