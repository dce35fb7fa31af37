"""A store that does not do what it promises: nonsense, silence, late answers. No manager crashes, and no login is lost by it."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes import ISSUER, UNREACHABLE, ScriptedTransport
from threads import DEADLINE_S, eventually

from oidc_actor import ClientCredentials, OIDCConfig, RefreshToken, RetryPolicy, SecretFile, TokenManager
from oidc_actor.machine import sharing
from oidc_actor.machine.effects import RestoreRecord
from oidc_actor.machine.events import NEVER
from oidc_actor.manager import effect_handler, provider_requests, shared_store
from oidc_actor.manager.workers import HTTP_WORKERS
from oidc_actor.sharing.store import Granted, Looked, Lost, Newer, Occupied, Overtaken, Shared
from oidc_actor.testing.memory_store import MemoryStore
from oidc_actor.values.errors import StoreError
from oidc_actor.values.secrets import Secret

CONFIG = OIDCConfig(issuer=ISSUER, token_endpoint=f"{ISSUER}/token")
SECRET = Secret("sealed")


class Answers(MemoryStore):
    """A store some of whose methods are done by others, which are given the right one."""

    def __init__(self, **instead: Callable[..., Any]) -> None:
        super().__init__()
        for name, do in instead.items():
            setattr(self, name, functools.partial(do, getattr(self, name)))


def start(store: MemoryStore, transport: ScriptedTransport, name: str = "m", **given: Any) -> None:
    given = {"auth": ClientCredentials("id", "a-client-secret"), "oidc_config": CONFIG, **given}
    TokenManager.start_link(name=name, store=store, transport=transport, **given)


def own(login: Any = "r0") -> RefreshToken:
    return RefreshToken(login, client_id="id", client_secret="a-client-secret")


NONSENSE: dict[str, list[Any]] = {
    "claim": [
        None,
        object(),
        "granted",
        Granted("7", None, False, 1000),  # type: ignore[arg-type]
        Granted(7, "r0", False, 1000),  # type: ignore[arg-type]
        Granted(7, None, False, 2**80),
        Newer(2**70, SECRET, 2**70, "f", None, 0),
        Newer(5, None, 10**6, "f", None, 0),  # type: ignore[arg-type]
        Newer(5, SECRET, 10**6, "f", None, 0),  # for ever
        Occupied(2**52, "lease", 0),
        Occupied(0, "why not", 0),  # type: ignore[arg-type]
        Lost(None),  # type: ignore[arg-type]
        Shared(1, 1),
    ],
    "share": [None, Shared(None, 1), Shared(2**80, 1), Shared(1, float("nan")), Overtaken("x"), True],  # type: ignore[arg-type]
    "renew": [None, "yes"],
    "look": [
        None,
        Looked((), 1000),
        Looked(("5",), 1000),
        Looked((-1,), 1000),
        Looked((2**90,), 1),
        Looked((0,), None),
        [],
    ],  # type: ignore[arg-type]
    "give_up": [object()],
    "restore": [None, "yes"],
}


@pytest.mark.parametrize(("method", "answer"), [(name, one) for name in NONSENSE for one in NONSENSE[name]], ids=repr)
def test_nonsense_is_a_failure_of_the_store_and_of_nothing_else(
    method: str, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "LOOK_S", 0.02)
    is_bad, bad = threading.Event(), threading.Semaphore(0)
    is_bad.set()

    def answers(right: Callable[..., Any], *given: Any) -> Any:
        if not is_bad.is_set() or given == ((),):  # the store's clock is right
            return right(*given)
        bad.release()
        return answer

    store, transport = Answers(**{method: answers}), ScriptedTransport()
    start(store, transport)
    if not isinstance(answer, Occupied) or answer.why != "lease":
        assert TokenManager.get_access_token("m") == "t1"
    if method in ("claim", "share", "look"):
        assert bad.acquire(timeout=DEADLINE_S)
    ref = TokenManager.health("m")
    is_bad.clear()
    eventually(lambda: TokenManager.health("m").sharing == "shared")
    assert ref.state in ("fresh", "empty")
    looks = store.calls
    eventually(lambda: store.calls > looks + 3)  # they go on


def test_a_share_that_is_answered_with_nonsense_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "QUARANTINE_S", 0.0)
    answers = [None, Shared(None, 1)]  # type: ignore[arg-type]
    store = Answers(share=lambda right, *given: answers.pop() if answers else right(*given))
    start(store, ScriptedTransport(), auth=own())
    TokenManager.get_access_token("m")
    eventually(lambda: [record for record in store.records.values() if record.token is not None])


def test_a_store_that_hangs_takes_no_more_threads_and_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effect_handler, "STORE_PATIENCE_S", 0.1)
    monkeypatch.setattr(shared_store, "HUNG_S", 0.1)
    monkeypatch.setattr(sharing, "ALONE_S", 0.1)
    goes_on = threading.Event()

    def hangs(right: Callable[..., Any], *given: Any) -> Any:
        if not goes_on.wait(3 * DEADLINE_S):
            raise AssertionError("never let go")
        return right(*given)

    store = Answers(look=hangs, claim=hangs)
    transport = ScriptedTransport(lifetime=300.0)
    for number in range(30):
        start(store, transport, f"m{number}", min_interval_seconds=0.01)
    for number in range(30):
        TokenManager.get_access_token(f"m{number}")
    client, pool = shared_store.client_of(store), HTTP_WORKERS.value
    waiting = [len(lane.waiting) for lane in pool._lanes.values() if lane.key is client]
    for _ in range(5):
        for number in range(30):
            TokenManager.force_refresh(f"m{number}", wait=True)
    assert [len(lane.waiting) for lane in pool._lanes.values() if lane.key is client] == waiting
    assert TokenManager.health("m0").store_error is not None
    assert "have not returned" in str(TokenManager.health("m0").store_error)
    goes_on.set()
    for number in range(30):  # each attempt asks the store again, which may be slow to answer on a busy machine

        def shares(name: str = f"m{number}") -> bool:
            TokenManager.force_refresh(name)
            return TokenManager.health(name).sharing == "shared"

        eventually(shares, "the store that answers again")


def test_a_probe_that_never_returns_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_store, "HUNG_S", 0.05)
    monkeypatch.setattr(effect_handler, "STORE_PATIENCE_S", 0.05)
    hangs, ends, calls = threading.Event(), threading.Event(), iter(range(10**6))

    def looks(right: Callable[..., Any], *given: Any) -> Any:
        number = next(calls)
        if number == 0:
            raise StoreError("down")
        if number == 1:
            hangs.set()
            ends.wait(3 * DEADLINE_S)
        return right(*given)

    start(Answers(look=looks), ScriptedTransport(), min_interval_seconds=0.01)
    TokenManager.get_access_token("m")
    while not hangs.wait(0.05):
        TokenManager.force_refresh("m")
    try:
        TokenManager.force_refresh("m")
        eventually(lambda: TokenManager.health("m").sharing == "shared" or TokenManager.force_refresh("m"))
    finally:
        ends.set()


def test_a_lease_that_could_not_be_given_up_leaves_the_login_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent under it, which the next claim says: else the login passes for one that may be spent."""
    monkeypatch.setattr(sharing, "QUARANTINE_S", 0.0)
    monkeypatch.setattr(sharing, "LEASE_S", 0.2)
    granted: list[Granted] = []
    failures = ["the first give-up is lost"]

    def claims(right: Callable[..., Any], *given: Any) -> Any:
        answer = right(*given)
        if isinstance(answer, Granted):
            granted.append(answer)
        return answer

    def gives_up(right: Callable[..., Any], *given: Any) -> Any:
        if failures:
            raise StoreError(failures.pop())
        return right(*given)

    store, transport = Answers(claim=claims, give_up=gives_up), ScriptedTransport(UNREACHABLE)
    start(store, transport, auth=own(), min_interval_seconds=0.1)
    assert TokenManager.get_access_token("m", timeout=DEADLINE_S) == "t1"
    assert not failures
    assert len(granted) == 2
    assert not any(one.doubtful for one in granted)


def test_an_answer_that_comes_late_does_not_pass_for_that_of_the_next_claim() -> None:
    member = shared_store.Member(unheard="second")
    member.heard("first")
    assert member.unheard == "second"
    member.heard("second")
    assert member.unheard is None


def test_a_token_that_comes_after_it_was_given_up_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be the only one that the next can be had with."""
    monkeypatch.setattr(sharing, "QUARANTINE_S", 0.0)
    monkeypatch.setattr(provider_requests, "GRACE_S", 0.0)
    store, transport = MemoryStore(), ScriptedTransport()
    with transport.held_back():
        retry = RetryPolicy(initial_s=60.0, asked_maximum_s=60.0)
        start(store, transport, auth=own(), timeout_seconds=0.05, retry=retry, min_interval_seconds=30.0)
        eventually(lambda: "long after" in str(TokenManager.health("m").last_error))
    eventually(lambda: [record for record in store.records.values() if record.token is not None])


def test_a_login_is_put_back_whose_token_was_rejected() -> None:
    store = MemoryStore()
    cell = SimpleNamespace(clock=lambda: 1000.0, count=lambda _: None)
    caller = shared_store.Caller(
        shared_store.StoreClient(store),
        cell,
        SimpleNamespace(auth=own()),
        lambda *_: None,  # type: ignore[arg-type]
    )
    caller.restore(RestoreRecord(5, None, NEVER, 20.0, login=SECRET, key="k"))
    assert store.records["k"].refresh_token == SECRET


def test_a_login_is_redeemed_as_it_was_when_its_record_was_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file may change before the request is sent: the new login has a record of its own, which offers it to others."""
    monkeypatch.setattr(sharing, "QUARANTINE_S", 0.0)
    path = tmp_path / "login"
    path.write_text("r0")

    def claims(right: Callable[..., Any], *given: Any) -> Any:
        answer = right(*given)
        if isinstance(answer, Granted):
            path.write_text("another")
        return answer

    transport = ScriptedTransport()
    start(Answers(claim=claims), transport, auth=own(SecretFile(path)))
    TokenManager.get_access_token("m", timeout=DEADLINE_S)
    assert [form["refresh_token"] for form in transport.forms] == ["r0"]


def test_a_login_that_is_replaced_in_its_file_is_used_without_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "QUARANTINE_S", 0.0)
    path = tmp_path / "login"
    path.write_text("r0")
    store, transport = MemoryStore(), ScriptedTransport()
    start(store, transport, auth=own(SecretFile(path)), min_interval_seconds=0.01)
    assert TokenManager.get_access_token("m", timeout=DEADLINE_S) == "t1"
    path.write_text("another")
    TokenManager.force_refresh("m", wait=True, timeout=DEADLINE_S)
    assert [form["refresh_token"] for form in transport.forms] == ["r0", "another"]
    assert len(store.records) == 2
