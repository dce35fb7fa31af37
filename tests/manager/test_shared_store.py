"""Managers that share a store: one request for each life, whatever crashes, stops or forks; alone where the store is down."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from threads import eventually

import supervision
from oidc_actor import (
    ClientCredentials,
    ConfigError,
    DPoPKey,
    NoTokenError,
    Password,
    RefreshToken,
    TokenExchange,
    TokenManager,
    oidc,
)
from oidc_actor.machine import sharing
from oidc_actor.manager import shared_store
from oidc_actor.sharing import FileStore
from oidc_actor.sharing.store import Claim, ClaimAnswer, Looked, Overtaken, Share, Shared
from oidc_actor.testing import ManualClock, Provider
from oidc_actor.testing.memory_store import MemoryStore
from oidc_actor.values.errors import StoreError
from supervision import Supervisor


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(token_lifetime_s=600.0) as running:  # requests are counted: none is due by itself while a test takes
        yield running


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def options(provider: Provider, store: Any, **given: Any) -> dict[str, Any]:
    auth = ClientCredentials(provider.client_id, provider.client_secret)
    return {"issuer_url": provider.issuer_url, "auth": auth, "store": store, **given}


def test_members_get_one_token_by_one_request(provider: Provider, store: MemoryStore) -> None:
    for number in range(6):
        TokenManager.start_link(name=f"m{number}", **options(provider, store))
    tokens = {TokenManager.get_access_token(f"m{number}") for number in range(6)}
    assert len(tokens) == 1
    assert provider.token_requests == 1
    health = TokenManager.health("m0")
    assert (health.sharing, health.store_error) == ("shared", None)


def test_a_refresh_by_one_is_adopted_by_the_others(provider: Provider, store: MemoryStore) -> None:
    for number in range(3):
        TokenManager.start_link(name=f"m{number}", **options(provider, store))
    first = {TokenManager.get_access_token(f"m{number}") for number in range(3)}
    TokenManager.force_refresh("m0", wait=True)
    second = TokenManager.get_access_token("m0")
    assert second not in first
    for number in (1, 2):
        eventually(lambda number=number: TokenManager.get_access_token(f"m{number}") == second)
    assert provider.token_requests == 2


def test_what_one_rejects_no_other_hands_it_again(provider: Provider, store: MemoryStore) -> None:
    for number in range(3):
        TokenManager.start_link(name=f"m{number}", **options(provider, store))
    (bad,) = {TokenManager.get_access_token(f"m{number}") for number in range(3)}
    for number in range(3):
        TokenManager.force_refresh(f"m{number}", rejected=bad)
    new = {TokenManager.get_access_token(f"m{number}") for number in range(3)}
    assert len(new) == 1
    assert bad not in new
    assert provider.token_requests == 2


def login_of(provider: Provider) -> RefreshToken:
    password = Password(provider.username, provider.password, provider.client_id, provider.client_secret)
    config = oidc.discover(provider.issuer_url)
    login = oidc.get_token(config, password).refresh_token
    assert login is not None
    return RefreshToken(login, client_id=provider.client_id, client_secret=provider.client_secret)


def test_a_login_that_rotates_goes_on_in_all(provider: Provider, store: MemoryStore) -> None:
    given = options(provider, store, auth=login_of(provider))
    for number in range(3):
        TokenManager.start_link(name=f"m{number}", **given)
    # The store is new, and another member might have a record to put back: so the first request comes late, but in time for
    # a read that says nothing of its patience, where the machine has nothing else to do.
    patience_s = inspect.signature(TokenManager.get_access_token).parameters["timeout"].default
    assert patience_s > sharing.QUARANTINE_S + sharing.LONGEST_POLL_S
    assert len({TokenManager.get_access_token(f"m{number}", timeout=10 * patience_s) for number in range(3)}) == 1
    for number in range(3):
        before = TokenManager.get_access_token(f"m{number}")
        TokenManager.force_refresh(f"m{number}", wait=True, timeout=50)
        assert TokenManager.get_access_token(f"m{number}") != before
    assert provider.refresh_tokens_reused == 0
    assert provider.token_requests <= 5


def test_a_new_login_on_a_file_need_not_wait(provider: Provider, tmp_path: Path) -> None:
    store = FileStore(tmp_path / "tokens", namespace="prod")
    TokenManager.start_link(name="m", **options(provider, store, auth=login_of(provider)))
    assert TokenManager.get_access_token("m", timeout=3.0)  # less than it would have to wait


def test_a_login_whose_file_was_deleted_is_not_redeemed_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing but the open file of the process that knows it tells a lost record from one that never was."""
    caplog.set_level("INFO", "oidc_actor")
    with Provider(token_lifetime_s=600.0) as lasting:
        given = options(lasting, FileStore(tmp_path / "tokens", namespace="prod"), auth=login_of(lasting))
        TokenManager.start_link(name="knows", **given)
        token = TokenManager.get_access_token("knows")
        (file,) = (tmp_path / "tokens").glob("*.json")
        eventually(lambda: json.loads(file.read_text())["token"], "the token in the record")
        file.unlink()
        TokenManager.start_link(name="new", **given)
        assert TokenManager.get_access_token("new") == token
        assert lasting.refresh_tokens_reused == 0
    assert any("store_restored" in one.getMessage() for one in caplog.records)


def test_a_store_that_cannot_be_asked_leaves_managers_alone(provider: Provider, store: MemoryStore) -> None:
    store.error = StoreError("refused", sent=False)
    TokenManager.start_link(name="m", **options(provider, store))
    TokenManager.get_access_token("m")
    health = TokenManager.health("m")
    assert (health.sharing, health.store_error) == ("alone", "refused")
    store.error = None
    TokenManager.force_refresh("m", wait=True)
    eventually(lambda: TokenManager.health("m").sharing == "shared")


def test_a_store_that_is_lost_shows_before_anything_is_wanted_of_it(
    store: MemoryStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "oidc_actor")
    with Provider(token_lifetime_s=600.0) as lasting:
        TokenManager.start_link(name="m", **options(lasting, store))
        token = TokenManager.get_access_token("m")
        eventually(lambda: TokenManager.health("m").sharing == "shared")
        store.error = StoreError("gone", sent=False)
        eventually(lambda: TokenManager.health("m").sharing == "alone", "a look to fail")
        assert TokenManager.health("m").store_error == "gone"
        store.error = None
        eventually(lambda: TokenManager.health("m").sharing == "shared", "a look to succeed")
        assert TokenManager.get_access_token("m") == token
        assert lasting.token_requests == 1
    events = [record.getMessage() for record in caplog.records]
    assert sum("store_failed" in text for text in events) == sum("store_back" in text for text in events) == 1


class Watched(MemoryStore):
    def __init__(self) -> None:
        super().__init__()
        self.looks: list[int] = []

    def look(self, keys: Sequence[str], /) -> Looked:
        self.looks.append(len(keys))
        return super().look(keys)


def test_looks_of_many_managers_take_turns_but_what_is_lost_is_put_back_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_store, "MOST_KEYS", 2)
    watched = Watched()
    with Provider(token_lifetime_s=600.0) as lasting:
        for number in range(5):
            TokenManager.start_link(name=f"m{number}", **options(lasting, watched, store_key=f"{number}"))
            TokenManager.get_access_token(f"m{number}")
        eventually(lambda: len(watched.records) == 5 and all(one.gen for one in watched.records.values()))
        assert max(watched.looks) <= 2
        watched.looks.clear()
        eventually(lambda: 1 in watched.looks, "the last one's turn")
        assert sum(watched.looks) <= 5, watched.looks
        watched.records.clear()
        watched.looks.clear()
        eventually(lambda: len(watched.records) == 5, "all records, by one look and what follows it")
        assert len(watched.looks) <= 4, watched.looks
        assert lasting.token_requests == 5


class BusyOnce(MemoryStore):
    """Its first claim fails, as one does on a machine that is busy with starting many processes."""

    claims = 0

    def claim(self, key: str, claim: Claim, /) -> ClaimAnswer:
        self.claims += 1
        if self.claims == 1:
            raise StoreError("too busy")
        return super().claim(key, claim)


def test_one_call_that_fails_leaves_no_manager_alone(provider: Provider, store: MemoryStore) -> None:
    TokenManager.start_link(name="first", **options(provider, store))
    token = TokenManager.get_access_token("first")
    eventually(lambda: store.records and next(iter(store.records.values())).token is not None)
    busy = BusyOnce()
    busy.records = store.records
    TokenManager.start_link(name="second", **options(provider, busy))
    assert TokenManager.get_access_token("second") == token
    assert busy.claims == 2
    assert provider.token_requests == 1


def test_what_a_store_raises_harms_nothing(provider: Provider, store: MemoryStore) -> None:
    store.error = ZeroDivisionError("hunter2")
    TokenManager.start_link(name="m", **options(provider, store))
    TokenManager.get_access_token("m")
    assert TokenManager.health("m").store_error == "the store raised ZeroDivisionError"


def test_a_login_waits_for_its_store_and_says_so(provider: Provider, store: MemoryStore) -> None:
    store.error = StoreError("refused", sent=False)
    auth = RefreshToken("login", client_id=provider.client_id, client_secret=provider.client_secret)
    TokenManager.start_link(name="m", **options(provider, store, auth=auth))
    eventually(lambda: TokenManager.health("m").store_error == "refused", "an attempt")
    with pytest.raises(NoTokenError, match="the store of shared tokens cannot be asked: refused"):
        TokenManager.get_access_token("m", timeout=1.0)
    assert provider.token_requests == 0


def test_a_crash_costs_no_request(provider: Provider, store: MemoryStore) -> None:
    Supervisor.start_link([TokenManager.child_spec(name="m", **options(provider, store))])
    TokenManager.start_link(name="other", **options(provider, store))
    token = TokenManager.get_access_token("m")
    ref = supervision.whereis("m")
    assert ref is not None
    supervision.kill(ref)
    eventually(lambda: supervision.whereis("m") not in (None, ref))
    assert TokenManager.get_access_token("m") == TokenManager.get_access_token("other") == token
    assert provider.token_requests == 1


def test_two_namespaces_of_credentials_share_nothing(provider: Provider, store: MemoryStore) -> None:
    TokenManager.start_link(name="a", **options(provider, store, store_key="alice"))
    TokenManager.start_link(name="b", **options(provider, store, store_key="bob"))
    assert TokenManager.get_access_token("a") != TokenManager.get_access_token("b")
    assert len(store.records) == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"store": object()}, "store: expected a TokenStore, such as RedisStore or FileStore, got object"),
        ({"revoke_on_stop": True}, "revoke_on_stop: expected False beside a store"),
        ({"auth": ClientCredentials("c", "s", dpop=True)}, "dpop: expected a DPoPKey that all members have, got True"),
        ({"auth": TokenExchange("t", client_id="c", client_secret="s")}, "store_key: expected a text that names whose"),
        ({"store_key": ""}, "store_key: expected a non-empty text"),
    ],
)
def test_what_cannot_be_shared_is_refused(
    provider: Provider, store: MemoryStore, given: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        TokenManager.start_link(**{**options(provider, store), **given})


def test_a_key_without_a_store_is_refused(provider: Provider) -> None:
    auth = ClientCredentials(provider.client_id, provider.client_secret)
    with pytest.raises(ConfigError, match="store_key: expected a store beside it, got none"):
        TokenManager.start_link(issuer_url=provider.issuer_url, auth=auth, store_key="alice")


class SlowToConnect(MemoryStore):
    """Its first call takes long, as one that makes a connection does."""

    connects: Callable[[], None]

    def look(self, keys: Sequence[str], /) -> Looked:
        self.connects()
        return super().look(keys)


def test_the_time_that_a_connection_takes_does_not_shorten_an_adopted_tokens_life(provider: Provider) -> None:
    clock = ManualClock()
    first, second = MemoryStore(clock=clock), SlowToConnect(clock=clock)
    second.records, second.connects = first.records, lambda: clock.advance(2.0)
    TokenManager.start_link(name="a", **options(provider, first, clock=clock))
    TokenManager.get_access_token("a")
    eventually(lambda: first.records and next(iter(first.records.values())).token is not None)
    TokenManager.start_link(name="b", **options(provider, second, clock=clock))
    TokenManager.get_access_token("b")
    ends_in_s = [TokenManager.health(name).expires_in_s or 0.0 for name in ("a", "b")]
    assert ends_in_s[1] == pytest.approx(ends_in_s[0], abs=0.1)
    assert provider.token_requests == 1


def test_a_bound_token_can_be_shared_by_those_that_have_the_key(provider: Provider, store: MemoryStore) -> None:
    auth = ClientCredentials(provider.client_id, provider.client_secret, dpop=DPoPKey())
    for number in range(2):
        TokenManager.start_link(name=f"m{number}", **options(provider, store, auth=auth))
    assert TokenManager.get_access_token("m0") == TokenManager.get_access_token("m1")


class SlowStore(MemoryStore):
    """One that keeps a token only when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.may = threading.Event(), threading.Event()

    def share(self, key: str, share: Share, /) -> Shared | Overtaken:
        self.is_asked.set()
        assert self.may.wait(10)
        return super().share(key, share)


def test_a_stop_waits_until_a_redeemed_login_is_stored(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_store, "SETTLE_S", 60.0)
    monkeypatch.setattr(sharing, "LEASE_S", 60.0)
    store = SlowStore()
    password = Password(provider.username, provider.password, provider.client_id, provider.client_secret)
    login = oidc.get_token(oidc.discover(provider.issuer_url), password).refresh_token
    assert login is not None
    auth = RefreshToken(login, client_id=provider.client_id, client_secret=provider.client_secret)
    TokenManager.start_link(name="m", **options(provider, store, auth=auth))
    TokenManager.get_access_token("m", timeout=50)
    assert store.is_asked.wait(10)
    stopping = threading.Thread(target=TokenManager.stop, args=("m",))
    stopping.start()
    stopping.join(0.5)
    assert stopping.is_alive()
    store.may.set()
    stopping.join(30)
    assert not stopping.is_alive()
    (record,) = store.records.values()
    assert record.refresh_token is not None


def test_a_stop_does_not_wait_where_the_login_can_be_repeated(provider: Provider) -> None:
    store = SlowStore()
    TokenManager.start_link(name="m", **options(provider, store))
    TokenManager.get_access_token("m")
    assert store.is_asked.wait(10)
    TokenManager.stop("m")
    assert not store.may.is_set()
    assert not any(record.gen for record in store.records.values())
    store.may.set()


AT_EXIT = """
import atexit
from oidc_actor import TokenManager
atexit.register(print, "the program's own")
from oidc_actor.manager import shared_store  # as the first manager with a store does
shared_store.settle_all = lambda: print("settled")
"""


def test_an_exit_waits_for_logins_after_what_the_program_does_at_its_exit() -> None:
    """Which may stop managers, and so redeem none that is not stored."""
    words = [sys.executable, "-c", AT_EXIT]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["the program's own", "settled"]
