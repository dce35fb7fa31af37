"""`authenticated` for weaviate-client: REST and gRPC calls that outlive many tokens, through outages of the provider too.

```python
client = weaviate.WeaviateClient(ConnectionParams.from_url("https://weaviate.example.com", grpc_port=50051))
with authenticated(client, "name"):  # it connects
    client.collections.use("Article").query.fetch_objects(limit=1)
```

It takes the place of the client's own support for OIDC, which needs the provider whenever it connects and refreshes on a
thread of its own. The client has no public place for a token that changes, so this reaches into it; where a release has moved
what is needed, it says so before anything is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from oidc_actor.adapters.headers import headers
from oidc_actor.adapters.presenter import check_destination
from oidc_actor.reading.token_source import ServerOrSource
from oidc_actor.reading.waiting_reads import check_wait
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.lazy_imports import not_installed
from oidc_actor.values.urls import origin_of

try:
    import grpc
    import grpc.aio
    import weaviate
    from weaviate.classes.init import GrpcConfig
    from weaviate.connect import base

    from oidc_actor.adapters import grpc_retry, httpx
    from oidc_actor.adapters.grpc import OIDCAuth as CallCredentials
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "weaviate", missing) from None

__all__ = ["authenticated"]
__dir__ = __all__.copy

Client = TypeVar("Client", weaviate.WeaviateClient, weaviate.WeaviateAsyncClient)

_NEEDED = (
    "_auth", "_connection_params", "_grpc_channel", "_grpc_config", "_grpc_stub", "_headers", "_make_client",
    "_open_connections_rest", "_skip_init_checks", "grpc_headers", "is_connected", "open_connection_grpc", "url",
)  # fmt: skip
_CLUSTER = "X-Weaviate-Cluster-URL"
_KINDS = {
    grpc.aio.UnaryUnaryClientInterceptor: "_unary_unary_interceptors",
    grpc.aio.UnaryStreamClientInterceptor: "_unary_stream_interceptors",
    grpc.aio.StreamUnaryClientInterceptor: "_stream_unary_interceptors",
    grpc.aio.StreamStreamClientInterceptor: "_stream_stream_interceptors",
}


def authenticated(
    client: Client, server: ServerOrSource, *, timeout: float = 5.0, allow_insecure_http: bool = False
) -> Client:
    """Have a client send a manager's token with every REST and gRPC call, and answer a refusal of it; see `oidc_actor.adapters`.

    Args:
        client: A client that has not been connected yet, without credentials of its own: `weaviate.WeaviateClient`, or what
            ``weaviate.use_async_with_custom`` and its like return. It may be closed and connected again.
        server: The manager's ref or name.
        timeout: Seconds a call waits for a token where there is none.
        allow_insecure_http: Whether plain http, and gRPC without TLS, are acceptable beyond loopback. Without TLS a
            gRPC call that is refused is not made again, and one of the asynchronous client does not wait for a token.

    Returns:
        The same client.

    Raises:
        ConfigError: It is connected already, has credentials, could send the token where it can be read, or is of a release
            that this does not know.
        TypeError: It is no client, or ``server`` is neither a ref nor a name.
    """
    connection = _connection_of(client)
    check_wait(timeout, 0.0)
    _Wiring(connection, server, timeout, allow_insecure_http=allow_insecure_http).connect()
    return client


class _Wiring:
    """The methods that take the place of a connection's own."""

    def __init__(self, connection: Any, server: ServerOrSource, timeout: float, *, allow_insecure_http: bool) -> None:
        self._connection = connection
        self._server = server
        self._timeout_s = timeout
        # The token is for this one server: the client also asks others, such as a package index.
        self._auth = httpx.OIDCAuth(
            server, timeout=timeout, origins=[connection.url], allow_insecure_http=allow_insecure_http
        )
        self._call_credentials = CallCredentials(server, timeout=timeout)
        ends = connection._connection_params.grpc
        self._is_secure = ends.secure
        self._origin = origin_of(f"{'https' if ends.secure else 'http'}://{ends.host}:{ends.port}")  # of gRPC
        # Whether REST goes through a proxy the auth checks at each request.
        check_destination(connection.url, lambda _: None, allow_insecure_http=allow_insecure_http)
        if not self._is_secure:  # gRPC takes its proxy from the same variables
            check_destination(f"http://{ends.host}:{ends.port}", allow_insecure_http=allow_insecure_http)
        self._make_client = connection._make_client
        self._open_rest = connection._open_connections_rest
        self._open_grpc = connection.open_connection_grpc
        self._grpc_headers = connection.grpc_headers

    def connect(self) -> None:
        connection = self._connection
        connection._make_client = self.make_client
        connection._open_connections_rest = self.open_rest
        connection.grpc_headers = self.grpc_headers
        if not self._is_secure:
            return
        connection._grpc_config = self._with_token(connection._grpc_config or GrpcConfig())
        connection.open_connection_grpc = self.open_grpc

    def make_client(self, colour: str) -> Any:
        http = self._make_client(colour)
        http.auth = self._auth
        return http

    def open_rest(self, credentials: Any, colour: str) -> Any:
        # Otherwise the client would ask the server for its provider, and refuse to go on without credentials for that.
        checks, self._connection._skip_init_checks = self._connection._skip_init_checks, True
        try:
            return self._open_rest(credentials, colour)
        finally:
            self._connection._skip_init_checks = checks

    def open_grpc(self, colour: str) -> None:
        self._open_grpc(colour)
        channel = self._connection._grpc_channel
        if colour == "async":
            for interceptor in grpc_retry.aio_interceptors(self._server, timeout=self._timeout_s, origin=self._origin):
                _intercept(channel, interceptor)
            return
        interceptors = grpc_retry.interceptors(self._server, timeout=self._timeout_s, origin=self._origin)
        channel = grpc.intercept_channel(channel, *interceptors)
        self._connection._grpc_channel = channel
        self._connection._grpc_stub = type(self._connection._grpc_stub)(channel)

    def grpc_headers(self) -> tuple[tuple[str, str], ...]:
        found = list(self._grpc_headers() or ())
        cluster = self._connection._headers.get(_CLUSTER)
        if cluster is not None:  # the client itself sends it only with credentials of its own
            found.append((_CLUSTER.lower(), cluster))
        if not self._is_secure:
            is_async = isinstance(self._connection._grpc_channel, grpc.aio.Channel)
            token = headers(self._server, timeout=0.0 if is_async else self._timeout_s)
            found.append(("authorization", token["Authorization"]))
        return tuple(found)

    def _with_token(self, config: GrpcConfig) -> GrpcConfig:
        # The authorities that the client itself would trust; some releases of it leave the choice to gRPC.
        default = getattr(base, "_default_grpc_credentials", grpc.ssl_channel_credentials)
        call = grpc.metadata_call_credentials(self._call_credentials)
        both = grpc.composite_channel_credentials(config.credentials or default(), call)
        return GrpcConfig(channel_options=config.channel_options, credentials=both)


def _intercept(channel: grpc.aio.Channel, interceptor: object) -> None:
    """Add an interceptor to a channel of `grpc.aio`, which takes them only when it is made, by the client in this case."""
    (name,) = (name for kind, name in _KINDS.items() if isinstance(interceptor, kind))
    present = getattr(channel, name, None)
    if not isinstance(present, list):
        raise _unknown_release("grpcio", grpc.__version__, [name])
    present.append(interceptor)


def _unknown_release(library: str, version: str, absent: Sequence[str]) -> ConfigError:
    return ConfigError(
        f"{library} {version} has no {', '.join(absent)} where it is expected: use a release of it that this one of oidc-actor "
        "was made for"
    )


def _connection_of(client: object) -> Any:
    if not isinstance(client, weaviate.WeaviateClient | weaviate.WeaviateAsyncClient):
        raise TypeError(f"client: expected a WeaviateClient or WeaviateAsyncClient, got {type(client).__name__}")
    connection: Any = getattr(client, "_connection", None)
    absent = [name for name in _NEEDED if not hasattr(connection, name)]
    if absent:
        raise _unknown_release("weaviate-client", weaviate.__version__, absent)
    problem = _problem_of(connection)
    if problem is not None:
        raise ConfigError(problem, ("client",))
    return connection


def _problem_of(connection: Any) -> str | None:
    if "_make_client" in vars(connection):
        return "it has a manager already"
    if connection.is_connected():
        return (
            "expected one that is not connected yet, such as WeaviateClient(...) or use_async_with_custom(...) returns"
        )
    if connection._auth is not None or "authorization" in connection._headers:
        return "expected one without credentials of its own, got some: leave out auth_client_secret and authorization headers"
    return None
