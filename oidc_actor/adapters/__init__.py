"""The token where it is needed: one small module for each client library, all with the same semantics.

================================= =======================================================================================
module                            what a program writes
================================= =======================================================================================
`oidc_actor.adapters.requests`    ``session.auth = OIDCAuth("name")``
`oidc_actor.adapters.httpx`       ``httpx.Client(auth=OIDCAuth("name"))``, ``httpx.AsyncClient(auth=OIDCAuth("name"))``
`oidc_actor.adapters.httpx2`      the same, for its successor httpx2
`oidc_actor.adapters.aiohttp`     ``aiohttp.ClientSession(middlewares=[OIDCAuth("name")])``
`oidc_actor.adapters.grpc`        ``grpc.metadata_call_credentials(OIDCAuth("name"))``, in `grpc.composite_channel_credentials`
`oidc_actor.adapters.grpc_retry`  ``grpc.intercept_channel(channel, *interceptors("name"))``: what call credentials cannot do
`oidc_actor.adapters.weaviate`    ``with authenticated(weaviate.WeaviateClient(...), "name") as client:``
`oidc_actor.adapters.mcp`         ``httpx2.AsyncClient(auth=mcp_auth("name", server_url))``, for the client of MCP's Python SDK
`oidc_actor.adapters.google_auth` ``AuthorizedSession(OIDCCredentials("name"))``, and what else takes google-auth's credentials
`oidc_actor.adapters.azure_core`  ``BlobServiceClient(url, credential=OIDCCredential("name"))``, and the Azure SDK's other clients
`oidc_actor.adapters.redis`       ``redis.Redis(credential_provider=OIDCCredentials("name"))``
`oidc_actor.adapters.otlp`        OpenTelemetry's exporters, by environment variables
`oidc_actor.adapters.headers`     ``headers("name")``, ``await aheaders("name")``: for everything else
================================= =======================================================================================

- Every request carries the manager's valid token as of its sending. Where there is none, it waits for one up to ``timeout``
  seconds and then raises `NoTokenError`; an async caller waits without blocking its event loop, asyncio's or trio's (aiohttp
  and grpc.aio have asyncio's only).
- The token goes to the origin that the caller names and never with a redirect to another one; over plain http only to this
  machine, and not through a proxy that the environment names (aiohttp: any), unless ``allow_insecure_http=True``.
- A 401 about the token (`oidc_actor.adapters.challenges`) has that very token replaced, once for all callers that got one,
  and the request sent again, once, if its body is still at hand. Otherwise, and where no new token comes in time, the
  caller gets the 401. An origin that goes on to reject fresh tokens has them replaced at growing intervals, and other
  origins keep the token meanwhile (`oidc_actor.machine.invalidation`).

- A challenge that takes the token and wants another one for the request (``insufficient_scope``, ``insufficient_claims``, RFC
  9470) has one asked for, within bounds (`oidc_actor.machine.step_up`), and the request sent again, once. ``step_up=False``
  refuses that, and a function decides.

A token that is bound to a key (``dpop=`` in the credentials, RFC 9449) goes out as ``Authorization: DPoP`` with a proof for
that one request; where the provider gives a bearer token all the same, it is sent as one.

- Every request, every retry and every hop of a redirect that keeps the token has a proof of its own. httpx follows redirects
  by itself: there a hop gets its proof once it has been refused without.
- A server's ``DPoP-Nonce`` is kept, by origin. A 401 with ``use_dpop_nonce`` is answered by one more try with its nonce, under
  the same rule for the body, and does not reject the token. A request is sent again at most once for a nonce, once for a
  token, and once for a token that is allowed more.
- `oidc_actor.adapters.headers` needs ``method=`` and ``url=`` then, and is told of nonces by its ``note_nonce``. There is no
  DPoP for gRPC: a call with such a token fails and says so, and nothing is sent.

A token that is bound to the client's certificate (``client_certificate=``, RFC 8705) is good on a connection that shows it:
`oidc_actor.adapters.certificates` has what requests, httpx and httpx2 need for that.

Each module needs its library, which an extra brings, and says which in one line; importing this package needs none.
"""

from __future__ import annotations

_MODULES = (
    "aiohttp", "azure_core", "google_auth", "grpc", "grpc_retry", "headers", "httpx", "httpx2", "mcp", "otlp", "redis",
    "requests", "weaviate",
)  # fmt: skip


def __dir__() -> list[str]:
    return [name for name in _MODULES if name in globals()]  # those that the program has imported
