"""The stores keep the contract: the one in memory, and those on real servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.servers import Server, redis_server, valkey_server
from oidc_actor.sharing.file_store import FileStore
from oidc_actor.sharing.redis_store import RedisStore
from oidc_actor.sharing.sealing import new_key
from oidc_actor.testing.memory_store import MemoryStore
from oidc_actor.testing.store_contract import check_store

KEY = new_key()


@pytest.fixture(scope="module", params=[redis_server, valkey_server], ids=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as running:
        yield running


def test_the_store_in_memory_keeps_the_contract() -> None:
    store = MemoryStore()
    check_store(lambda: store, histories=40)


@pytest.mark.parametrize("keys", [None, [KEY]], ids=["plain", "sealed"])
def test_the_store_on_a_file_keeps_the_contract(tmp_path: Path, keys: list[str] | None) -> None:
    check_store(lambda: FileStore(tmp_path / "tokens", namespace="check", keys=keys), histories=20)


def test_the_store_on_a_server_keeps_the_contract(server: Server) -> None:
    check_store(lambda: RedisStore.from_url(server.url, namespace="check", keys=[KEY]), histories=20)
