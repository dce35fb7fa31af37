"""What the real weaviate-client talks to on loopback, and one call of each kind that it makes."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import weaviate
from adapters.api import DEADLINE_S, Api
from adapters.rpc import Rpc
from weaviate.classes.init import AdditionalConfig, GrpcConfig
from weaviate.connect import ConnectionParams
from weaviate.proto.v1 import health_weaviate_pb2, search_get_pb2, weaviate_pb2_grpc

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
