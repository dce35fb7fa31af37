"""A process forks while its threads use the store: no child hangs, each has a connection of its own, and the parent goes on."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from threads import eventually

from fleet.servers import Server, redis_server
from oidc_actor import ClientCredentials, NoTokenError, TokenManager
from oidc_actor.sharing import redis_connection
from oidc_actor.sharing.redis_store import RedisStore
from oidc_actor.sharing.sealing import new_key
from oidc_actor.sharing.store import Claim, Granted, Occupied
from oidc_actor.testing import Provider
from oidc_actor.values.errors import StoreError

KEY = new_key()
FORKS = int(os.environ.get("OIDC_ACTOR_FORKS", "200"))
DEADLINE_S = 20.0


@pytest.fixture
def server() -> Iterator[Server]:
    with redis_server() as running:
        yield running


def store_at(url: str) -> RedisStore:
    return RedisStore.from_url(url, namespace="fork", keys=[KEY], timeout_seconds=5.0)


def connections(server: Server) -> int:
    return server.say("CLIENT", "LIST", "TYPE", "normal").count("\nid=")


def test_a_process_forks_many_times_while_threads_use_the_store(server: Server) -> None:
    store, over, errors, calls = store_at(server.url), threading.Event(), [], [0]

    def use(number: int) -> None:
        while not over.is_set():
            try:
                store.claim(f"k{number}", Claim("parent", 2**53, lease_ms=60_000))
                store.look([f"k{number}"])
                calls[0] += 1
            except StoreError as error:
                errors.append(str(error))
                return

    threads = [threading.Thread(target=use, args=(number,), daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: calls[0] > 10)
    hung = failed = 0
    for number in range(FORKS):
        reads, writes = os.pipe()
        pid = os.fork()
        if not pid:
            status = 1
            try:
                granted = store.claim(f"child-{number}", Claim("child", 2**53))
                status = 0 if isinstance(granted, Granted) and redis_connection._open else 2
            finally:
                os.write(writes, b"%d" % status)
                os._exit(0)
        os.close(writes)
        if select.select([reads], [], [], DEADLINE_S)[0]:
            failed += os.read(reads, 1) != b"0"
        else:
            hung += 1
            os.kill(pid, signal.SIGKILL)
        os.close(reads)
        os.waitpid(pid, 0)
    before = calls[0]
    eventually(lambda: calls[0] > before + 10, "the parent to go on")
    over.set()
    for thread in threads:
        thread.join(10)
    assert (hung, failed, errors) == (0, 0, [])
    assert connections(server) == 2, "the parent's, and that of this question"


def test_a_process_forks_while_its_managers_use_the_store(server: Server) -> None:
    """Each child reads, asks for another token by itself, and ends as a process ends; the last one's token is the parent's."""
    with Provider(token_lifetime_s=600) as provider:
        auth = ClientCredentials(provider.client_id, provider.client_secret)
        given = {"issuer_url": provider.issuer_url, "auth": auth, "store": store_at(server.url)}
        for number in range(4):
            TokenManager.start_link(name=f"m{number}", store_key=f"{number}", **given)  # type: ignore[arg-type]
            TokenManager.get_access_token(f"m{number}")
        over = threading.Event()

        def refresh() -> None:
            while not over.is_set():
                for number in range(4):
                    with suppress(NoTokenError):
                        TokenManager.force_refresh(f"m{number}", wait=True, timeout=5)

        thread = threading.Thread(target=refresh, daemon=True)
        thread.start()
        hung = []
        for number in range(FORKS // 20):
            reads, writes = os.pipe()
            pid = os.fork()
            if not pid:
                try:
                    name = f"m{number % 4}"
                    text = TokenManager.get_access_token(name)
                    TokenManager.force_refresh(name, rejected=text)
                    os.write(writes, b"1" if TokenManager.get_access_token(name, timeout=DEADLINE_S) != text else b"0")
                finally:
                    os._exit(0)
            os.close(writes)
            if not select.select([reads], [], [], DEADLINE_S)[0] or os.read(reads, 1) != b"1":
                hung.append(number)
                os.kill(pid, signal.SIGKILL)
            os.close(reads)
            os.waitpid(pid, 0)
        over.set()
        thread.join(30)
        assert not hung
        assert TokenManager.get_access_token("m0")
        for number in range(4):
            TokenManager.stop(f"m{number}")


def test_a_child_leaves_its_parents_connection_alone(server: Server) -> None:
    store = store_at(server.url)
    store.look(())
    reads, writes = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            del store
            import gc

            gc.collect()
            os.write(writes, b"1")
        finally:
            os._exit(0)
    assert os.read(reads, 1) == b"1"
    os.waitpid(pid, 0)
    os.close(reads)
    os.close(writes)
    before = server.say("INFO", "stats")
    store.look(())
    made = "total_connections_received:"
    count = [int(text.partition(made)[2].partition("\r\n")[0]) for text in (before, server.say("INFO", "stats"))]
    assert count[1] == count[0] + 1, "the question's own connection alone is new"


def _in_a_spawned_process(url: str, key: str) -> str:
    store = RedisStore.from_url(url, namespace="fork", keys=[key], timeout_seconds=5.0)
    return type(store.claim("spawned", Claim("child", 2**53, lease_ms=60_000))).__name__


def test_spawned_processes_have_their_own(server: Server) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        said = pool.starmap(_in_a_spawned_process, [(server.url, KEY)] * 2)
    assert sorted(said) == ["Granted", "Occupied"]
    assert isinstance(store_at(server.url).claim("spawned", Claim("parent", 2**53)), Occupied)


def test_the_connection_ends_when_nothing_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_connection, "IDLE_S", 0.05)
    store, others = store_at(server.url), {*threading.enumerate()}
    for _ in range(3):
        store.look(())
        eventually(lambda: connections(server) == 1, "the end of the connection")
        eventually(lambda: not {*threading.enumerate()} - others)
