"""`TokenManager` against the certified npm `oidc-provider`: rotation, refusal, outage."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pykka
import pytest
from integration.code_flow import refresh_token_by_login
from integration.node_provider import CLIENTS, USER, NodeProvider, Stats, running
from integration.readers import reading
from threads import eventually

from oidc_actor import (
    ClientCredentials,
    NoTokenError,
    Password,
    RefreshToken,
    RetryPolicy,
    SecretFile,
    TokenManager,
    TokenRequestError,
    TokenResponse,
)

ROTATIONS = 30
DEADLINE_S = 30.0

Start = Callable[..., pykka.ActorRef[Any]]


@pytest.fixture
def start(npm_provider: NodeProvider) -> Iterator[Start]:
    """Start managers of the shared provider (or another); all are stopped afterwards."""
    started: list[pykka.ActorRef[Any]] = []

    def start_manager(auth: object, provider: NodeProvider = npm_provider, **options: Any) -> pykka.ActorRef[Any]:
        settings = {"min_interval_seconds": 0.05, "retry": RetryPolicy(initial_s=0.05, maximum_s=0.5)} | options
        started.append(TokenManager.start_link(issuer_url=provider.issuer_url, auth=auth, **settings))
        return started[-1]

    yield start_manager
    for ref in started:
        if ref.is_alive():
            TokenManager.stop(ref)


class NewTokens:
    """Counts a manager's new tokens, and waits for a number of them."""

    def __init__(self, ref: pykka.ActorRef[Any]) -> None:
        self._changed = threading.Condition()
        self._tokens: list[TokenResponse] = []
        TokenManager.subscribe(ref, self._add)

    def wait_for(self, count: int) -> list[TokenResponse]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._tokens) >= count, DEADLINE_S), len(self._tokens)
            return list(self._tokens)

    def _add(self, token: TokenResponse) -> None:
        with self._changed:
            self._tokens.append(token)
            self._changed.notify_all()


def user(method: str = "client_secret_basic") -> Password:
    known = CLIENTS[method]
    scopes = ["openid", "offline_access"]
    return Password(USER["name"], USER["password"], known["client_id"], known.get("client_secret"), scopes)


def since(before: Stats, after: Stats) -> Stats:
    return Stats(
        success={grant: count - before.success.get(grant, 0) for grant, count in after.success.items()},
        error={grant: count - before.error.get(grant, 0) for grant, count in after.error.items()},
        arrived={endpoint: count - before.arrived[endpoint] for endpoint, count in after.arrived.items()},
    )


@pytest.mark.parametrize("method", ["client_secret_basic", "none"])
def test_thirty_rotations_in_a_row_without_a_full_grant_and_without_a_failed_read(
    npm_provider: NodeProvider, start: Start, method: str
) -> None:
    before = npm_provider.stats()
    ref = start(user(method))
    seen = {TokenManager.get_access_token(ref)}
    with reading(lambda: TokenManager.get_token(ref)) as reads:
        for _ in range(ROTATIONS):
            TokenManager.force_refresh(ref, wait=True, timeout=DEADLINE_S)
            seen.add(TokenManager.get_access_token(ref))
    assert reads.failures == []
    assert reads.count > ROTATIONS
    done = since(before, npm_provider.stats())
    assert done.success["password"] == 1
    assert done.success["refresh_token"] >= ROTATIONS  # the manager's own schedule may have added some
    assert not any(done.error.values())
    assert len(seen) == ROTATIONS + 1
    assert TokenManager.health(ref).consecutive_failures == 0


def test_rotation_by_the_managers_own_schedule(npm_provider: NodeProvider, start: Start) -> None:
    before = npm_provider.stats()
    ref = start(user())
    new = NewTokens(ref)
    TokenManager.get_token(ref)
    with reading(lambda: TokenManager.get_token(ref, timeout=0)) as reads:
        tokens = new.wait_for(4)
    assert reads.failures == []
    assert len({token.refresh_token for token in tokens}) == len(tokens)
    done = since(before, npm_provider.stats())
    assert (done.success["password"], any(done.error.values())) == (1, False)


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_client_credentials_by_the_managers_own_schedule(start: Start, method: str) -> None:
    known = CLIENTS[method]
    ref = start(ClientCredentials(known["client_id"], known["client_secret"], client_auth=method))
    new = NewTokens(ref)
    first = TokenManager.get_token(ref)
    with reading(lambda: TokenManager.get_token(ref, timeout=0)) as reads:
        tokens = new.wait_for(2)
    assert reads.failures == []
    assert tokens[-1].access_token != first.access_token


def test_without_rotation_the_same_refresh_token_is_redeemed_again_and_again(start: Start) -> None:
    with running(rotation=False) as provider:
        ref = start(user(), provider)
        tokens = {TokenManager.get_token(ref).refresh_token}
        for _ in range(3):
            TokenManager.force_refresh(ref, wait=True, timeout=DEADLINE_S)
            tokens.add(TokenManager.get_token(ref).refresh_token)
        stats = provider.stats()
        TokenManager.stop(ref)
    assert len(tokens) == 1
    assert (stats.success["password"], stats.error) == (1, {})
    assert stats.success["refresh_token"] >= 3


def test_a_refresh_token_from_a_login_is_followed_through_its_rotations(
    npm_provider: NodeProvider, start: Start
) -> None:
    known = CLIENTS["client_secret_basic"]
    secret = refresh_token_by_login(npm_provider)
    ref = start(RefreshToken(secret, known["client_id"], known["client_secret"]))
    followed = {secret, TokenManager.get_token(ref).refresh_token}
    for _ in range(3):
        TokenManager.force_refresh(ref, wait=True, timeout=DEADLINE_S)
        followed.add(TokenManager.get_token(ref).refresh_token)
    assert len(followed) >= 5


def test_a_wrong_secret_is_said_at_once_and_in_words(npm_provider: NodeProvider, start: Start) -> None:
    known = CLIENTS["client_secret_basic"]
    before = npm_provider.stats()
    ref = start(ClientCredentials(known["client_id"], "wrong-secret-text"))
    with pytest.raises(NoTokenError) as caught:
        TokenManager.get_token(ref, timeout=DEADLINE_S)
    cause = caught.value.cause
    assert isinstance(cause, TokenRequestError)
    assert (cause.status, cause.error, cause.permanent) == (401, "invalid_client", True)
    health = TokenManager.health(ref)
    assert (health.blocked, health.ready, health.state) == (True, False, "empty")
    for text in (str(caught.value), str(health.last_error)):
        assert "401" in text
        assert "invalid_client" in text
        assert "wrong-secret-text" not in text
    assert since(before, npm_provider.stats()).error["client_credentials"] == 1


def test_a_mended_secret_file_unblocks_by_itself(start: Start, tmp_path: Path) -> None:
    known = CLIENTS["client_secret_basic"]
    file = tmp_path / "secret"
    file.write_text("wrong\n", encoding="utf-8")
    ref = start(ClientCredentials(known["client_id"], SecretFile(file)))
    new = NewTokens(ref)
    with pytest.raises(NoTokenError):
        TokenManager.get_token(ref, timeout=DEADLINE_S)
    file.write_text(f"{known['client_secret']}\n", encoding="utf-8")
    assert new.wait_for(1)
    assert not TokenManager.health(ref).blocked


def test_a_provider_that_stops_and_starts_again_heals(own_npm_provider: NodeProvider, start: Start) -> None:
    known = CLIENTS["client_secret_basic"]
    ref = start(ClientCredentials(known["client_id"], known["client_secret"]), own_npm_provider)
    TokenManager.get_token(ref)
    own_npm_provider.stop()
    with pytest.raises(NoTokenError) as caught:  # once the old token is over
        TokenManager.get_token(ref, min_validity=2, timeout=2)
    assert caught.value.cause is None or isinstance(caught.value.cause, TokenRequestError)
    own_npm_provider.start()
    assert not TokenManager.get_token(ref, timeout=DEADLINE_S).expired()  # maybe still the old one, on a fast machine
    eventually(lambda: TokenManager.health(ref).last_error is None)


def test_a_restart_that_forgot_the_refresh_token_falls_back_to_the_password_in_the_same_attempt(
    own_npm_provider: NodeProvider, start: Start
) -> None:
    ref = start(user(), own_npm_provider)
    first = TokenManager.get_token(ref)
    own_npm_provider.stop()
    own_npm_provider.start()
    TokenManager.force_refresh(ref, wait=True, timeout=DEADLINE_S)
    assert TokenManager.get_token(ref).access_token != first.access_token
    after = own_npm_provider.stats()
    assert after.error["refresh_token"] == 1
    assert after.success["password"] == 1


def test_a_manager_started_before_its_provider_waits_for_it(own_npm_provider: NodeProvider, start: Start) -> None:
    own_npm_provider.stop()
    known = CLIENTS["client_secret_basic"]
    ref = start(ClientCredentials(known["client_id"], known["client_secret"]), own_npm_provider)
    eventually(lambda: TokenManager.health(ref).consecutive_failures > 0)
    with pytest.raises(NoTokenError):
        TokenManager.get_token(ref, timeout=0)
    own_npm_provider.start()
    assert TokenManager.get_token(ref, timeout=DEADLINE_S).access_token
