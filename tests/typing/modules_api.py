"""Checked by mypy and pyright, never run: a program that uses the public modules of ``oidc_actor``, each name of them."""

from collections.abc import Mapping
from datetime import datetime
from typing import assert_type

import aiohttp
import grpc
import grpc.aio
import httpx
import httpx2
import requests
import weaviate
from prometheus_client import REGISTRY
from redis import Redis
from weaviate.connect import ConnectionParams

import oidc_actor.adapters.aiohttp
import oidc_actor.adapters.grpc
import oidc_actor.adapters.httpx
import oidc_actor.adapters.httpx2
import oidc_actor.adapters.redis
import oidc_actor.adapters.requests
from oidc_actor import (
    ClientCertificate,
    ClientCredentials,
    OIDCConfig,
    ResourceMetadata,
    SecretFile,
    TokenManager,
    TokenResponse,
    oidc,
)
from oidc_actor.adapters.azure_core import AsyncOIDCCredential, OIDCCredential
from oidc_actor.adapters.google_auth import OIDCCredentials, SubjectToken
from oidc_actor.adapters.grpc_retry import aio_interceptors, interceptors
from oidc_actor.adapters.headers import aheaders, headers, note_nonce
from oidc_actor.adapters.mcp import mcp_auth
from oidc_actor.adapters.otlp import channel_credentials
from oidc_actor.adapters.otlp import session as otlp_session
from oidc_actor.adapters.weaviate import authenticated
from oidc_actor.metrics import INSTRUMENTS, Instrument, ready
from oidc_actor.metrics.otel import Instrumentation, instrument
from oidc_actor.metrics.prometheus import Collector, MultiProcessWriter
from oidc_actor.metrics.spans import Spans, record_spans
from oidc_actor.observing import managers
from oidc_actor.sharing import FileStore, RedisStore, StoreError, TokenStore
from oidc_actor.streams import Renewal, on_renewal, renewals
from oidc_actor.testing import Endpoint, FaultProxy, ManualClock, MemoryStore, Provider, check_store
from oidc_actor.transport import MAX_BODY_BYTES, Request, Response, Transport, TransportError
from supervision.observer import Figure, Observer, Part

# --- without a manager

config = oidc.discover("https://auth.example.com", timeout_seconds=5)
assert_type(config, OIDCConfig)
resource = oidc.discover_resource("https://api.example.com/mcp", timeout_seconds=5)
assert_type(resource, ResourceMetadata)
assert_type(resource.authorization_servers, tuple[str, ...] | None)
auth = ClientCredentials("id", "secret", oidc.parse_scopes("a b"))
token = oidc.get_token(config, {"type": "oidc_client_credentials", "client_id": "id", "client_secret": "secret"})
assert_type(token, TokenResponse)
if token.refresh_token is not None:
    assert_type(oidc.refresh_token(config, token.refresh_token, auth), TokenResponse)
oidc.revoke_token(config, token.access_token, auth)


# --- a transport of one's own


def refuse(request: Request) -> Response:
    if request.method == "POST" and len(request.body) > MAX_BODY_BYTES:
        raise TransportError("refused", sent=False)
    return Response(503, {"Retry-After": "1"})


transport: Transport = refuse
TokenManager.start_link(auth=auth, oidc_config=config, transport=transport, clock=ManualClock())

# --- spans

assert_type(record_spans(None, max_managers=10, max_issuers=1), Spans)
record_spans().close()

# --- adapters

OIDCCredentials("m", timeout=1.0, origins=["https://api.example.com"]).before_request(None, "GET", "https://x", {})
assert_type(SubjectToken("m").get_subject_token(None, None), str)
assert_type(OIDCCredential("m", timeout=1.0).get_token("scope").expires_on, int)
AsyncOIDCCredential("m", timeout=1.0)
Redis(credential_provider=oidc_actor.adapters.redis.OIDCCredentials("m", username="default", timeout=1.0))
assert_type(otlp_session(), requests.Session)
assert_type(channel_credentials(), grpc.ChannelCredentials)
session = requests.Session()
session.auth = oidc_actor.adapters.requests.OIDCAuth("m", timeout=1.0, origins=["https://api.example.com"])
client = httpx.Client(auth=oidc_actor.adapters.httpx.OIDCAuth("m"))
async_client = httpx.AsyncClient(auth=oidc_actor.adapters.httpx.OIDCAuth("m", allow_insecure_http=True))
mcp_client = httpx2.AsyncClient(auth=mcp_auth("m", "https://mcp.example.com/mcp", timeout=1.0, step_up=False))
client2 = httpx2.Client(auth=oidc_actor.adapters.httpx2.OIDCAuth("m"))
shown = ClientCertificate("/run/svid.pem", "/run/svid_key.pem")
session.mount("https://", oidc_actor.adapters.requests.CertificateAdapter(shown, max_retries=2))
with_certificate = httpx.Client(
    transport=oidc_actor.adapters.httpx.CertificateTransport(shown, ca_bundle="/run/ca.pem")
)
limits = httpx.Limits(max_connections=5)
with_certificates = httpx.AsyncClient(
    transport=oidc_actor.adapters.httpx.AsyncCertificateTransport(shown, limits=limits)
)
with_certificate1 = httpx2.Client(transport=oidc_actor.adapters.httpx2.CertificateTransport(shown, retries=1))
with_certificate2 = httpx2.AsyncClient(
    transport=oidc_actor.adapters.httpx2.AsyncCertificateTransport(shown, http2=True)
)
call_credentials = grpc.metadata_call_credentials(oidc_actor.adapters.grpc.OIDCAuth("m", timeout=1.0))
channel = grpc.intercept_channel(grpc.insecure_channel("x:1"), *interceptors("m"))
aio_channel = grpc.aio.insecure_channel("x:1", interceptors=aio_interceptors("m", origin="https://x:1"))
parameters = ConnectionParams.from_url("https://weaviate.example.com", grpc_port=50051)
assert_type(authenticated(weaviate.WeaviateClient(parameters), "m"), weaviate.WeaviateClient)
assert_type(headers("m", method="GET", url="https://api.example.com"), dict[str, str])
assert_type(note_nonce("m", "https://api.example.com", None), bool)


async def read() -> None:
    async with aiohttp.ClientSession(middlewares=[oidc_actor.adapters.aiohttp.OIDCAuth("m")]) as aiohttp_session:
        await aiohttp_session.get("https://api.example.com")
    assert_type(await aheaders("m"), dict[str, str])
    async for renewal in renewals("m"):
        assert_type(renewal, Renewal)


def note(renewal: Renewal) -> None:
    assert_type(renewal.token, TokenResponse)
    assert_type(renewal.reconnect_before, datetime | None)


on_renewal("m", note).cancel()

# --- metrics

assert_type(ready("m"), bool)
assert_type(INSTRUMENTS, tuple[Instrument, ...])
instrumentation: Instrumentation = instrument(max_managers=10)
instrumentation.close()
REGISTRY.register(Collector(max_issuers=10))
MultiProcessWriter(interval_s=1.0).close()

# --- the observer


class Tills:
    """A part."""

    columns = ("till",)
    loggers = ()

    def figures(self, name: str | None, ref: object) -> dict[str, Figure] | None:
        """Of each row."""
        return {"till": Figure("open", ends_in_s=3.0, of_s=6.0, tone="good")} if name == "till" else None

    def summary(self, name: str | None, ref: object) -> list[Figure] | None:
        """Of each supervisor."""
        return None

    def event(self, event: str, fields: Mapping[str, object]) -> tuple[str, str] | None:
        """Of each event."""
        return None


assert_type(managers(), Part)
observer = Observer("shop", parts=[managers(), Tills()], hosts=["localhost:8000"], most_pages=4, exception_texts=True)
observer.close()

# --- stores

store: TokenStore = RedisStore.from_url(
    "rediss://cache:6379/0", namespace="prod", keys=[SecretFile("/run/key")], notify=True
)
stores: list[TokenStore] = [store, FileStore("/run/tokens", namespace="prod"), MemoryStore()]
for one in stores:
    TokenManager.start_link(auth=auth, oidc_config=config, store=one, store_key="alice")
try:
    check_store(lambda: RedisStore(requests.Session, namespace="check", keys=["key"], wait_replicas=1), histories=1)
except StoreError as error:
    assert_type(error.sent, bool)

# --- testing


def play(endpoint: Endpoint) -> None:
    with Provider(token_lifetime_s=10) as provider, FaultProxy(provider.issuer_url) as proxy:
        provider.fail_next(3, status=429, headers={"Retry-After": "2"}, endpoint=endpoint)
        proxy.drip(1, chunk_bytes=10)
        assert_type(proxy.url, str)
