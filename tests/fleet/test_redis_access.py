"""How a store reaches its server: TLS, a socket file, users, passwords; what the server must allow; other clients."""

from __future__ import annotations

import inspect
import re
import ssl
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.sentinel
from pages import blocks
from threads import eventually

from fleet.servers import Server, free_port, redis_server, valkey_server
from oidc_actor.sharing.redis_store import RedisStore
from oidc_actor.sharing.sealing import new_key
from oidc_actor.testing.certificates import Certificates
from oidc_actor.testing.store_contract import check_store
from oidc_actor.values.errors import ConfigError, StoreError

KEY = new_key()
PAGE = Path(inspect.getfile(RedisStore)).with_name("README.md")


@pytest.fixture(params=[redis_server, valkey_server], ids=["redis", "valkey"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with request.param() as running:
        yield running


def store_at(url: str, **given: Any) -> RedisStore:
    return RedisStore.from_url(url, namespace="access", keys=[KEY], timeout_seconds=2.0, **given)


def refused(store: RedisStore) -> str:
    with pytest.raises(StoreError) as caught:
        store.look(["k"])
    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter2" not in shown
    return str(caught.value)


@pytest.fixture
def certificates() -> Iterator[Certificates]:
    made = Certificates()
    yield made
    made.remove()


@pytest.fixture
def tls_port(certificates: Certificates) -> Iterator[int]:
    chain = certificates.ca_bundle.with_name("server.pem")
    given = ["--tls-port", "0", "--tls-cert-file", str(chain), "--tls-key-file", str(chain), "--tls-auth-clients", "no"]
    with redis_server(*given, "--tls-ca-cert-file", str(certificates.ca_bundle)) as running:
        port = free_port()
        assert running.say("CONFIG", "SET", "tls-port", str(port)).startswith("+OK")
        yield port


def test_tls_with_an_authority_of_ones_own(certificates: Certificates, tls_port: int) -> None:
    url = f"rediss://localhost:{tls_port}/0?ssl_ca_certs={certificates.ca_bundle}"
    store = store_at(url, notify=True)
    check_store(lambda: store, histories=3)
    assert store.host == f"rediss://localhost:{tls_port}"


def test_tls_checks_the_server(tls_port: int) -> None:
    assert "ConnectionError" in refused(store_at(f"rediss://localhost:{tls_port}/0"))


def test_without_tls_a_tls_port_is_refused(tls_port: int) -> None:
    refused(store_at(f"redis://localhost:{tls_port}/0"))


def test_the_name_in_the_certificate_counts(certificates: Certificates, tls_port: int) -> None:
    url = f"rediss://127.0.0.2:{tls_port}/0?ssl_ca_certs={certificates.ca_bundle}"
    assert ssl.HAS_SNI
    refused(store_at(url))


def test_a_socket_file(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with redis_server("--unixsocket", str(path)):
        store = store_at(f"unix://{path}")
        assert store.host == f"unix://{path}"
        check_store(lambda: store, histories=3)


def test_a_password(server: Server) -> None:
    server.say("CONFIG", "SET", "requirepass", "hunter2")
    store_at(f"redis://:hunter2@127.0.0.1:{server.port}").look(())
    assert "AuthenticationError" in refused(store_at(f"redis://:hunter22@127.0.0.1:{server.port}"))
    assert "AuthenticationError" in refused(store_at(f"redis://127.0.0.1:{server.port}"))


def acl() -> list[str]:
    """The rules on the page."""
    (line,) = [line.strip() for line in PAGE.read_text().splitlines() if "ACL SETUSER billing" in line]
    return line.replace("PASSWORD", "hunter2").replace("prod-eu", "access").split()[2:]


def test_the_rules_on_the_page_are_enough(server: Server) -> None:
    assert server.say("ACL", "SETUSER", *acl()) == "+OK\r\n"
    url = f"redis://billing:hunter2@127.0.0.1:{server.port}/0"
    server.say("SCRIPT", "FLUSH")
    store = store_at(url, notify=True)
    check_store(lambda: store, histories=5)
    heard: list[int] = []
    listening = store.listen(lambda key, gen: heard.append(gen))
    assert listening is not None
    listening.hear_of(["k"])
    eventually(lambda: server.say("PUBLISH", "oa1:{access:k}:t", "7") and heard)
    listening.close()
    assert "no permission" in server.say("ACL", "DRYRUN", "billing", "HGETALL", "oa1:{other:k}:t")


@pytest.mark.parametrize("without", [word for word in acl() if word.startswith("+")])
def test_none_of_the_rules_on_the_page_is_too_much(without: str) -> None:
    """Only what has a way around it may be missing, so that nothing seems wrong."""
    with redis_server() as server:
        server.say("ACL", "SETUSER", *acl(), f"-{without[1:]}")
        store = store_at(f"redis://billing:hunter2@127.0.0.1:{server.port}/0", notify=True, wait_replicas=0)
        if without in {"+publish", "+subscribe", "+unsubscribe", "+wait"}:
            check_store(lambda: store, histories=1)
        else:
            with pytest.raises((StoreError, AssertionError)):
                check_store(lambda: store, histories=2)


def test_a_server_that_forbids_scripts_says_so(server: Server) -> None:
    server.say("ACL", "SETUSER", "default", "-eval", "-evalsha")
    assert "NoPermissionError" in refused(store_at(server.url))


def test_another_database(server: Server) -> None:
    first, second = store_at(server.url), store_at(server.url.removesuffix("0") + "1")
    assert first != second
    check_store(lambda: second, histories=1)
    assert server.say("DBSIZE") == ":0\r\n"


def test_a_client_of_valkeys_own(server: Server) -> None:
    valkey = pytest.importorskip("valkey")
    store = RedisStore(lambda: valkey.Valkey(port=server.port), namespace="v", keys=[KEY], notify=True)
    check_store(lambda: store, histories=5)


@pytest.mark.parametrize("given", [{"decode_responses": True}, {"protocol": 3}, {"single_connection_client": True}])
def test_a_client_of_ones_own(server: Server, given: dict[str, Any]) -> None:
    store = RedisStore(lambda: redis.Redis(port=server.port, **given), namespace="own", keys=[KEY], notify=True)
    check_store(lambda: store, histories=5)


def test_a_client_that_would_try_again_does_not(server: Server) -> None:
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    made: list[redis.Redis] = []

    def make() -> redis.Redis:
        made.append(redis.Redis(port=server.port, socket_timeout=0.05, retry=Retry(ConstantBackoff(0.01), 50)))
        return made[-1]

    store = RedisStore(make, namespace="own", keys=[KEY], timeout_seconds=2.0)
    store.look(())
    server.pause()
    assert "TimeoutError" in refused(store)
    server.go_on()
    store.look(())
    assert len(made) == 2


def test_an_address_that_is_none() -> None:
    for url in ("redis://127.0.0.1:hunter2/0", "http://hunter2@x/0", "redis://x/0?socket_timeout=hunter2"):
        with pytest.raises(ConfigError) as caught:
            store_at(url)
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_a_missing_package_is_named() -> None:
    code = (
        "import sys; sys.modules['redis'] = None; from oidc_actor.sharing import RedisStore; "
        "RedisStore.from_url('redis://x', namespace='n', keys=[])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "RedisStore needs the package redis: pip install 'oidc-actor[redis]'" in done.stderr


def test_the_code_on_the_page_makes_stores() -> None:
    (block,) = [block for block in blocks("oidc_actor/sharing/README.md") if "Sentinel" in block.text]
    names: dict[str, Any] = {}
    exec(block.text, names)
    assert repr(names["watched"]) == "RedisStore(redis, namespace='prod-eu')"
    assert names["watched"].listen(lambda key, gen: None) is None
    assert names["spread"].listen(lambda key, gen: None) is not None
    assert names["master"]().connection_pool.service_name == "tokens"


def test_the_page_names_the_errors_that_there_are() -> None:
    (table,) = [part for part in PAGE.read_text().split("\n\n") if part.startswith("| what it says |")]
    named = set(re.findall(r"`(\w+Error)`", table))
    known = {*dir(redis.exceptions), *dir(redis.sentinel)}
    assert named <= known
    assert len(named) == 7
