"""A read that no new token can satisfy costs no request, in whatever form it comes; and what a refusal says is missing."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from managers import Start

import supervision
from oidc_actor import NoTokenError, TokenManager

pytestmark = pytest.mark.P6

READS = [
    lambda **asked: TokenManager.get_token("m", **asked),
    lambda **asked: TokenManager.get_access_token("m", **asked),
    lambda **asked: asyncio.run(TokenManager.aget_token("m", **asked)),
    lambda **asked: asyncio.run(TokenManager.aget_access_token("m", **asked)),
]


@pytest.mark.parametrize("timeout", [0, 5])
@pytest.mark.parametrize("read", READS)
def test_no_read_asks_for_a_token_that_lives_longer_than_any(
    read, timeout: float, start: Start, transport, clock
) -> None:
    start(name="m")
    TokenManager.get_token("m")
    for _ in range(20):
        clock.advance(2)
        began = time.monotonic()
        with pytest.raises(NoTokenError, match=r"min_validity: expected less than 300\.0 seconds, .* got 3600"):
            read(timeout=timeout, min_validity=3600)
        assert time.monotonic() - began < 4
    TokenManager.health("m")  # answered after whatever the reads have sent it
    assert len(transport.posts) == 1


def test_many_threads_that_ask_for_it_cost_no_request(start: Start, transport, clock) -> None:
    start(name="m")
    TokenManager.get_token("m")
    clock.advance(100)

    def read(_: int) -> str:
        with pytest.raises(NoTokenError) as caught:
            TokenManager.get_token("m", min_validity=3600)
        return str(caught.value)

    with ThreadPoolExecutor(50) as pool:
        told = set(pool.map(read, range(200)))
    assert len(told) == 1
    assert len(transport.posts) == 1


def test_a_manager_that_is_restarted_still_knows_it(start: Start, transport, clock) -> None:
    ref = start(name="m")
    TokenManager.get_token("m")
    supervision.kill(ref)
    start(name="m")
    clock.advance(100)
    with pytest.raises(NoTokenError, match="expected less than 300"):
        TokenManager.get_token("m", min_validity=301)
    TokenManager.health("m")
    assert len(transport.posts) == 1


def test_where_there_never_was_a_token_no_error_speaks_of_a_longer_one(start: Start, transport) -> None:
    transport.goes_down()
    start(name="m")
    for timeout in (0.0, 0.3):
        with pytest.raises(NoTokenError, match="no token yet") as caught:
            TokenManager.get_token("m", timeout=timeout)
        assert "long enough" not in str(caught.value)
