"""A resource server over gRPC, with an interceptor that checks the token of each call. Messages are bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any, Self

import grpc
from adapters.api import Gatekeeper

SERVICE = "oidc_actor.test.Echo"


class Rpc:
    """A gRPC server on loopback, with local credentials or without any; its methods give back what they get."""

    def __init__(
        self,
        gatekeeper: Gatekeeper,
        add: Callable[[grpc.Server], object] = lambda server: None,
        *,
        is_secure: bool = True,
    ) -> None:
        self.gatekeeper = gatekeeper
        self.trailers: tuple[tuple[str, str], ...] = ()
        self._lock = threading.Lock()  # guards `_tokens`
        self._tokens: list[str | None] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(16), interceptors=[_Checks(self)])
        self._server.add_generic_rpc_handlers((_echo(),))
        add(self._server)
        address = "127.0.0.1:0"
        self.port = (
            self._server.add_secure_port(address, grpc.local_server_credentials())
            if is_secure
            else self._server.add_insecure_port(address)
        )
        self.target = f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait(10)

    @property
    def tokens(self) -> list[str | None]:
        """The tokens that came, in order."""
        with self._lock:
            return list(self._tokens)

    def note(self, authorization: str | None) -> None:
        with self._lock:
            self._tokens.append(None if authorization is None else authorization.partition(" ")[2])


class _Checks(grpc.ServerInterceptor):
    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        authorization = dict(details.invocation_metadata).get("authorization")
        self._rpc.note(authorization)
        handler = continuation(details)
        if handler is None or self._rpc.gatekeeper.admits(authorization):
            return handler
        return _same_kind(handler, self._refuse_upload if _is_upload(handler) else self._refuse)

    def _refuse_upload(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        for _ in (
            requests
        ):  # grpc.aio's client that is still sending when the call ends may see that in place of the refusal
            pass
        self._refuse(requests, context)

    def _refuse(self, request: Any, context: grpc.ServicerContext) -> Any:
        context.set_trailing_metadata(self._rpc.trailers)
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token is not good enough")


def _is_upload(handler: grpc.RpcMethodHandler) -> bool:
    return bool(handler.request_streaming and not handler.response_streaming)


def _same_kind(handler: Any, behave: Any) -> grpc.RpcMethodHandler:
    if handler.request_streaming:
        kind = (
            grpc.stream_stream_rpc_method_handler
            if handler.response_streaming
            else grpc.stream_unary_rpc_method_handler
        )
    else:
        kind = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
    return kind(behave, handler.request_deserializer, handler.response_serializer)


def _echo() -> grpc.GenericRpcHandler:
    def unary(request: bytes, context: grpc.ServicerContext) -> bytes:
        return request or b"welcome"

    def stream(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from (request[at : at + 1] for at in range(len(request)))

    def upload(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        return b"".join(requests)

    def chat(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        yield from requests

    return grpc.method_handlers_generic_handler(
        SERVICE,
        {
            "Unary": grpc.unary_unary_rpc_method_handler(unary),
            "Stream": grpc.unary_stream_rpc_method_handler(stream),
            "Upload": grpc.stream_unary_rpc_method_handler(upload),
            "Chat": grpc.stream_stream_rpc_method_handler(chat),
        },
    )
