"""The stores keep the contract: the one in memory, and those on real servers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import run_script

from fleet.servers import Server, redis_server, valkey_server
from oidc_actor.sharing.file_store import FileStore
from oidc_actor.sharing.redis_store import RedisStore
from oidc_actor.sharing.sealing import new_key
from oidc_actor.sharing.store import Claim, Granted, Newer, Share, Shared
from oidc_actor.testing.memory_store import MemoryStore
from oidc_actor.testing.store_contract import check_store
from oidc_actor.values.secrets import Secret

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
    check_store(
        lambda: RedisStore.from_url(server.url, namespace="check", keys=[KEY], timeout_seconds=5.0), histories=20
    )


def record_of(key: str) -> str:
    return f"oa1:{{check:{key}}}:t"


GARBAGE = {
    "another type": [("SET", "{}", "garbage")],
    "a list": [("DEL", "{}"), ("LPUSH", "{}", "garbage")],
    "no numbers": [("HSET", "{}", "gen", "x'y", "fence", "", "until_ms", "nan")],
    "endless numbers": [("HSET", "{}", "gen", "inf", "expires_ms", "1e300")],
    "a broken number": [("HSET", "{}", "gen", "1.5")],
    "unknown fields": [("HSET", "{}", "colour", "red")],
}


@pytest.mark.parametrize("commands", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_record_counts_as_absent_on_a_server(server: Server, commands: list[tuple[str, ...]]) -> None:
    store, name = (
        RedisStore.from_url(server.url, namespace="check", keys=[KEY], timeout_seconds=5.0),
        record_of("garbage"),
    )
    server.say("DEL", name)
    for words in commands:
        server.say(*(word.format(name) for word in words))
    assert store.look(["garbage"]).gens == (0,)
    keeps_a_token(store)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: "no JSON",
        lambda content: "[]",
        lambda content: json.dumps({**content, "v": 2}),
        lambda content: json.dumps({**content, "gen": "x"}),
        lambda content: json.dumps({**content, "token": 7}),
        lambda content: json.dumps({**content, "lease": {"claimant": "c", "until_ms": "x", "length_ms": 1}}),
        lambda content: json.dumps({**content, "lease": "x"}),
        lambda content: json.dumps({**content, "fingerprint": None}),
    ],
    ids=["text", "list", "version", "number", "token", "lease", "no lease", "fingerprint"],
)
def test_what_is_no_record_counts_as_absent_on_a_file(tmp_path: Path, change: Callable[[Any], str]) -> None:
    store = FileStore(tmp_path / "tokens", namespace="check")
    keeps_a_token(store)
    (file,) = (tmp_path / "tokens").glob("*.json")
    file.write_text(change(json.loads(file.read_text())))
    assert store.look(["garbage"]).gens == (0,)
    keeps_a_token(store)


def keeps_a_token(store: RedisStore | FileStore) -> None:
    late = 2**52
    granted = store.claim("garbage", Claim("c", late))
    assert isinstance(granted, Granted)
    token = Share("c", granted.fence, late, Secret("sealed"), granted.now_ms + 60_000, "f" * 16)
    assert isinstance(store.share("garbage", token), Shared)
    adopted = store.claim("garbage", Claim("d", late))
    assert isinstance(adopted, Newer)
    assert adopted.token == Secret("sealed")


@pytest.mark.parametrize("killed", [False, True], ids=["goes-on", "killed"])
def test_a_fork_amid_a_step_on_a_file_leaves_no_lock_behind(tmp_path: Path, killed: bool) -> None:
    """By the process that goes on, whose child has the file open too; and by one that is killed before it has let go."""
    result = run_script(f"""
        from oidc_actor.sharing import FileStore, file_store
        from oidc_actor.sharing.store import GiveUp

        store = FileStore({str(tmp_path / "tokens")!r}, namespace="check")
        forked, gone, done = os.pipe(), os.pipe(), os.pipe()
        at_write = FileStore._write

        def write(self, path, record):
            FileStore._write = at_write
            if not os.fork():
                os.write(forked[1], b"x")
                os.close(done[1])
                os.read(done[0], 1)  # the child lives on, without a use of the store
                os._exit(0)
            os.read(forked[0], 1)
            if {killed}:
                os.write(gone[1], b"x")
                os.kill(os.getpid(), signal.SIGKILL)
            at_write(self, path, record)

        def step():
            store.give_up("key", GiveUp("me", 0, 2**53, "intact", 1000))

        FileStore._write = write
        if {killed}:
            pid = os.fork()
            if not pid:
                step()
            os.waitpid(pid, 0)
        else:
            step()
        FileStore._write = at_write
        step()
        print("done")
        """)
    assert result.stdout == "done\n", result.stderr
