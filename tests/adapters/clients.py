"""The clients of vendors, each as a program makes it: what they ask of the API, and how they tell of a refusal."""

from __future__ import annotations

from typing import Any

import anthropic
import azure.core
import openai
import requests
from adapters.api import DEADLINE_S
from adapters.drivers import AsyncDriver, Driver, TrioDriver
from azure.core.pipeline.policies import AsyncBearerTokenCredentialPolicy, BearerTokenCredentialPolicy
from azure.core.pipeline.transport import AioHttpTransport, RequestsTransport, TrioRequestsTransport
from azure.core.rest import HttpRequest
from google.auth.transport.requests import AuthorizedSession
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

import oidc_actor.adapters.requests
from oidc_actor.adapters.azure_core import AsyncOIDCCredential, OIDCCredential
from oidc_actor.adapters.google_auth import OIDCCredentials
from oidc_actor.adapters.httpx2 import OIDCAuth

MESSAGES: Any = [{"role": "user", "content": "hello"}]
PAGES = {
    "/v1/chat/completions": {"id": "1", "object": "chat.completion", "created": 0, "model": "m", "choices": []},
    "/v1/messages": {"id": "1", "type": "message", "role": "assistant", "model": "m", "content": []},
    "/v1/traces": {},
}


class Client(Driver):
    """A client of the API of its vendor, which serves `PAGES`."""

    def post(self) -> int:
        """Send a request; the status."""
        raise NotImplementedError


class AsyncClient(AsyncDriver, Client):
    def post(self) -> int:
        status: int = self.run(self.apost())
        return status

    async def apost(self) -> int:
        raise NotImplementedError


class OpenAI(Client):
    def open(self, server: Any) -> None:
        http = openai.DefaultHttpx2Client(auth=OIDCAuth(server, timeout=self.timeout), trust_env=False)
        self.client = openai.OpenAI(base_url=f"{self.http.url}/v1", api_key="-", http_client=http, max_retries=0)

    def post(self) -> int:
        try:
            self.client.chat.completions.create(model="m", messages=MESSAGES)
        except openai.APIStatusError as error:
            return error.status_code
        return 200

    def close(self) -> None:
        self.client.close()


class AsyncOpenAI(AsyncClient):
    async def aopen(self, server: Any) -> None:
        http = openai.DefaultAsyncHttpx2Client(auth=OIDCAuth(server, timeout=self.timeout), trust_env=False)
        self.client = openai.AsyncOpenAI(base_url=f"{self.http.url}/v1", api_key="-", http_client=http, max_retries=0)

    async def apost(self) -> int:
        try:
            await self.client.chat.completions.create(model="m", messages=MESSAGES)
        except openai.APIStatusError as error:
            return error.status_code
        return 200

    async def aclose(self) -> None:
        await self.client.close()


class TrioOpenAI(TrioDriver, AsyncOpenAI):
    """The same on trio."""


class Anthropic(Client):
    def open(self, server: Any) -> None:
        http = anthropic.DefaultHttpxClient(auth=OIDCAuth(server, timeout=self.timeout), trust_env=False)
        self.client = anthropic.Anthropic(base_url=self.http.url, auth_token="-", http_client=http, max_retries=0)

    def post(self) -> int:
        try:
            self.client.messages.create(model="m", max_tokens=1, messages=MESSAGES)
        except anthropic.APIStatusError as error:
            return error.status_code
        return 200

    def close(self) -> None:
        self.client.close()


class AsyncAnthropic(AsyncClient):
    async def aopen(self, server: Any) -> None:
        http = anthropic.DefaultAsyncHttpxClient(auth=OIDCAuth(server, timeout=self.timeout), trust_env=False)
        self.client = anthropic.AsyncAnthropic(base_url=self.http.url, auth_token="-", http_client=http, max_retries=0)

    async def apost(self) -> int:
        try:
            await self.client.messages.create(model="m", max_tokens=1, messages=MESSAGES)
        except anthropic.APIStatusError as error:
            return error.status_code
        return 200

    async def aclose(self) -> None:
        await self.client.close()


class Google(Client):
    def open(self, server: Any) -> None:
        self.session = AuthorizedSession(OIDCCredentials(server, timeout=self.timeout), max_refresh_attempts=1)
        self.session.trust_env = False

    def post(self) -> int:
        answer = self.session.post(f"{self.http.url}/echo", data=b"body", timeout=DEADLINE_S)
        return int(answer.status_code)

    def close(self) -> None:
        self.session.close()


class Azure(Client):
    """It mends a 401 whose challenge asks for claims, which its server sends here."""

    def open(self, server: Any) -> None:
        self.http.challenge = 'Bearer realm="", error="insufficient_claims", claims="eyJhIjoxfQ=="'
        policy = BearerTokenCredentialPolicy(
            OIDCCredential(server, timeout=self.timeout), "https://example.com/.default"
        )
        self.client: Any = azure.core.PipelineClient(
            self.http.url, policies=[policy], transport=RequestsTransport(use_env_settings=False)
        )

    def post(self) -> int:
        request = HttpRequest("POST", f"{self.http.url}/echo", content=b"body")
        return int(self.client.send_request(request, enforce_https=False).status_code)

    def close(self) -> None:
        self.client.close()


class AsyncAzure(AsyncClient):
    transport: Any = AioHttpTransport

    async def aopen(self, server: Any) -> None:
        self.http.challenge = 'Bearer realm="", error="insufficient_claims", claims="eyJhIjoxfQ=="'
        credential = AsyncOIDCCredential(server, timeout=self.timeout)
        policy = AsyncBearerTokenCredentialPolicy(credential, "https://example.com/.default")
        transport = self.transport(use_env_settings=False)
        self.client: Any = azure.core.AsyncPipelineClient(self.http.url, policies=[policy], transport=transport)

    async def apost(self) -> int:
        request = HttpRequest("POST", f"{self.http.url}/echo", content=b"body")
        return int((await self.client.send_request(request, enforce_https=False)).status_code)

    async def aclose(self) -> None:
        await self.client.close()


class TrioAzure(TrioDriver, AsyncAzure):
    transport = TrioRequestsTransport


def span() -> ReadableSpan:
    made: Any = TracerProvider().get_tracer("test").start_span("work")
    made.end()
    return made


class Otlp(Client):
    def open(self, server: Any) -> None:
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.auth = oidc_actor.adapters.requests.OIDCAuth(server, timeout=self.timeout)
        self.exporter = OTLPSpanExporter(f"{self.http.url}/v1/traces", session=self.session)

    def post(self) -> int:
        return 200 if self.exporter.export([span()]) is SpanExportResult.SUCCESS else 401

    def close(self) -> None:
        self.exporter.shutdown()


CLIENTS = [OpenAI, AsyncOpenAI, TrioOpenAI, Anthropic, AsyncAnthropic, Google, Azure, AsyncAzure, TrioAzure, Otlp]
