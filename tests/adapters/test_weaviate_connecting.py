"""Connecting the real weaviate-client: it waits for a token, which nobody else gets, and what cannot be connected is refused."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
import weaviate
from adapters.api import Api
from adapters.drivers import credentials
from adapters.held_manager import Held
from adapters.rpc import Rpc
from adapters.weaviate_server import options, use
from weaviate.classes.init import Auth
from weaviate.connect import ConnectionParams
from weaviate.exceptions import UnexpectedStatusCodeError

from oidc_actor import ConfigError, NoTokenError
from oidc_actor.adapters.weaviate import authenticated
from oidc_actor.testing import Provider


def test_connecting_waits_for_the_first_token(manager: Held, rest: Api, search: Rpc) -> None:
    with authenticated(weaviate.WeaviateClient(**options(rest, search)), manager.name) as client:
        use(client)
    assert set(rest.tokens + search.tokens) == {manager.token}


def test_without_a_token_the_caller_gets_the_reason(cold: Held, rest: Api, search: Rpc, provider: Provider) -> None:
    provider.fail_next(None, status=400, error="invalid_client", error_description="who is that?")
    cold.gate.release()
    client = authenticated(weaviate.WeaviateClient(**options(rest, search)), cold.name)
    with contextlib.closing(client), pytest.raises(NoTokenError, match="who is that"):
        client.connect()


def test_the_checks_of_connecting_run_with_the_token_and_nobody_asks_who_gives_it(
    settled: Held, rest: Api, search: Rpc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weaviate.connect.v4.PYPI_PACKAGE_URL", "http://127.0.0.1:1/")
    given = options(rest, search) | {"skip_init_checks": False}
    with authenticated(weaviate.WeaviateClient(**given), settled.name) as client:
        use(client)
    assert search.tokens == [settled.token] * 2  # the health check, and the search
    assert [one.path.partition("?")[0] for one in rest.seen] == ["/v1/meta", "/v1/schema/Article"]


def test_no_other_server_that_the_client_may_ask_gets_the_token(
    settled: Held, rest: Api, search: Rpc, other: Api
) -> None:
    with authenticated(weaviate.WeaviateClient(**options(rest, search)), settled.name) as client:
        client._connection._client.get(f"{other.url}/echo")
    assert other.tokens == [None]


def test_it_leaves_no_thread_of_the_clients_own(settled: Held, rest: Api, search: Rpc) -> None:
    with authenticated(weaviate.WeaviateClient(**options(rest, search)), settled.name) as client:
        use(client)
        assert "TokenRefresh" not in [thread.name for thread in threading.enumerate()]


def test_it_can_be_closed_and_connected_again(settled: Held, rest: Api, search: Rpc) -> None:
    client = authenticated(weaviate.WeaviateClient(**options(rest, search)), settled.name)
    for _ in range(2):
        client.connect()
        use(client)
        client.close()
    assert len(search.tokens) == 2


def test_two_clients_do_not_share_a_connection_or_a_manager(settled: Held, rest: Api, search: Rpc) -> None:
    first = authenticated(weaviate.WeaviateClient(**options(rest, search)), settled.name)
    second = weaviate.WeaviateClient(**options(rest, search))
    assert type(second._connection)._make_client is type(first._connection)._make_client
    with contextlib.closing(second), pytest.raises(UnexpectedStatusCodeError):
        second.connect()


@pytest.mark.parametrize(("http_secure", "grpc_secure"), [(True, False), (False, True)])
def test_no_token_goes_where_it_can_be_read(*, http_secure: bool, grpc_secure: bool) -> None:
    def make() -> weaviate.WeaviateClient:
        http, grpc = {"host": "w.example", "port": 1}, {"host": "w.example", "port": 2}
        given = {"http": http | {"secure": http_secure}, "grpc": grpc | {"secure": grpc_secure}}
        return weaviate.WeaviateClient(ConnectionParams.model_validate(given))

    with pytest.raises(ConfigError, match="expected an https address"):
        authenticated(make(), "name")
    assert authenticated(make(), "name", allow_insecure_http=True)


def test_a_plain_grpc_connection_leaves_this_machine_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    def make() -> weaviate.WeaviateClient:
        return weaviate.WeaviateClient(ConnectionParams.from_url("http://localhost:1", grpc_port=2))

    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://me:secret@proxy.example.com:3128")
    with pytest.raises(ConfigError, match="through a proxy") as caught:
        authenticated(make(), "name")
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("no_proxy", "localhost")
    assert authenticated(make(), "name")


def test_a_cluster_of_weaviates_own_cloud_is_named_as_with_the_clients_own_credentials() -> None:
    params = ConnectionParams.from_url("https://mine.weaviate.cloud", grpc_port=50051)

    def named(client: weaviate.WeaviateClient) -> str | None:
        return dict(client._connection.grpc_headers()).get("x-weaviate-cluster-url")

    own = weaviate.WeaviateClient(params, auth_client_secret=Auth.api_key("k"))
    assert named(authenticated(weaviate.WeaviateClient(params), "name")) == named(own) == "https://mine.weaviate.cloud"


def a_client(**more: Any) -> weaviate.WeaviateClient:
    return weaviate.WeaviateClient(ConnectionParams.from_url("http://localhost:1", 2), **more)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: object(), TypeError, "client: expected a WeaviateClient"),
        (lambda: a_client(auth_client_secret=Auth.api_key("k")), ConfigError, "without credentials of its own"),
        (lambda: a_client(auth_client_secret=Auth.client_credentials("s", "x")), ConfigError, "without credentials"),
        (lambda: a_client(additional_headers={"Authorization": "x"}), ConfigError, "without credentials of its own"),
        (lambda: authenticated(a_client(), "other"), ConfigError, "it has a manager already"),
    ],
)
def test_a_client_that_does_not_fit(make: Callable[[], Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        authenticated(make(), "name")


def test_a_client_that_is_connected_already(settled: Held, rest: Api, search: Rpc) -> None:
    rest.pages["/v1/meta"] = {"version": "1.33.0"}
    given = options(rest, search) | {"additional_headers": {"X-Nothing": "at all"}}
    given["additional_config"].grpc_config.credentials = credentials(settled.name)
    client = weaviate.WeaviateClient(**given)
    client._connection._connected = True
    with pytest.raises(ConfigError, match="not connected yet"):
        authenticated(client, settled.name)


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match="server: expected"):
        authenticated(a_client(), 3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="timeout: expected"):
        authenticated(a_client(), "name", timeout=-1)


def test_a_release_that_it_does_not_know_is_refused_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    client = a_client()
    monkeypatch.delattr("weaviate.connect.v4._ConnectionBase._make_client")
    with pytest.raises(
        ConfigError, match=r"^weaviate-client 4\.\S+ has no _make_client where it is expected: use a release"
    ):
        authenticated(client, "name")
