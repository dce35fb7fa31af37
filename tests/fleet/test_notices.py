"""`notify=True`: members hear of a new token at once, and what they hear does no more than have the store looked at."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from managers import leave_nothing_behind
from processes import end_of_child, fork
from threads import eventually

import supervision
from fleet.deployments import cluster
from fleet.servers import Server, redis_server, valkey_server
from oidc_actor import ClientCredentials, TokenManager
from oidc_actor.machine import sharing
from oidc_actor.manager import shared_store
from oidc_actor.sharing.redis_notices import Notices
from oidc_actor.sharing.redis_store import RedisStore
from oidc_actor.sharing.sealing import new_key
from oidc_actor.sharing.store import Claim, Granted, Share
from oidc_actor.testing import Provider
from oidc_actor.testing.memory_store import MemoryStore
from oidc_actor.values.secrets import Secret

KEY = new_key()
FAR_MS = 10**9


@pytest.fixture(params=[redis_server, valkey_server], ids=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as running:
        yield running


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(token_lifetime_s=600.0) as running:
        yield running


def store_at(server: Server, **given: Any) -> RedisStore:
    return RedisStore.from_url(server.url, namespace="notices", keys=[KEY], timeout_seconds=30.0, **given)


def share(store: RedisStore, key: str) -> None:
    now_ms = store.look(()).now_ms
    granted = store.claim(key, Claim("me", now_ms + FAR_MS, known_gen=2**53, lease_ms=0))
    assert isinstance(granted, Granted)
    far = now_ms + FAR_MS
    store.share(key, Share("me", granted.fence, far, Secret("token"), far, f"f{granted.fence}"))


class Heard:
    """What was heard, by key."""

    def __init__(self) -> None:
        self.gens: dict[str, list[int]] = {}

    def __call__(self, key: str, gen: int) -> None:
        self.gens.setdefault(key, []).append(gen)


def listening_threads() -> int:
    return sum(line.name == "oidc-actor-notices" for line in threading.enumerate())


@pytest.fixture
def listen() -> Iterator[Callable[..., tuple[Notices, Heard]]]:
    made: list[Notices] = []

    def begin(store: RedisStore, *keys: str) -> tuple[Notices, Heard]:
        heard = Heard()
        listening = store.listen(heard)
        assert listening is not None
        made.append(listening)
        listening.hear_of(keys)
        return listening, heard

    yield begin
    for one in made:
        one.close()
    eventually(lambda: not listening_threads(), "the end of the threads")


def until_heard(store: RedisStore, key: str, heard: Heard) -> None:
    """Share until it is heard of: before its channels are confirmed nothing is."""

    def is_heard() -> bool:
        share(store, key)
        return bool(heard.gens.get(key))

    eventually(is_heard, "a notice")


def test_a_token_is_heard_of(server: Server, listen: Any) -> None:
    store = store_at(server, notify=True)
    listening, heard = listen(store, "a", "b")
    until_heard(store, "a", heard)
    assert heard.gens.keys() == {"a"}
    eventually(lambda: store.look(["a"]).gens[0] in heard.gens["a"])
    listening.hear_of(["c"])
    until_heard(store, "c", heard)
    seen = len(heard.gens["a"])
    share(store, "a")
    heard.gens.pop("c")
    until_heard(store, "c", heard)
    assert len(heard.gens["a"]) == seen
    assert listening_threads() == 1


def test_without_notify_nothing_is_said_or_heard(server: Server, listen: Any) -> None:
    assert store_at(server).listen(Heard()) is None
    _, heard = listen(store_at(server, notify=True), "a", "b")
    until_heard(store_at(server, notify=True), "b", heard)
    share(store_at(server), "a")
    until_heard(store_at(server, notify=True), "b", heard)
    assert heard.gens.keys() == {"b"}


@pytest.mark.parametrize("fault", ["killed", "dropped"])
def test_it_connects_again(server: Server, listen: Any, fault: str) -> None:
    store = store_at(server, notify=True)
    _, heard = listen(store, "a")
    until_heard(store, "a", heard)
    if fault == "killed":
        server.kill()
        server.start()
    else:
        assert server.say("CLIENT", "KILL", "TYPE", "pubsub") == ":1\r\n"
    heard.gens.clear()
    until_heard(store, "a", heard)


def test_what_is_no_generation_is_nothing(server: Server, listen: Any) -> None:
    store = store_at(server, notify=True)
    _, heard = listen(store, "a")
    until_heard(store, "a", heard)
    heard.gens.clear()
    for text in ("", "-1", "1e9", "9" * 17, "\u0661", "token", "1\n"):
        assert server.say("PUBLISH", "oa1:{notices:a}:t", text) == ":1\r\n"
    until_heard(store, "a", heard)
    assert all(gen > 10**12 for gen in heard.gens["a"])


def test_a_connection_that_died_without_a_word(listen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oidc_actor.sharing.redis_notices.RENEWAL_S", 0.3)
    monkeypatch.setattr("oidc_actor.sharing.redis_notices.CONFIRMED_S", 0.3)
    with redis_server() as first, redis_server() as second:
        servers, made = [first], []

        def make() -> Any:
            import redis

            made.append(1)
            return redis.Redis(port=servers[-1].port, socket_timeout=0.5)

        store = RedisStore(make, namespace="notices", keys=[KEY], notify=True)
        _, heard = listen(store, "a")
        until_heard(store, "a", heard)
        servers.append(second)
        first.pause()
        heard.gens.clear()
        until_heard(RedisStore(make, namespace="notices", keys=[KEY], notify=True), "a", heard)


def test_sharded_in_a_cluster(listen: Any) -> None:
    from redis import RedisCluster

    with cluster(redis_server) as nodes:

        def make() -> Any:
            return RedisCluster(host="127.0.0.1", port=nodes[0].port)

        store = RedisStore(make, namespace="notices", keys=[KEY], notify=True, timeout_seconds=2.0)
        keys = [f"k{number}" for number in range(9)]
        _, heard = listen(store, *keys)
        for key in keys:
            until_heard(store, key, heard)
        shards = [node.say("PUBSUB", "SHARDCHANNELS") for node in nodes]
        assert sum(text.count("oa1:{notices:") for text in shards) == len(keys)
        assert sum("oa1:{notices:" in text for text in shards) > 1


# --- managers ---------------------------------------------------------------------------------------------------------


def start(provider: Provider, store: object, *names: str) -> None:
    auth = ClientCredentials(provider.client_id, provider.client_secret)
    for name in names:
        TokenManager.start_link(name=name, issuer_url=provider.issuer_url, auth=auth, store=store)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    leave_nothing_behind()
    for client in shared_store._clients.value.values():  # whose next look may be far
        client._listen()
    eventually(lambda: not listening_threads(), "the end of the threads")


@pytest.fixture
def rare_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look makes good for what is not heard, nor for a call that fails: so none fails because the machine is busy."""
    monkeypatch.setattr(sharing, "LOOK_S", 300.0)
    monkeypatch.setattr(shared_store, "PATIENCE_S", 60.0)


def test_managers_adopt_what_they_hear_of(server: Server, provider: Provider, rare_looks: None) -> None:
    ours, theirs = (
        store_at(server, notify=True),
        RedisStore.from_url(
            server.url.replace("127.0.0.1", "localhost"),
            namespace="notices",
            keys=[KEY],
            notify=True,
            timeout_seconds=30.0,
        ),
    )
    start(provider, ours, "a", "b")
    start(provider, theirs, "c")  # another store, as in another process
    assert len({TokenManager.get_access_token(name) for name in "abc"}) == 1
    eventually(lambda: server.say("PUBSUB", "NUMSUB", *channels(server)).endswith(":2\r\n"), "both to listen")
    for _ in range(3):
        TokenManager.force_refresh("c", wait=True)
        new = TokenManager.get_access_token("c")
        eventually(lambda new=new: {TokenManager.get_access_token(name) for name in "abc"} == {new}, "the adoption")
    assert provider.token_requests == 4
    assert listening_threads() == 2
    for name in "abc":
        supervision.stop(name)


def channels(server: Server) -> list[str]:
    return [word for word in server.say("PUBSUB", "CHANNELS").split("\r\n") if word.startswith("oa1:")] or ["none"]


def test_what_is_heard_claims_nothing(server: Server, provider: Provider, rare_looks: None) -> None:
    start(provider, store_at(server, notify=True), "a")
    token = TokenManager.get_access_token("a")
    eventually(lambda: channels(server) != ["none"], "the channel")
    (channel,) = channels(server)
    for number in range(20):
        server.say("PUBLISH", channel, str(9 * 10**15 + number))
    # A true one comes through after false ones with a generation that no true one ever has.
    other = store_at(server)
    start(provider, other, "b")
    assert TokenManager.get_access_token("b") == token
    TokenManager.force_refresh("b", wait=True)
    new = TokenManager.get_access_token("b")
    assert new != token

    def adopts() -> bool:
        server.say("PUBLISH", channel, str(9 * 10**15))
        return TokenManager.get_access_token("a") == new

    eventually(adopts, "the adoption")
    assert provider.token_requests == 2


def test_the_thread_ends_with_the_last_manager(
    server: Server, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "LOOK_S", 0.1)
    start(provider, store_at(server, notify=True), "a", "b")
    TokenManager.get_access_token("a")
    TokenManager.get_access_token("b")
    eventually(lambda: listening_threads() == 1)
    supervision.stop("a")
    eventually(lambda: channels(server) != ["none"])
    assert listening_threads() == 1
    supervision.stop("b")
    eventually(lambda: not listening_threads(), "the end of the thread")
    eventually(lambda: channels(server) == ["none"], "the end of the connection")
    start(provider, store_at(server, notify=True), "c")
    TokenManager.get_access_token("c")
    eventually(lambda: listening_threads() == 1)
    supervision.stop("c")
    eventually(lambda: not listening_threads(), "the end of the thread")


def test_a_forked_child_hears_on_its_own(server: Server, provider: Provider, rare_looks: None) -> None:
    store = store_at(server, notify=True)
    start(provider, store, "a")
    TokenManager.get_access_token("a")
    eventually(lambda: channels(server) != ["none"], "the channel")
    reads, writes = os.pipe()

    def check() -> None:
        assert listening_threads() == 0
        before = TokenManager.get_access_token("a")
        eventually(lambda: listening_threads() == 1)
        os.write(writes, b"1")
        eventually(lambda: TokenManager.get_access_token("a") != before)

    child = fork(check)
    os.close(writes)
    assert os.read(reads, 1) == b"1"
    eventually(lambda: server.say("PUBSUB", "NUMSUB", *channels(server)).endswith(":2\r\n"), "both to listen")
    TokenManager.force_refresh("a", wait=True)
    end_of_child(child)
    os.close(reads)
    supervision.stop("a")


class Odd(MemoryStore):
    """Whose news cannot be had."""

    def listen(self, heard: Callable[[str, int], None]) -> Any:
        raise ZeroDivisionError


def test_a_store_without_its_news_is_looked_at(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LOOK_S", 0.1)
    start(provider, Odd(), "a", "b")
    TokenManager.get_access_token("a")
    TokenManager.get_access_token("b")
    TokenManager.force_refresh("a", wait=True)
    new = TokenManager.get_access_token("a")
    eventually(lambda: TokenManager.get_access_token("b") == new)
