"""Rows about the store: it pauses, goes, fills up, refuses, forgets, and holds what is not ours."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable

from cryptography.fernet import Fernet

from fleet.members import Fleet
from fleet.servers import Server
from fleet.table import Row, fault
from oidc_actor.sharing.sealing import new_key

RETURN_S = 5.0
"""Seconds within which all share again: the longest pause is 1 s, and while the store is away a look comes each 1.1 s."""


def begin(fleet: Fleet, kind: str = "redis", *, timeout_s: float | None = None) -> Server:
    server = fleet.use_redis(kind, timeout_s=timeout_s)
    fleet.start()
    fleet.ready()
    return server


def returned(fleet: Fleet, row: Row, reached: bool = True) -> None:
    """The store answers again: all share, within seconds."""
    began = time.monotonic()
    fleet.shared()
    took_s = time.monotonic() - began
    row.check("all share again after, s", round(took_s, 1), took_s <= RETURN_S)


def say(server: Server, *commands: list[str], password: str | None = None) -> str:
    """Commands one after the other on one connection; the answers."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as link:
        answers = ""
        for words in ([["AUTH", password]] if password else []) + [*commands]:
            sent = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
            link.sendall(sent.encode())
            answers += link.recv(1 << 20).decode(errors="replace")
    return answers


def record_name(server: Server) -> str:
    """The one record's name."""
    found = [line for line in server.say("KEYS", "oa1:*").split("\r\n") if line.startswith("oa1:")]
    assert len(found) == 1, found
    return found[0]


# --- it does not answer -----------------------------------------------------------------------------------------------


@fault(5, "paused for less than the tokens live: nothing but retries", life_s=12.0)
def store_paused_3_s(fleet: Fleet, row: Row) -> None:
    server = begin(fleet, timeout_s=0.5)
    server.pause()
    fleet.pass_time(3.0)
    server.go_on()
    returned(fleet, row)
    fleet.live(1)


@fault(
    5,
    "stopped for longer than the lead: each alone once for each life, and then shared again",
    extra=lambda n: 2 * n,
    life_s=12.0,
    long=True,
)
def store_stopped_14_s(fleet: Fleet, row: Row) -> None:
    server = begin(fleet, "valkey", timeout_s=0.5)
    server.pause()
    fleet.pass_time(14.0)
    server.go_on()
    returned(fleet, row)
    fleet.live(2)


@fault(5, "stopped for longer than the lead, one login for all: it waits, and is not lost", life_s=12.0, long=True)
def store_stopped_14_s_with_a_login(fleet: Fleet, row: Row) -> None:
    server = fleet.use_redis()
    fleet.use_login()
    fleet.start()
    fleet.ready()
    row.gaps = True
    server.pause()
    fleet.pass_time(14.0)
    server.go_on()
    returned(fleet, row)
    fleet.live(2)


@fault(5, "killed, and empty when it is started again", extra=lambda n: 7 * n, life_s=20.0, long=True)
def store_killed_60_s(fleet: Fleet, row: Row) -> None:
    server = begin(fleet)
    server.kill()
    fleet.pass_time(60.0)
    server.start()
    returned(fleet, row)
    fleet.live(2)


@fault(5, "killed and started again at once: members put the record back", life_s=12.0)
def store_started_anew(fleet: Fleet, row: Row) -> None:
    server = begin(fleet, "valkey")
    server.kill()
    server.start()
    fleet.until(
        lambda: server.say("HLEN", record_name(server)) > ":2" if server.say("DBSIZE")[1] == "1" else False,
        "the record is back",
    )
    fleet.live(1)


@fault(5, "a black hole from the start: each gets its token alone", extra=lambda n: n, life_s=30.0)
def store_black_hole(fleet: Fleet, row: Row) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as hole:
        fleet.settings["store"] = {"url": f"redis://127.0.0.1:{hole.getsockname()[1]}/0", "keys": [new_key()]}
        fleet.start()
        fleet.ready()
        row.ends_alike = False
        fleet.until(lambda: all(m.said.get("sharing") == "alone" for m in fleet.present), "each says that it is alone")
        worst_s = max(member.said["worst_call_s"] for member in fleet.present)
        row.check("the longest call, s", round(worst_s, 2), worst_s < 1.5)


# --- it refuses -------------------------------------------------------------------------------------------------------


def refuses(
    fleet: Fleet, row: Row, harm: Callable[[Server], object], heal: Callable[[Server], object], code: str
) -> None:
    server = begin(fleet)
    harm(server)
    # A look needs no right to write, so a full or read-only server is noticed at the next claim.
    fleet.signal(0, signal.SIGUSR2)
    row.asked = 1
    said: list[str] = []

    def is_known() -> bool:
        said[:] = [m.said["error"] for m in fleet.present if m.said.get("error")]
        return bool(said)

    fleet.until(is_known, "the store's error is seen")
    row.check("health says", said[0], code in said[0] or "ResponseError" in said[0])
    heal(server)
    returned(fleet, row)
    fleet.signal(0, signal.SIGUSR2)
    row.asked += 1
    before = fleet.tokens()
    fleet.until(lambda: not fleet.tokens() & before, "all have another token")


@fault(5, "full: what a record is replaced by takes no more room, and is taken", life_s=8.0)
def store_full(fleet: Fleet, row: Row) -> None:
    server = begin(fleet)
    server.say("CONFIG", "SET", "maxmemory", "1")
    row.check("another writer is told", told := server.say("SET", "x", "y")[:5], told.startswith("-OOM"))
    fleet.live(2)


@fault(5, "a wrong password", extra=2, life_s=30.0)
def store_wrong_password(fleet: Fleet, row: Row) -> None:
    refuses(
        fleet,
        row,
        lambda server: say(
            server, ["CONFIG", "SET", "requirepass", "other"], ["AUTH", "other"], ["CLIENT", "KILL", "TYPE", "normal"]
        ),
        lambda server: say(server, ["CONFIG", "SET", "requirepass", ""], password="other"),
        "Authentication",
    )


@fault(5, "read-only, as a master that has become a replica", extra=2, life_s=30.0)
def store_read_only(fleet: Fleet, row: Row) -> None:
    refuses(
        fleet,
        row,
        lambda server: server.say("REPLICAOF", "127.0.0.1", "1"),
        lambda server: server.say("REPLICAOF", "NO", "ONE"),
        "ReadOnly",
    )


# --- it forgets -------------------------------------------------------------------------------------------------------


@fault(6, "FLUSHALL every 3 s: members put the record back", extra=lambda n: 20 if n > 16 else 3, life_s=8.0)
def store_flushed_every_3_s(fleet: Fleet, row: Row) -> None:
    server = fleet.use_redis()
    fleet.use_password()
    fleet.start()
    fleet.ready()
    for _ in range(20 if fleet.processes > 16 else 3):
        server.say("FLUSHALL")
        fleet.pass_time(3.0)
    fleet.live(1)


@fault(6, "the same with one login for all: it is not lost, and no read is without a token", life_s=12.0)
def store_flushed_every_3_s_with_a_login(fleet: Fleet, row: Row) -> None:
    server = fleet.use_redis()
    fleet.use_login()
    fleet.start()
    fleet.ready()
    for _ in range(20 if fleet.processes > 16 else 3):
        server.say("FLUSHALL")
        fleet.pass_time(3.0)
    fleet.live(1)


@fault(6, "flushed when a login has just begun, and again: its first token is put back", life_s=12.0)
def store_flushed_as_a_login_begins(fleet: Fleet, row: Row) -> None:
    server = fleet.use_redis()
    fleet.use_login()
    fleet.start()
    before = fleet.provider.token_requests
    assert fleet.provider.wait_for_requests(before + 1, timeout_s=60)
    for _ in range(4):
        server.say("FLUSHALL")
        fleet.pass_time(0.3)
    fleet.ready()
    fleet.live(1)


@fault(6, "the record is deleted: a member puts it back", life_s=8.0)
def record_deleted(fleet: Fleet, row: Row) -> None:
    server = begin(fleet)
    name = record_name(server)
    server.say("DEL", name)
    fleet.until(lambda: server.say("EXISTS", name).startswith(":1"), "the record is back")
    fleet.live(1)


# --- what is in it ----------------------------------------------------------------------------------------------------


def overwritten(fleet: Fleet, write: Callable[[Server, str], object], kind: str = "redis") -> None:
    """What is written in place of a record harms none, and is written over."""
    server = begin(fleet, kind)
    write(server, record_name(server))
    fleet.live(1 if fleet.processes > 16 else 2)


@fault(6, "a text in place of the record", extra=1, life_s=8.0)
def record_of_another_type(fleet: Fleet, row: Row) -> None:
    overwritten(fleet, lambda server, name: server.say("SET", name, "garbage"))


@fault(6, "garbage in each of the record's fields", extra=1, life_s=8.0)
def record_of_garbage(fleet: Fleet, row: Row) -> None:
    fields = ["gen", "fence", "token", "expires_ms", "fingerprint", "until_ms", "length_ms", "keep_until_ms"]
    overwritten(fleet, lambda server, name: server.say("HSET", name, *[one for f in fields for one in (f, "garb'age")]))


@fault(6, "a sealed token that is no token of ours, in a newer record", extra=1, life_s=8.0)
def record_with_garbage_for_a_token(fleet: Fleet, row: Row) -> None:
    overwritten(fleet, newer_with("garbage"), "valkey")


def newer_with(sealed: str) -> Callable[[Server, str], object]:
    def write(server: Server, name: str) -> None:
        gen = int(server.say("HGET", name, "gen").split("\r\n")[1]) + 1000
        far = gen + 3_600_000
        given = {"gen": gen, "token": sealed, "expires_ms": far, "fingerprint": "f" * 16, "keep_until_ms": far}
        server.say("HSET", name, *[str(one) for pair in given.items() for one in pair])

    return write


def sealed_as(fleet: Fleet, version: int, key: str | None = None) -> Callable[[Server, str], object]:
    def write(server: Server, name: str) -> None:
        record = name.split(":")[2].removesuffix("}")
        content = {"v": version, "key": key or record, "access_token": "another's", "token_type": "Bearer"}
        content |= {"lifetime_s": 3600, "issued_at": 0}
        text = json.dumps(content).encode()
        newer_with(Fernet(fleet.settings["store"]["keys"][0]).encrypt(text).decode())(server, name)

    return write


@fault(6, "a record of an older format", extra=1, life_s=8.0)
def record_of_an_older_format(fleet: Fleet, row: Row) -> None:
    overwritten(fleet, sealed_as(fleet, 0))


@fault(6, "a record of a newer format", extra=1, life_s=8.0)
def record_of_a_newer_format(fleet: Fleet, row: Row) -> None:
    overwritten(fleet, sealed_as(fleet, 2))


@fault(6, "another key's record, copied to this name", extra=1, life_s=8.0)
def record_of_another_key(fleet: Fleet, row: Row) -> None:
    overwritten(fleet, sealed_as(fleet, 1, "another"))


@fault(6, "a key ring is rotated: the new one last, then first, then without the old one; no request more", life_s=8.0)
def key_ring_rotated(fleet: Fleet, row: Row) -> None:
    old, new = new_key(), new_key()
    files = [fleet.folder / name for name in ("first", "second", "third")]
    for file in files:
        file.write_text(old)
    fleet.use_redis()
    fleet.settings["store"] |= {"keys": None, "key_files": [str(file) for file in files]}
    fleet.start()
    fleet.ready()
    for changed in (2, 0, 1):
        beside = files[changed].with_suffix(".new")
        beside.write_text(new)
        beside.replace(files[changed])
        if changed != 2:
            fleet.live(1)
