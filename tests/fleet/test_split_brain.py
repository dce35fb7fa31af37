"""One login for all beside replicas: masters that die, and two that live at a time and are each taken for the only one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from managers import leave_nothing_behind
from redis import Connection, ConnectionPool, Redis
from redis.sentinel import Sentinel
from threads import eventually

from fleet.deployments import NAME, sentinels
from fleet.servers import Server, redis_server
from oidc_actor import NoTokenError, Password, RefreshToken, TokenManager, oidc
from oidc_actor.sharing import RedisStore
from oidc_actor.sharing.sealing import new_key
from oidc_actor.testing import Provider

KEY = new_key()
FAILOVERS = int(os.environ.get("OIDC_ACTOR_FAILOVERS", "1"))  # at most three: each takes ten seconds


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    leave_nothing_behind()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(token_lifetime_s=600) as running:
        yield running


def start(provider: Provider, **stores: RedisStore) -> None:
    """Managers with one login; stores that are not equal are asked as two processes ask them."""
    user = (provider.username, provider.password, provider.client_id, provider.client_secret)
    login = oidc.get_token(oidc.discover(provider.issuer_url), Password(*user)).refresh_token
    assert login is not None
    auth = RefreshToken(login, provider.client_id, provider.client_secret)
    for name, store in stores.items():
        TokenManager.start_link(name=name, issuer_url=provider.issuer_url, auth=auth, store=store)
    for name in stores:
        assert TokenManager.get_access_token(name, timeout=20)


def refreshed(name: str, timeout: float = 3.0) -> bool:
    try:
        TokenManager.force_refresh(name, wait=True, timeout=timeout)
    except NoTokenError:
        return False
    return True


def tokens(names: Iterable[str]) -> set[str]:
    return {TokenManager.get_access_token(name) for name in names}


def record_in(server: Server) -> str:
    (name,) = [line for line in server.say("KEYS", "oa1:*").split("\r\n") if line.startswith("oa1:")]
    return server.say("HMGET", name, "gen", "fence")


class Split:
    """A master and two replicas. Then both a replica, with the other one, and the old master are masters."""

    def __init__(self, stack: ExitStack) -> None:
        at_once = ("--repl-diskless-sync-delay", "0")
        self.old = stack.enter_context(redis_server(*at_once))
        follows = ("--replicaof", f"127.0.0.1 {self.old.port}", *at_once)
        self.new, self.third = (stack.enter_context(redis_server(*follows)) for _ in range(2))
        self.seen: dict[str, Server] = {}
        eventually(lambda: self.has_replicas(self.old, 2), "the replicas", deadline_s=30)

    @staticmethod
    def has_replicas(master: Server, count: int) -> bool:
        return master.say("INFO", "replication").count("state=online") == count

    def store(self, name: str, wait_replicas: int) -> RedisStore:
        """The store as one process sees it."""
        self.seen[name] = self.old

        split = self

        class Seen(Connection):
            def connect(self) -> None:
                self.port = split.seen[name].port
                super().connect()

        def make() -> Any:
            return Redis(connection_pool=ConnectionPool(Seen, socket_timeout=2.0, socket_connect_timeout=2.0))

        return RedisStore(make, namespace="split", keys=[KEY], timeout_seconds=2.0, wait_replicas=wait_replicas)

    def tear(self) -> None:
        """One process sees the new master alone, and the other the old one. All had the last token by then."""
        eventually(lambda: len(tokens(("moved", "stayed"))) == 1, "adoption", deadline_s=20)
        eventually(lambda: record_in(self.old) == record_in(self.new), "the replica's having it", deadline_s=20)
        self.new.say("REPLICAOF", "NO", "ONE")
        self.third.say("REPLICAOF", "127.0.0.1", str(self.new.port))
        eventually(lambda: self.has_replicas(self.new, 1), "its replica", deadline_s=30)
        eventually(lambda: self.has_replicas(self.old, 0), "its loss", deadline_s=30)
        self.seen["moved"] = self.new
        self.old.say("CLIENT", "KILL", "TYPE", "normal")

    def mend(self) -> None:
        """All see the new master."""
        self.seen |= dict.fromkeys(self.seen, self.new)
        self.old.say("REPLICAOF", "127.0.0.1", str(self.new.port))
        self.old.say("CLIENT", "KILL", "TYPE", "normal")


def test_two_masters_grant_no_login_twice_where_a_replica_must_have_the_claim(provider: Provider) -> None:
    with ExitStack() as stack:
        split = Split(stack)
        start(provider, moved=split.store("moved", 1), stayed=split.store("stayed", 1))
        for _ in range(2):
            split.tear()
            before = provider.token_requests
            assert not refreshed("stayed"), "the old master has no replica, and grants nothing"
            assert provider.token_requests == before
            assert "0 of 1 replicas have the claim" in (TokenManager.health("stayed").store_error or "")
            eventually(lambda: refreshed("moved"), "a grant by the new one", deadline_s=20)
            assert not refreshed("stayed")
            assert TokenManager.get_access_token("stayed"), "it serves what it has"
            split.mend()
            latest = TokenManager.get_access_token("moved")
            eventually(
                lambda latest=latest: TokenManager.get_access_token("stayed") == latest, "adoption", deadline_s=20
            )  # type: ignore[misc]
            assert provider.refresh_tokens_reused == 0
            eventually(lambda: split.has_replicas(split.new, 2), "the old one as a replica", deadline_s=30)
            split.old, split.new = split.new, split.old
            eventually(lambda: refreshed("stayed", 5.0), "a grant on behalf of all", deadline_s=30)
        assert provider.refresh_tokens_reused == 0


def test_without_that_two_masters_grant_it_twice(provider: Provider) -> None:
    """What the page says of it; and that the test above tells the one from the other."""
    with ExitStack() as stack:
        split = Split(stack)
        start(provider, moved=split.store("moved", 0), stayed=split.store("stayed", 0))
        split.tear()
        with suppress(NoTokenError):
            for name in ("moved", "stayed"):
                TokenManager.force_refresh(name, wait=True, timeout=5)
        eventually(lambda: provider.refresh_tokens_reused == 1, "the second redemption of one refresh token")


def test_failovers_lose_no_login(provider: Provider) -> None:
    with sentinels() as watched:

        def store() -> RedisStore:
            def make() -> Any:
                quick = Sentinel(watched.hosts, socket_timeout=0.3, socket_connect_timeout=0.3)
                return quick.master_for(NAME, socket_timeout=2.0, socket_connect_timeout=2.0)

            return RedisStore(make, namespace="watched", keys=[KEY], timeout_seconds=2.0, wait_replicas=1)

        names = ("a", "b", "c")
        start(provider, **{name: store() for name in names})
        for number in range(FAILOVERS):
            assert refreshed(names[number], 5.0)
            eventually(lambda: len(tokens(names)) == 1, "adoption by all", deadline_s=20)
            before = tokens(names)
            old = watched.master()
            watched.fail_over()
            assert not refreshed(names[number - 1]), "nothing is granted without a replica"
            old.start()
            old.say("REPLICAOF", "127.0.0.1", str(watched.master().port))
            eventually(watched.is_in_step, "the old master as a replica", deadline_s=60)
            eventually(lambda name=names[number - 2]: refreshed(name), "a grant", deadline_s=30)  # type: ignore[misc]
            eventually(
                lambda before=before: len(now := tokens(names)) == 1 and not now & before,  # type: ignore[misc]
                "one new token for all",
                deadline_s=20,
            )
            assert provider.refresh_tokens_reused == 0
