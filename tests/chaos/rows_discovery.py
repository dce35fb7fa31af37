"""Rows about the provider's metadata."""

from __future__ import annotations

from chaos.readers import refused
from chaos.scenario import row
from chaos.world import World

from oidc_actor import DiscoveryError, TokenManager


@row("promise", "the token endpoint moves while it runs: found again before the live token ends")
def endpoint_moved(world: World) -> None:
    name = world.ready_manager(discover=True)
    old, asked = TokenManager.get_access_token(name), world.backend.arrived("discovery")
    with world.readers(name) as readers:
        world.backend.move_token_endpoint("/v2/token")
        world.pass_time(world.lifetime_s - 1)
        new = TokenManager.get_access_token(name)
    world.check_reads(readers)
    world.expect("token before the old one's end", "new", new != old)
    again = world.backend.arrived("discovery") - asked
    world.check("discoveries", again, 1 <= again <= 3)


@row(
    "pain 13; elixir 13",
    "metadata of another issuer are refused, and get no credentials; the right ones heal it",
)
def wrong_issuer(world: World) -> None:
    evil = {"issuer": "https://evil.example", "token_endpoint": f"{world.proxy.url}/token"}
    world.backend.answer_next(None, changes=evil, endpoint="discovery")
    name = world.manager(discover=True)
    world.pass_time(60)
    error = refused(name)
    cause = error and error.cause
    world.check("cause", cause, isinstance(cause, DiscoveryError) and cause.retryable)
    world.check("token requests", world.backend.arrived("token"), world.backend.arrived("token") == 0)
    world.backend.heal()
    world.pass_time(61)
    world.expect("afterwards", "a token", refused(name) is None)


@row("pain 13", "metadata once known serve on when they can no longer be had")
def metadata_gone(world: World) -> None:
    name = world.ready_manager(discover=True)
    with world.readers(name) as readers:
        asked = world.backend.arrived("discovery")
        world.backend.fail_next(None, status=503, endpoint="discovery")
        world.pass_time(25 * 3600)
        in_vain = world.backend.arrived("discovery") - asked
    world.check_reads(readers)
    world.check("asked for again, once too old, in vain", in_vain, in_vain >= 1)
    world.check("failures", TokenManager.health(name).last_error, TokenManager.health(name).ready)


@row("promise", "20 managers of one issuer share one discovery")
def shared_discovery(world: World) -> None:
    world.proxy.stall(None)
    names = [world.manager(discover=True) for _ in range(20)]
    world.wait_for_requests(1)
    for name in names:
        TokenManager.health(name)
    world.proxy.heal()
    for name in names:
        TokenManager.get_access_token(name, timeout=10)
    world.check("requests", f"{world.requests} for 20 tokens", world.requests == 21)
