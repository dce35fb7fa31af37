"""The real weaviate-client against loopback servers that check each token's signature and end: calls that outlive many tokens."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import weaviate
from adapters.api import DEADLINE_S, Api, Gatekeeper
from adapters.drivers import credentials
from adapters.held import Held
from adapters.rpc import Rpc
from weaviate.classes.init import AdditionalConfig, Auth, GrpcConfig
from weaviate.connect import ConnectionParams
from weaviate.exceptions import UnexpectedStatusCodeError, WeaviateQueryError
from weaviate.proto.v1 import health_weaviate_pb2, search_get_pb2, weaviate_pb2_grpc

from oidc_actor import ConfigError, NoTokenError, Password, TokenManager
from oidc_actor.adapters.weaviate import authenticated
from oidc_actor.testing import Provider

TOKENS = 10
PUBLIC = "/v1/.well-known/openid-configuration"


class Weaviate(weaviate_pb2_grpc.WeaviateServicer):
    def Search(self, request: Any, context: grpc.ServicerContext) -> Any:
        return search_get_pb2.SearchReply(took=0.001)


def serve(server: grpc.Server) -> None:
    """What the client calls, and the health check that it begins with."""
    serving = health_weaviate_pb2.WeaviateHealthCheckResponse(status="SERVING")
    check = grpc.unary_unary_rpc_method_handler(
        lambda request, context: serving,
        response_serializer=health_weaviate_pb2.WeaviateHealthCheckResponse.SerializeToString,
    )
    weaviate_pb2_grpc.add_WeaviateServicer_to_server(Weaviate(), server)
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": check})])


@pytest.fixture
def rest(http: Api, provider: Provider) -> Api:
    http.pages = {
        "/v1/meta": {"version": "1.33.0", "grpcMaxMessageSize": 10_485_760},
        "/v1/schema/Article": {"class": "Article", "properties": []},
        PUBLIC: {"href": f"{provider.issuer_url}/.well-known/openid-configuration", "clientId": provider.client_id},
    }
    return http


@pytest.fixture
def search(gatekeeper: Gatekeeper) -> Iterator[Rpc]:
    with Rpc(gatekeeper, serve) as running:
        yield running


@pytest.fixture
def plain(gatekeeper: Gatekeeper) -> Iterator[Rpc]:
    """The same without TLS."""
    with Rpc(gatekeeper, serve, is_secure=False) as running:
        yield running


def options(rest: Api, search: Rpc, *, is_secure: bool = True) -> dict[str, Any]:
    return {
        "connection_params": ConnectionParams.from_params(
            http_host="127.0.0.1",
            http_port=int(rest.url.rpartition(":")[2]),
            http_secure=False,
            grpc_host="127.0.0.1",
            grpc_port=search.port,
            grpc_secure=is_secure,
        ),
        "additional_config": AdditionalConfig(
            grpc_config=GrpcConfig(
                credentials=grpc.local_channel_credentials(), channel_options=[("grpc.primary_user_agent", "ours")]
            ),
            timeout=(10, 10),
        ),
        "skip_init_checks": True,  # one of them asks a package index
    }


def use(client: weaviate.WeaviateClient) -> None:
    """One call of each kind."""
    articles = client.collections.use("Article")
    assert client.collections.exists("Article")
    assert articles.query.fetch_objects(limit=1).objects == []


async def ause(client: weaviate.WeaviateAsyncClient) -> None:
    articles = client.collections.use("Article")
    assert await client.collections.exists("Article")
    assert (await articles.query.fetch_objects(limit=1)).objects == []


def in_time(coroutine: Any) -> Any:
    async def bounded() -> Any:
        async with asyncio.timeout(DEADLINE_S):
            return await coroutine

    return asyncio.run(bounded())


def test_rest_and_grpc_calls_outlive_many_tokens(settled: Held, rest: Api, search: Rpc, provider: Provider) -> None:
    client = authenticated(weaviate.WeaviateClient(**options(rest, search)), settled.name)
    tokens = [settled.token]
    with client:  # it connects
        for _ in range(TOKENS):
            tokens.append(settled.refresh())
            use(client)
    assert rest.tokens == tokens
    assert search.tokens == tokens[1:]
    assert provider.token_requests == len(set(tokens)) == TOKENS + 1


def test_in_real_time_with_tokens_of_a_second_and_rotating_refresh_tokens(
    rest: Api, search: Rpc, provider: Provider
) -> None:
    provider.token_lifetime_s = 1.0
    auth = Password(provider.username, provider.password, provider.client_id, provider.client_secret)
    ref = TokenManager.start_link(issuer_url=provider.issuer_url, auth=auth, min_interval_seconds=0.05)
    until = time.monotonic() + DEADLINE_S
    try:
        with authenticated(weaviate.WeaviateClient(**options(rest, search)), ref) as client:
            while len(set(search.tokens)) < 5:
                assert time.monotonic() < until
                use(client)  # each call fails if its token is stale
    finally:
        TokenManager.stop(ref)
    assert provider.token_requests_by_grant["password"] == 1
    assert provider.token_requests_by_grant["refresh_token"] >= 4
    assert provider.refresh_tokens_reused == 0


def test_the_async_client_too(settled: Held, rest: Api, search: Rpc, provider: Provider) -> None:
    async def work() -> list[str]:
        client = authenticated(weaviate.WeaviateAsyncClient(**options(rest, search)), settled.name)
        tokens = [settled.token]
        async with client:
            for _ in range(TOKENS):
                tokens.append(await asyncio.to_thread(settled.refresh))
                await ause(client)
        return tokens

    tokens = in_time(work())
    assert rest.tokens == tokens
    assert search.tokens == tokens[1:]
    assert provider.token_requests == TOKENS + 1


def test_a_refusal_by_either_half_is_mended(
    settled: Held, rest: Api, search: Rpc, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    with authenticated(weaviate.WeaviateClient(**options(rest, search)), settled.name) as client:
        articles = client.collections.use("Article")
        for call in (lambda: client.collections.exists("Article"), lambda: articles.query.fetch_objects(limit=1)):
            gatekeeper.revoke(settled.token)
            call()
            settled.clock.advance(5)
    assert provider.token_requests == 3


def test_a_refusal_by_either_half_is_mended_for_the_async_client(
    settled: Held, rest: Api, search: Rpc, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    async def work() -> None:
        async with authenticated(weaviate.WeaviateAsyncClient(**options(rest, search)), settled.name) as client:
            articles = client.collections.use("Article")
            for call in (lambda: client.collections.exists("Article"), lambda: articles.query.fetch_objects(limit=1)):
                gatekeeper.revoke(await asyncio.to_thread(lambda: settled.token))
                await call()
                settled.clock.advance(5)

    in_time(work())
    assert provider.token_requests == 3


def test_a_refusal_for_ever_is_the_clients_own_error_and_costs_one_token(
    settled: Held, rest: Api, search: Rpc, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    with authenticated(weaviate.WeaviateClient(**options(rest, search)), settled.name) as client:
        gatekeeper.refuses_all = True
        for _ in range(3):
            with pytest.raises(UnexpectedStatusCodeError, match="401"):
                client.collections.exists("Article")
            settled.clock.advance(5)
        with pytest.raises(WeaviateQueryError):
            client.collections.use("Article").query.fetch_objects(limit=1)
    assert provider.token_requests == 3  # one for each half


def test_an_outage_is_not_noticed_while_a_token_lives(
    settled: Held, rest: Api, search: Rpc, provider: Provider
) -> None:
    provider.down()
    with authenticated(weaviate.WeaviateClient(**options(rest, search)), settled.name) as client:
        settled.clock.advance(560)
        use(client)
    assert set(rest.tokens + search.tokens) == {settled.token}


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


def test_a_plain_connection_on_this_machine(settled: Held, rest: Api, plain: Rpc, gatekeeper: Gatekeeper) -> None:
    with authenticated(weaviate.WeaviateClient(**options(rest, plain, is_secure=False)), settled.name) as client:
        use(client)
        settled.refresh()
        use(client)
        assert plain.tokens[-1] == settled.token


def test_a_plain_connection_of_the_async_client(settled: Held, rest: Api, plain: Rpc) -> None:
    async def work() -> None:
        client = weaviate.WeaviateAsyncClient(**options(rest, plain, is_secure=False))
        async with authenticated(client, settled.name):
            await ause(client)
            await asyncio.to_thread(settled.refresh)
            await ause(client)

    in_time(work())
    assert len(set(plain.tokens)) == 2
    assert plain.tokens[-1] == settled.token


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


def test_the_example_of_the_readme(
    rest: Api, plain: Rpc, provider: Provider, gatekeeper: Gatekeeper, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (Path(__file__).parents[2] / "README.md").read_text()
    (example,) = re.findall(r"^```python\n(import weaviate\n.*?)^```", text, re.DOTALL | re.MULTILINE)
    provider.add_client("my-service", "s3cret")
    for here, there in (
        ("https://auth.example.com", provider.issuer_url),
        ("https://weaviate.example.com", rest.url),
        ("50051", str(plain.port)),
        ("ConnectionParams.from_url(", "skip_init_checks=True, connection_params=ConnectionParams.from_url("),
    ):
        assert here in example
        example = example.replace(here, there)
    try:
        exec(compile(example, "README.md", "exec"), {})
    finally:
        TokenManager.stop("weaviate.token")
    assert capsys.readouterr().out == "[]\n"
    assert len(set(rest.tokens + plain.tokens)) == 1
