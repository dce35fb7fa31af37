"""`RedisStore` beside Sentinel and on a cluster: real servers, real failovers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from redis import RedisCluster
from redis.sentinel import Sentinel
from threads import eventually

from fleet.deployments import NAME, Sentinels, cluster, sentinels
from fleet.servers import Server, redis_server, valkey_server
from oidc_actor.sharing.redis_store import RedisStore
from oidc_actor.sharing.sealing import new_key
from oidc_actor.sharing.store import Claim, Granted, Occupied, Share, Shared
from oidc_actor.testing.store_contract import check_store
from oidc_actor.values.errors import StoreError
from oidc_actor.values.secrets import Secret

KEY = new_key()
FAR_MS = 10**9


def succeeds(call: Callable[[], object]) -> bool:
    """Whether it does; each failure is a `StoreError`, and in time."""
    began = time.monotonic()
    try:
        call()
    except StoreError:
        assert time.monotonic() - began <= 0.8
        return False
    return True


def share(store: RedisStore, key: str, claimant: str, login: str) -> bool:
    """Claim and share; whether both were done."""
    now_ms = store.look(()).now_ms
    known = store.look([key]).gens[0]
    granted = store.claim(key, Claim(claimant, now_ms + FAR_MS, known_gen=known, login=Secret(login), lease_ms=100))
    if not isinstance(granted, Granted):
        return False
    token, next_one = Secret(f"token-{claimant}"), Secret(f"login-{claimant}")
    far = granted.now_ms + FAR_MS
    return isinstance(store.share(key, Share(claimant, granted.fence, far, token, far, claimant, next_one)), Shared)


@pytest.fixture(scope="module")
def watched() -> Iterator[Sentinels]:
    with sentinels() as made:
        yield made


def sentinel_store(watched: Sentinels, **given: Any) -> RedisStore:
    """As the page says."""
    hosts = watched.hosts

    def make() -> Any:
        quick = Sentinel(hosts, socket_timeout=0.1, socket_connect_timeout=0.1)
        return quick.master_for(NAME, socket_timeout=0.5, socket_connect_timeout=0.5)

    return RedisStore(make, namespace="watched", keys=[KEY], **given)


def test_a_sentinel_that_does_not_answer(watched: Sentinels) -> None:
    watched.watchers[0].pause()
    try:
        assert succeeds(lambda: sentinel_store(watched).look(()))
    finally:
        watched.watchers[0].go_on()
    eventually(watched.is_in_step, "the sentinel", deadline_s=30)


def test_three_failovers(watched: Sentinels) -> None:
    store = sentinel_store(watched)
    check_store(lambda: store, histories=2)
    for number in range(3):
        key = f"failover-{number}"
        assert share(store, key, "before", "first")
        gen = store.look([key]).gens[0]
        eventually(watched.is_in_step, "the replica", deadline_s=30)
        old = watched.master()
        watched.fail_over()
        eventually(lambda: succeeds(lambda: store.look(())), "the store", deadline_s=30)
        assert watched.master() is not old
        eventually(lambda key=key: succeeds(lambda: share(store, key, "after", "first")), "a claim", deadline_s=30)
        assert store.look([key]).gens[0] > gen
        old.start()
        if number < 2:  # the third time the sentinels tell it, which takes them ten seconds
            old.say("REPLICAOF", "127.0.0.1", str(watched.master().port))
        eventually(watched.is_in_step, "the old master as a replica", deadline_s=60)


def test_a_claim_that_no_replica_has_is_an_error(watched: Sentinels) -> None:
    store = sentinel_store(watched, wait_replicas=1)
    eventually(watched.is_in_step, "the replica", deadline_s=60)
    assert share(store, "waits", "one", "first")
    known, replica = store.look(["waits"]).gens[0], watched.replica()
    replica.pause()
    try:
        now_ms = store.look(()).now_ms
        with pytest.raises(StoreError, match="0 of 1 replicas have the claim"):
            store.claim("waits", Claim("two", now_ms + FAR_MS, known_gen=known, login=Secret("first")))
        # One that is not granted needs no replica.
        answer = store.claim("waits", Claim("three", now_ms + FAR_MS, known_gen=known, login=Secret("first")))
        assert isinstance(answer, Occupied)
        # What was never heard is taken back by the next claim; that one needs the replica too.
        with pytest.raises(StoreError, match="0 of 1 replicas have the claim"):
            store.claim("waits", Claim("four", now_ms + FAR_MS, known_gen=known, login=Secret("first"), unheard="two"))
    finally:
        replica.go_on()
    eventually(watched.is_in_step, "the replica", deadline_s=60)
    claim = Claim("five", now_ms + FAR_MS, known_gen=known, login=Secret("first"), unheard="four")
    granted = store.claim("waits", claim)
    assert isinstance(granted, Granted)
    assert granted.refresh_token == Secret("login-one")
    assert not granted.doubtful


def test_the_scripts_are_loaded_again_where_a_claim_waits(watched: Sentinels) -> None:
    store = sentinel_store(watched, wait_replicas=1)
    eventually(watched.is_in_step, "the replica", deadline_s=60)
    store.look(())
    watched.master().say("SCRIPT", "FLUSH")
    assert share(store, "flushed", "one", "first")


# --- cluster ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=[redis_server, valkey_server], ids=["redis", "valkey"])
def nodes(request: pytest.FixtureRequest) -> Iterator[list[Server]]:
    with cluster(request.param) as made:
        yield made


def cluster_store(nodes: list[Server], **given: Any) -> RedisStore:
    return RedisStore(
        lambda: RedisCluster(host="127.0.0.1", port=nodes[0].port),
        namespace="cluster",
        keys=[KEY],
        timeout_seconds=2.0,
        **given,
    )


def test_the_six_steps_on_a_cluster(nodes: list[Server]) -> None:
    store = cluster_store(nodes, notify=True)
    check_store(lambda: store, histories=6)


def test_a_look_at_keys_of_all_servers(nodes: list[Server]) -> None:
    store = cluster_store(nodes)
    keys = [f"many-{number}" for number in range(300)]
    for key in keys[::3]:
        assert share(store, key, "one", "first")
    for node in nodes:
        assert int(node.say("DBSIZE")[1:]) > 10
        node.say("SCRIPT", "FLUSH")
    gens = store.look(keys).gens
    assert [bool(gen) for gen in gens] == [number % 3 == 0 for number in range(300)]


def test_a_cluster_without_replicas_grants_nothing_where_they_are_asked_for(nodes: list[Server]) -> None:
    store = cluster_store(nodes, wait_replicas=1)
    for key in ("a", "b", "c", "d"):
        with pytest.raises(StoreError, match="0 of 1 replicas have the claim"):
            share(store, key, "one", "first")


def test_a_slot_that_moves(nodes: list[Server]) -> None:
    store = cluster_store(nodes)
    key = "moves"
    assert share(store, key, "one", "first")
    name = store._name(key)
    slot = nodes[0].say("CLUSTER", "KEYSLOT", name).strip().removeprefix(":")
    names = [node.say("CLUSTER", "MYID").split("\r\n")[1] for node in nodes]
    origin = next(number for number, node in enumerate(nodes) if node.say("EXISTS", name) == ":1\r\n")
    target = (origin + 1) % 3
    nodes[target].say("CLUSTER", "SETSLOT", slot, "IMPORTING", names[origin])
    nodes[origin].say("CLUSTER", "SETSLOT", slot, "MIGRATING", names[target])
    nodes[origin].say("MIGRATE", "127.0.0.1", str(nodes[target].port), name, "0", "1000")
    assert succeeds(lambda: store.look([key]))
    for node in nodes:
        node.say("CLUSTER", "SETSLOT", slot, "NODE", names[target])
    eventually(lambda: store.look([key]).gens[0] > 0)
    eventually(lambda: succeeds(lambda: share(store, key, "two", "first")))
