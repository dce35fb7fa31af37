"""health: how a manager is doing, without a secret."""

import dataclasses
import time
from email.utils import formatdate

import pytest
from fakes import UNREACHABLE, Fixed, failing, minted, refused
from managers import Start
from threads import eventually

from oidc_actor import Health, NoTokenError, TokenManager
from oidc_actor.manager.workers import HTTP_WORKERS
from supervision import NoProcess


def test_before_the_first_token(start: Start, transport) -> None:
    with transport.held_back():
        start(name="m")
        transport.wait_for_requests(1)
        assert TokenManager.health("m") == Health(
            state="empty",
            ready=False,
            blocked=False,
            refreshing=True,
            expires_in_s=None,
            refresh_in_s=None,
            next_attempt_in_s=None,
            consecutive_failures=0,
            token_requests=0,
            refreshes=0,
            last_error=None,
        )


def test_through_the_life_of_a_token(start: Start, transport, clock) -> None:
    start(name="m")
    TokenManager.get_token("m")
    fresh = TokenManager.health("m")
    assert (fresh.state, fresh.ready, fresh.refreshing) == ("fresh", True, False)
    assert (fresh.expires_in_s, fresh.refresh_in_s, fresh.next_attempt_in_s) == (300, 240, 240)
    assert (fresh.token_requests, fresh.refreshes) == (1, 1)
    with transport.held_back():
        clock.advance(250)
        transport.wait_for_posts(2)
        stale = TokenManager.health("m")
        assert (stale.state, stale.ready, stale.refreshing) == ("stale", True, True)
        assert (stale.expires_in_s, stale.refresh_in_s, stale.next_attempt_in_s) == (50, 0, None)
        clock.advance(50)
        expired = TokenManager.health("m")
        assert (expired.state, expired.ready, expired.expires_in_s) == ("expired", False, 0)
    eventually(lambda: TokenManager.health("m").state == "expired" or TokenManager.health("m").refreshes == 2)


def test_a_providers_clock_that_is_off_is_reported(start: Start, transport, caplog) -> None:
    with caplog.at_level("WARNING", "oidc_actor"):
        transport.then(minted(headers={"Date": formatdate(time.time() - 7200, usegmt=True)}))
        start(name="m")
        TokenManager.get_token("m")
        skew_s = TokenManager.health("m").clock_skew_s
    assert skew_s == pytest.approx(-7200, abs=2)
    assert [record.event for record in caplog.records] == ["clock_skewed"]


def test_of_a_blocked_manager(start: Start, transport) -> None:
    transport.default = refused("invalid_client", 401, "the client a-client-secret is unknown")
    start(name="m")
    with pytest.raises(NoTokenError):
        TokenManager.get_token("m")
    health = TokenManager.health("m")
    assert (health.state, health.ready, health.blocked) == ("empty", False, True)
    assert 60 <= health.next_attempt_in_s <= 300
    assert health.last_error is not None
    assert "401" in health.last_error
    assert "invalid_client" in health.last_error
    assert "a-client-secret" not in repr(health)


def test_failures_are_counted_and_a_success_clears_them(start: Start, transport, clock) -> None:
    start(name="m")
    TokenManager.get_token("m")
    transport.then(failing(500), failing(502))
    for failures in (1, 2):
        clock.advance(240 if failures == 1 else 1)
        eventually(lambda: TokenManager.health("m").consecutive_failures == failures)  # noqa: B023
    health = TokenManager.health("m")
    assert (health.state, health.ready, health.blocked) == ("stale", True, False)
    assert "502" in health.last_error
    clock.advance(1)
    eventually(lambda: TokenManager.health("m").refreshes == 2)
    health = TokenManager.health("m")
    assert (health.consecutive_failures, health.last_error, health.token_requests) == (0, None, 4)


def test_a_request_that_found_nobody_counts_as_one(start: Start, transport) -> None:
    transport.default = UNREACHABLE
    start(name="m", rng=Fixed(1))
    eventually(lambda: TokenManager.health("m").consecutive_failures == 1)
    assert TokenManager.health("m").token_requests == 1
    assert "no answer" in TokenManager.health("m").last_error


def test_after_a_rejection_there_is_no_token(start: Start, transport) -> None:
    start(name="m")
    TokenManager.get_token("m")
    TokenManager.force_refresh("m", rejected="t1")
    health = TokenManager.health("m")
    assert (health.state, health.ready, health.expires_in_s) == ("empty", False, None)


def test_it_is_frozen(start: Start) -> None:
    start(name="m")
    with pytest.raises(dataclasses.FrozenInstanceError):
        TokenManager.health("m").ready = True


def test_of_nobody() -> None:
    with pytest.raises(NoProcess):
        TokenManager.health("nobody")


def test_a_request_is_counted_however_soon_its_answer_comes(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HTTP_WORKERS.value, "submit", lambda lane, job: job())
    start(name="m")
    TokenManager.get_token("m")
    assert TokenManager.health("m").token_requests == 1
