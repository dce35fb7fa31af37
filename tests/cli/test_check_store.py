"""`oidc-actor check --store`, before real servers and in real directories."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fleet.servers import Server, redis_server, valkey_server
from managers import leave_nothing_behind
from pages import blocks
from threads import eventually
from typer.testing import Result

from oidc_actor import ClientCredentials, Password, RefreshToken, SecretFile, TokenManager, oidc
from oidc_actor.cli.store_doctor import file_system_of, keeps_out
from oidc_actor.cli.store_findings import ACL
from oidc_actor.sharing import FileStore, RedisStore
from oidc_actor.sharing.sealing import new_key
from oidc_actor.testing import Provider

Run = Callable[..., subprocess.CompletedProcess[str]]
Found = dict[str, dict[str, str]]

SERVER = ("keys", "", "trip", "clock", "steps", "eviction", "disk", "record")
PASSWORD = "hunter2-of-the-store"


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    yield
    leave_nothing_behind()


@pytest.fixture
def server() -> Iterator[Server]:
    with redis_server() as running:
        yield running


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return key_file(tmp_path / "fleet-key")


def key_file(path: Path) -> Path:
    path.write_text(f"{new_key()}\n")
    return path


def has_token(server: Server) -> bool:
    script = "local found = redis.call('KEYS', 'oa1:*') return found[1] and redis.call('HEXISTS', found[1], 'token')"
    return server.say("EVAL", script, "0").startswith(":1")


@pytest.fixture
def check(invoke: Callable[..., Result]) -> Callable[..., tuple[int, Found]]:
    def checked(*arguments: str, **variables: str) -> tuple[int, Found]:
        done = invoke("check", "--json", "--namespace", "prod", *arguments, **variables)
        assert done.stdout, done.output
        assert PASSWORD not in done.stdout + done.stderr
        found = json.loads(done.stdout)["findings"]
        for one in found:
            assert one["result"] in ("pass", "skip") or one["fix"], one
        return done.exit_code, {one["check"]: one for one in found}

    return checked


def results(found: Found) -> dict[str, str]:
    return {
        check.removeprefix("store").strip(): one["result"] for check, one in found.items() if check.startswith("store")
    }


@pytest.mark.parametrize("start", [redis_server, valkey_server])
def test_a_good_server_alone(start, check, key: Path) -> None:
    with start("--appendonly", "yes") as server:
        status, found = check("--store", server.url, "--key", str(key))
        eventually(lambda: ":0" in server.say("DBSIZE"), "the record of the command to end")
    assert status == 0
    assert results(found) == {**dict.fromkeys(SERVER, "pass"), "record": "skip"}
    assert list(found) == [f"store {check}".strip() for check in SERVER], "no finding on a provider"


def test_a_server_without_persistence_is_said_where_a_login_is_kept(
    check, server: Server, provider: Provider, key: Path, tmp_path: Path
) -> None:
    login = tmp_path / "login"
    login.write_text("a-login")
    server.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    given = ("--store", server.url, "--key", str(key), "--issuer", provider.issuer_url, "--client-id", "c")
    status, found = check(*given, OIDC_CLIENT_SECRET="s", OIDC_REFRESH_TOKEN_FILE=str(login))
    assert status == 1
    assert (found["store eviction"]["result"], found["store disk"]["result"]) == ("fail", "warn")
    assert found["token"]["result"] == "skip"
    assert "redeemed twice" in found["token"]["found"]
    assert provider.token_requests == 0
    assert login.read_text() == "a-login"


@pytest.fixture
def member(provider: Provider, key: Path, server: Server) -> tuple[str, ...]:
    """A manager that shares, and the options that name its record."""
    store = RedisStore.from_url(server.url, namespace="prod", keys=[SecretFile(key)])
    auth = ClientCredentials(provider.client_id, provider.client_secret, ["read"], audience="api")
    TokenManager.start_link(name="m", issuer_url=provider.issuer_url, auth=auth, store=store)
    TokenManager.get_token("m")
    eventually(lambda: has_token(server), "the token to be shared")
    return (
        *("--issuer", provider.issuer_url, "--client-id", provider.client_id, "--scope", "read"),
        *("--audience", "api", "--store", server.url),
    )


def test_keys_that_open_the_record_and_keys_that_do_not(
    check, member: tuple[str, ...], provider: Provider, key: Path, tmp_path: Path
) -> None:
    def record(*keys: Path, more: tuple[str, ...] = ()) -> dict[str, str]:
        given = [word for one in keys for word in ("--key", str(one))]
        return check(*member, *given, *more, OIDC_CLIENT_SECRET=provider.client_secret)[1]["store record"]

    assert "key 1 of 1 opens it" in record(key)["found"]
    other = key_file(tmp_path / "other-key")
    assert "key 2 of 2 opens it" in record(other, key)["found"]
    stranger = record(other)
    assert stranger["result"] == "warn"
    assert "same keys" in stranger["fix"]
    assert "no record yet" in record(key, more=("--store-key", "alice"))["found"]


def test_a_login_that_the_keys_do_not_open(
    check, server: Server, provider: Provider, key: Path, tmp_path: Path
) -> None:
    config = oidc.discover(provider.issuer_url)
    client = ClientCredentials(provider.client_id, provider.client_secret)
    first = oidc.get_token(
        config, Password(provider.username, provider.password, provider.client_id, provider.client_secret)
    )
    login = tmp_path / "login"
    login.write_text(str(first.refresh_token))
    store = RedisStore.from_url(server.url, namespace="prod", keys=[SecretFile(key)])
    auth = RefreshToken(SecretFile(login), client.client_id, client.client_secret)
    TokenManager.start_link(name="m", issuer_url=provider.issuer_url, auth=auth, store=store)
    TokenManager.get_token("m", timeout=30)
    eventually(lambda: has_token(server), "the token to be shared")
    before = provider.token_requests
    given = ("--store", server.url, "--issuer", provider.issuer_url, "--client-id", provider.client_id)
    variables = {"OIDC_CLIENT_SECRET": provider.client_secret, "OIDC_REFRESH_TOKEN_FILE": str(login)}
    assert "key 1 of 1 opens it" in check(*given, "--key", str(key), **variables)[1]["store record"]["found"]
    status, found = check(*given, "--key", str(key_file(tmp_path / "other-key")), **variables)
    assert (status, found["store record"]["result"]) == (1, "fail")
    assert provider.token_requests == before


@pytest.mark.parametrize(
    ("rights", "missing"),
    [(ACL, ""), (ACL.replace("+hset", ""), "can't run this command"), ("~oa1:* +time", "NoPermission")],
)
def test_what_a_user_of_the_server_must_be_allowed(check, server: Server, key: Path, rights: str, missing: str) -> None:
    server.say("ACL", "SETUSER", "u", "on", f">{PASSWORD}", *rights.split())
    address = f"redis://u:{PASSWORD}@127.0.0.1:{server.port}/0"
    status, found = check("--key", str(key), OIDC_STORE=address)
    assert results(found) | {"steps": ""} == {
        **dict.fromkeys(SERVER, "pass"),
        **dict.fromkeys(("eviction", "disk", "record"), "skip"),
        "steps": "",
    }
    assert "cannot be told" in found["store eviction"]["found"]
    steps = found["store steps"]
    assert (status, steps["result"]) == ((1, "fail") if missing else (0, "pass"))
    if missing:
        assert missing in steps["found"]
        assert ACL in steps["fix"]


def test_a_member_works_with_no_more_than_these_rights(server: Server, provider: Provider, key: Path) -> None:
    server.say("ACL", "SETUSER", "u", "on", f">{PASSWORD}", *ACL.split())
    address = f"redis://u:{PASSWORD}@127.0.0.1:{server.port}/0"
    store = RedisStore.from_url(address, namespace="prod", keys=[SecretFile(key)], notify=True)
    auth = ClientCredentials(provider.client_id, provider.client_secret)
    for name in ("one", "two"):
        TokenManager.start_link(name=name, issuer_url=provider.issuer_url, auth=auth, store=store)
    assert TokenManager.get_access_token("one") == TokenManager.get_access_token("two")
    assert TokenManager.health("one").sharing == TokenManager.health("two").sharing == "shared"
    assert provider.token_requests == 1


def test_a_server_that_throws_away_and_one_that_is_a_replica(check, server: Server, key: Path) -> None:
    given = ("--store", server.url, "--key", str(key))
    server.say("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
    server.say("CONFIG", "SET", "maxmemory", "1")
    status, found = check(*given)
    assert (found["store steps"]["result"], found["store eviction"]["result"]) == ("fail", "warn")
    assert "store eviction" in found["store steps"]["fix"]
    server.say("CONFIG", "SET", "maxmemory", "0")
    server.say("REPLICAOF", "127.0.0.1", "1")
    status, found = check(*given)
    assert (status, found["store steps"]["result"]) == (1, "fail")
    assert "replica" in found["store steps"]["fix"]


def test_a_server_that_is_not_there_or_wants_a_password(check, server: Server, key: Path) -> None:
    given = ("--key", str(key))
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        address = f"redis://:{PASSWORD}@127.0.0.1:{nobody.getsockname()[1]}"
        status, found = check(*given, OIDC_STORE=address)
    assert (status, found["store"]["result"]) == (1, "fail")
    assert "Connection refused" in found["store"]["found"]
    assert set(results(found).values()) == {"pass", "fail", "skip"}
    server.say("CONFIG", "SET", "requirepass", "another")
    for address in (server.url, f"redis://:{PASSWORD}@127.0.0.1:{server.port}/0"):
        status, found = check(*given, OIDC_STORE=address)
        assert (status, found["store"]["result"]) == (1, "fail")
        assert "OIDC_STORE" in found["store"]["fix"]


def test_a_server_that_says_nothing(check, key: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        status, found = check("--store", f"redis://127.0.0.1:{silent.getsockname()[1]}", "--key", str(key))
    assert (status, found["store"]["result"]) == (1, "fail")
    assert "does not answer in time" in found["store"]["fix"]


def test_a_key_that_is_none(check, server: Server, tmp_path: Path) -> None:
    for text in ("not-a-key", None):
        path = tmp_path / f"key-{text}"
        if text is not None:
            path.write_text(text)
        status, found = check("--store", server.url, "--key", str(path))
        assert (status, found["store keys"]["result"]) == (1, "fail")
        assert str(path) in found["store keys"]["found"]
        assert "not-a-key" not in found["store keys"]["found"].replace(str(path), "")
        assert found["store steps"]["result"] == "pass", "the server is looked at all the same"


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--store", "redis://h"), "--namespace: expected the namespace"),
        (("--store", "redis://h", "--namespace", "prod"), "--key: expected the file of a key"),
        (("--store", "redis://h", "--namespace", "Prod", "--key", "k"), "--namespace: expected 1 to 64"),
        (("--store", "http://h", "--namespace", "prod", "--key", "k"), "--store: expected an address that begins with"),
        (("--namespace", "prod"), "--store: expected the store's address or directory"),
        (("--store", f"redis://:{PASSWORD}@h", "--namespace", "prod", "--key", "k"), "everybody on this machine"),
    ],
)
def test_options_that_are_wrong(invoke: Callable[..., Result], arguments: tuple[str, ...], said: str) -> None:
    done = invoke("check", *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())
    assert PASSWORD not in done.stderr


# --- directories ------------------------------------------------------------------------------------------------------


def test_a_directory(check, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.mkdir(mode=0o700)
    status, found = check("--store", str(path))
    assert status == 0
    assert set(results(found)) == {"keys", "", "disk", "locks", "steps", "record"}
    assert set(results(found).values()) == {"pass", "skip"}
    assert list(path.iterdir()) == [], "nothing of the command's own is left"
    path.chmod(0o755)
    status, found = check("--store", str(path))
    assert (status, found["store"]["fix"]) == (1, f"chmod 0700 {path}")
    assert found["store steps"]["result"] == "skip"


def test_a_directory_that_is_not_there_is_not_made(check, tmp_path: Path) -> None:
    status, found = check("--store", str(tmp_path / "a" / "b"))
    assert (status, found["store"]["result"]) == (0, "pass")
    assert not (tmp_path / "a").exists()
    file = tmp_path / "file"
    file.touch()
    status, found = check("--store", str(file))
    assert (status, found["store"]["result"]) == (1, "fail")


def test_the_record_of_a_directory(check, provider: Provider, tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    auth = ClientCredentials(provider.client_id, provider.client_secret)
    store = FileStore(path, namespace="prod")
    TokenManager.start_link(name="m", issuer_url=provider.issuer_url, auth=auth, store=store)
    TokenManager.get_token("m")
    given = ("--store", str(path), "--issuer", provider.issuer_url, "--client-id", provider.client_id)

    eventually(lambda: any(json.loads(one.read_text())["token"] for one in path.glob("*.json")), "the token")
    _, found = check(*given, OIDC_CLIENT_SECRET=provider.client_secret)
    assert found["store record"]["found"].startswith("it can be read; its token lives")


def test_the_file_system_and_its_locks_are_seen(tmp_path: Path) -> None:
    assert keeps_out(tmp_path)
    assert list(tmp_path.iterdir()) == []
    if os.path.exists("/proc/self/mountinfo"):
        assert file_system_of(Path("/proc/self")) == "proc"
        assert file_system_of(tmp_path)


def test_what_the_page_shows(run: Run, server: Server, key: Path) -> None:
    (shown,) = (
        one.text
        for one in blocks("oidc_actor/README.md")
        if one.target == "tests/cli/test_check_store.py" and one.language == "text"
    )
    server.say("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    done = run("check", "--store", server.url, "--namespace", "prod", "--key", str(key))
    assert set(shown.strip().splitlines()) <= set(done.stdout.splitlines()), done.stdout
