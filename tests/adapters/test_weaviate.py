"""The real weaviate-client: REST and gRPC calls that outlive many tokens. The worked example of the README.

Its own OIDC support keeps a thread that refreshes; here the manager does. For gRPC the client has a public option. For REST it
has none: a client's own HTTP client is made in one method, which the example wraps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import weaviate
from adapters.api import DEADLINE_S, Api, Gatekeeper
from adapters.drivers import credentials
from adapters.held import Held
from adapters.rpc import Rpc
from weaviate.classes.init import AdditionalConfig, GrpcConfig
from weaviate.proto.v1 import search_get_pb2, weaviate_pb2_grpc

import oidc_actor.adapters.httpx
from oidc_actor.testing import Provider

TOKENS = 10


class Weaviate(weaviate_pb2_grpc.WeaviateServicer):
    def Search(self, request: Any, context: grpc.ServicerContext) -> Any:
        return search_get_pb2.SearchReply(took=0.001)


@pytest.fixture
def rest(http: Api) -> Api:
    http.pages = {
        "/v1/meta": {"version": "1.33.0", "grpcMaxMessageSize": 10_485_760},
        "/v1/schema/Article": {"class": "Article", "properties": []},
    }
    return http


@pytest.fixture
def search(gatekeeper: Gatekeeper) -> Iterator[Rpc]:
    def add(server: grpc.Server) -> None:
        weaviate_pb2_grpc.add_WeaviateServicer_to_server(Weaviate(), server)

    with Rpc(gatekeeper, add) as running:
        yield running


def options(rest: Api, search: Rpc, server: str) -> dict[str, Any]:
    return {
        "connection_params": weaviate.connect.ConnectionParams.from_params(
            http_host="127.0.0.1",
            http_port=int(rest.url.rpartition(":")[2]),
            http_secure=False,
            grpc_host="127.0.0.1",
            grpc_port=search.port,
            grpc_secure=True,
        ),
        "additional_config": AdditionalConfig(
            grpc_config=GrpcConfig(credentials=credentials(server)), timeout=(10, 10)
        ),
        "skip_init_checks": True,  # one of them asks a package index
    }


def use_manager(client: Any, server: str) -> None:
    """Give a client's REST half the token of a manager; call it before ``connect``."""
    make = client._connection._make_client

    def make_with_token(colour: str) -> Any:
        http = make(colour)
        http.auth = oidc_actor.adapters.httpx.OIDCAuth(server)
        return http

    client._connection._make_client = make_with_token


def test_rest_and_grpc_calls_outlive_many_tokens(
    settled: Held, rest: Api, search: Rpc, provider: Provider, gatekeeper: Gatekeeper
) -> None:
    client = weaviate.WeaviateClient(**options(rest, search, settled.name))
    use_manager(client, settled.name)
    tokens = [settled.token]
    with client:  # it connects
        articles = client.collections.use("Article")
        for _ in range(TOKENS):
            tokens.append(settled.refresh())
            assert client.collections.exists("Article")
            assert articles.query.fetch_objects(limit=1).objects == []
        gatekeeper.revoke(settled.token)
        settled.clock.advance(5)
        assert client.collections.exists("Article")
        assert articles.query.fetch_objects(limit=1).objects == []
        tokens += [tokens[-1], settled.token]
    assert rest.tokens == tokens
    assert search.tokens == [*tokens[1:-2], tokens[-1]]
    assert provider.token_requests == len(set(tokens)) == TOKENS + 2


def test_the_async_client_too(settled: Held, rest: Api, search: Rpc, provider: Provider) -> None:
    async def use() -> list[str]:
        client = weaviate.WeaviateAsyncClient(**options(rest, search, settled.name))
        use_manager(client, settled.name)
        tokens = [settled.token]
        async with asyncio.timeout(DEADLINE_S), client:
            articles = client.collections.use("Article")
            for _ in range(TOKENS):
                tokens.append(await asyncio.to_thread(settled.refresh))
                assert await client.collections.exists("Article")
                assert (await articles.query.fetch_objects(limit=1)).objects == []
        return tokens

    tokens = asyncio.run(use())
    assert rest.tokens == tokens
    assert search.tokens == tokens[1:]
    assert provider.token_requests == TOKENS + 1
