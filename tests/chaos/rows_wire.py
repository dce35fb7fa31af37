"""Rows about a network that breaks: each thing that `FaultProxy` can do, while a token lives."""

from __future__ import annotations

from collections.abc import Callable

from chaos.readers import refused
from chaos.scenario import add, row
from chaos.world import World

from oidc_actor import NoTokenError, TokenManager, TokenRequestError

TIMEOUT_S = 0.3
ATTEMPTS = 2


def broken(break_it: Callable[[World], object]) -> Callable[[World], None]:
    """Two attempts meet the fault, a third does not."""

    def play(world: World) -> None:
        name = world.manager(timeout_seconds=TIMEOUT_S, refresh_buffer_seconds=300)
        # On a busy machine even the first attempt may take longer than so short a timeout.
        world.eventually(lambda: world.pass_time(1.0) or TokenManager.health(name).ready, "a token")
        old = TokenManager.get_access_token(name)
        causes = []
        with world.readers(name) as readers:
            break_it(world)
            for _ in range(ATTEMPTS):
                world.clock.advance(1.0)
                try:
                    TokenManager.force_refresh(name, wait=True)
                except NoTokenError as error:
                    causes.append(error.cause)
            kept = TokenManager.get_access_token(name, timeout=0) == old
            world.proxy.heal()
            world.proxy.up()
            world.pass_time(2.0)
            new = TokenManager.get_access_token(name)
        world.check_reads(readers)
        typed = all(isinstance(cause, TokenRequestError) and cause.retryable for cause in causes)
        world.check("failed attempts, typed and retryable", len(causes), typed and len(causes) == ATTEMPTS)
        world.check("the live token meanwhile", "served" if kept else "lost", kept)
        world.expect("two seconds after the end of the fault", "a new token", new != old and refused(name) is None)

    return play


def gone(world: World) -> None:
    """Refuse connections, those that are kept alive too."""
    world.proxy.refuse()
    world.proxy.cut_open()


FAULTS: dict[str, Callable[[World], object]] = {
    "cut_before_the_request": lambda world: world.proxy.cut(None),
    "cut_before_the_answer": lambda world: world.proxy.cut(None, after_bytes=0),
    "cut_within_the_head": lambda world: world.proxy.cut(None, after_bytes=20),
    "reset_before_the_request": lambda world: world.proxy.reset(None),
    "reset_before_the_answer": lambda world: world.proxy.reset(None, after_bytes=0),
    "stalled_before_the_request": lambda world: world.proxy.stall(None),
    "stalled_within_the_answer": lambda world: world.proxy.stall(None, after_bytes=40),
    "slow_drip": lambda world: world.proxy.drip(None, interval_s=0.05),
    "slower_than_the_timeout": lambda world: world.proxy.delay(5, None),
    "truncated": lambda world: world.proxy.truncate(None, body_bytes=20),
    "corrupt_body": lambda world: world.proxy.corrupt(None),
    "corrupt_head": lambda world: world.proxy.corrupt(None, part="head"),
    "refused": gone,
    "away": lambda world: world.proxy.down(),
}
for _name, _fault in FAULTS.items():
    add(
        f"network_{_name}",
        "pain 10",
        "a typed, retryable failure of that attempt alone; the live token is served, the next attempt brings a new one",
        broken(_fault),
    )


TENANTS = 10


@row(
    "promise",
    "interim responses (1xx) are no answers: each of ten managers of one host has its own token, from one request",
)
def interim_answers(world: World) -> None:
    world.proxy.interim(None, status=103, count=3, delay_s=0.02)
    names = [world.manager(discover=number == 0, min_interval_seconds=1.0) for number in range(TENANTS)]
    tokens, failures = set(), []
    for name in names:
        try:
            tokens.add(TokenManager.get_access_token(name, timeout=5))
        except NoTokenError as error:
            failures.append(str(error))
    world.settle()
    failed = sum(TokenManager.health(name).consecutive_failures for name in names)
    world.check("failed attempts", f"{failed} {failures[:1]}", not failed and not failures)
    world.check("different tokens", len(tokens), len(tokens) == TENANTS)
    world.check("requests", world.requests, world.requests == TENANTS + 1)  # one of them for the metadata
