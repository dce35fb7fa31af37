"""The start of many managers: their provider sees a bounded rate, and nobody who wants a token waits for that."""

import contextlib

import pytest
from fakes import ScriptedTransport
from managers import Start
from threads import eventually

from oidc_actor import OIDCConfig, TokenManager
from oidc_actor.machine.circuit_breaker import BURST, RATE_PER_S
from oidc_actor.manager.workers import HTTP_WORKERS
from oidc_actor.testing import ManualClock
from supervision import kill

pytestmark = pytest.mark.P6

MORE = 40


@pytest.fixture
def names(start: Start, transport: ScriptedTransport) -> list[str]:
    """More managers of one issuer than may go at once, in the order of their start."""
    names = [f"m{number}" for number in range(BURST + MORE)]
    for name in names:
        start(name=name)
    transport.wait_for_posts(BURST)
    eventually(lambda: not HTTP_WORKERS.value.busy)
    return names


def test_more_managers_than_a_burst_go_at_a_bounded_rate(
    names: list[str], transport: ScriptedTransport, clock: ManualClock
) -> None:
    assert len(transport.posts) == BURST
    assert len(transport.gets) == 1
    clock.advance(10.5 / RATE_PER_S)
    transport.wait_for_posts(BURST + 10)
    eventually(lambda: not HTTP_WORKERS.value.busy)
    assert len(transport.posts) == BURST + 10
    clock.advance(MORE / RATE_PER_S)
    transport.wait_for_posts(BURST + MORE)
    tokens = {TokenManager.get_access_token(name) for name in names}
    assert len(tokens) == len(transport.posts) == BURST + MORE


@pytest.mark.parametrize(
    "want",
    [
        lambda name: TokenManager.get_access_token(name),
        lambda name: TokenManager.source(name).access_token(),
        lambda name: TokenManager.force_refresh(name, wait=True),
    ],
)
def test_whoever_is_wanted_does_not_wait_for_its_turn(want, names: list[str], transport: ScriptedTransport) -> None:
    want(names[-1])  # the clock stands still
    assert len(transport.posts) == BURST + 1


def test_another_issuers_managers_do_not_wait_for_this_ones(names: list[str], start: Start) -> None:
    other = ScriptedTransport(issuer="https://other.example.com")
    start(issuer_url=other.issuer, transport=other)
    other.wait_for_posts(1)


@pytest.mark.P12
def test_a_silent_issuer_leaves_threads_to_the_others(start: Start) -> None:
    silent = [ScriptedTransport(issuer=f"https://silent{number}.example.com") for number in range(3)]
    with contextlib.ExitStack() as silence:
        for one in silent:
            silence.enter_context(one.held_back())
            config = OIDCConfig(issuer=one.issuer, token_endpoint=f"{one.issuer}/token")
            for _ in range(40):
                start(oidc_config=config, transport=one)
        for one, share in zip(silent, (16, 8, 4), strict=True):
            one.wait_for_posts(share)
        well = ScriptedTransport()
        for number in range(20):
            start(name=f"well{number}", transport=well)
        assert len({TokenManager.get_access_token(f"well{number}") for number in range(20)}) == 20
        assert [len(one.posts) for one in silent] == [16, 8, 4]
        assert HTTP_WORKERS.value.threads <= 32


def test_a_restart_takes_no_place_in_line(names: list[str], transport: ScriptedTransport, start: Start) -> None:
    token = TokenManager.get_access_token(names[0])
    kill(names[0])
    start(name=names[0])
    assert TokenManager.get_access_token(names[0]) == token
    assert len(transport.posts) == BURST
