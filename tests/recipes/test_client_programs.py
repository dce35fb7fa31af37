"""The programs of the page for clients that take a callable, a session or an HTTP client; each with its real library."""

from __future__ import annotations

import asyncio
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import EntryPoint
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import openai
import opentelemetry.exporter.otlp.proto.http._common as otlp_http
import pytest
from adapters.api import Api, Gatekeeper
from adapters.clients import MESSAGES, PAGES, span
from fleet.servers import free_port
from google.auth import identity_pool
from google.auth.transport.requests import Request as GoogleRequest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult
from pages import ROOT
from pasted import pasted
from threads import DEADLINE_S, eventually

from oidc_actor import ClientCredentials, ConfigError, TokenManager
from oidc_actor.adapters import otlp
from oidc_actor.adapters.google_auth import SubjectToken
from oidc_actor.testing import Provider

pytestmark = pytest.mark.usefixtures("stop_managers")


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider(client_id="my-service", client_secret="s3cret", token_lifetime_s=300) as running:
        yield running


@pytest.fixture
def api(provider: Provider) -> Iterator[Api]:
    with Api(Gatekeeper(provider)) as running:
        running.pages = PAGES | {"/api/v1/namespaces": {"kind": "NamespaceList", "items": []}}
        yield running


def program(recipe: str, provider: Provider, **more: str) -> SimpleNamespace:
    names: dict[str, Any] = {}
    exec(compile(pasted(recipe, provider, **more), recipe, "exec"), names)
    return SimpleNamespace(**names)


@pytest.mark.parametrize("recipe", ["openai_program.py", "anthropic_program.py"])
def test_models(recipe: str, provider: Provider, api: Api) -> None:
    client = program(recipe, provider, host=f"https://models.example.com=>{api.url}").client
    api.gatekeeper.revoke(TokenManager.get_access_token("models.token"))
    with client:
        if recipe == "openai_program.py":
            client.chat.completions.create(model="m", messages=MESSAGES)
        else:
            client.messages.create(model="m", max_tokens=1, messages=MESSAGES)
    assert len(set(api.tokens)) == 2


def test_a_source_as_the_key_of_openai(provider: Provider, api: Api) -> None:
    TokenManager.start_link(name="k", issuer_url=provider.issuer_url, auth=ClientCredentials("my-service", "s3cret"))
    source = TokenManager.source("k")

    async def ask() -> None:
        async with openai.AsyncOpenAI(api_key=source.aaccess_token, base_url=f"{api.url}/v1") as client:
            await client.chat.completions.create(model="m", messages=MESSAGES)

    with openai.OpenAI(api_key=source, base_url=f"{api.url}/v1") as client:
        client.chat.completions.create(model="m", messages=MESSAGES)
        TokenManager.force_refresh("k", wait=True)
        client.chat.completions.create(model="m", messages=MESSAGES)
    asyncio.run(ask())
    assert len(set(api.tokens)) == 2
    assert len(api.tokens) == 3


def test_kubernetes_client(provider: Provider, api: Api) -> None:
    core = program("kubernetes_client.py", provider, host=f"https://cluster.example.com=>{api.url}").core
    for _ in range(2):
        assert core.list_namespace(_request_timeout=DEADLINE_S).items == []
        TokenManager.force_refresh("cluster.token", wait=True)
    assert len(set(api.tokens)) == 2


def test_otlp_program(provider: Provider, api: Api) -> None:
    exporter = program("otlp_program.py", provider, host=f"https://telemetry.example.com=>{api.url}").exporter
    api.gatekeeper.revoke(TokenManager.get_access_token("telemetry.token"))
    assert exporter.export([span()]) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert len(set(api.tokens)) == 2


def test_otlp_by_environment_variables(provider: Provider, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    group = "opentelemetry_otlp_credential_provider"
    declared = [EntryPoint(name, value, group) for name, value in project["entry-points"][group].items()]

    def entry_points(*, group: str, name: str) -> list[EntryPoint]:
        return [one for one in declared if (one.group, one.name) == (group, name)]

    monkeypatch.setattr(otlp_http, "entry_points", entry_points)
    monkeypatch.setenv("OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER", "oidc_actor")
    with pytest.raises(ConfigError, match=otlp.MANAGER):
        OTLPSpanExporter(f"{api.url}/v1/traces")
    monkeypatch.setenv(otlp.MANAGER, "telemetry.token")
    exporter = OTLPSpanExporter(f"{api.url}/v1/traces")  # before the manager is there
    auth = ClientCredentials("my-service", "s3cret")
    TokenManager.start_link(name="telemetry.token", issuer_url=provider.issuer_url, auth=auth)
    assert exporter.export([span()]) is SpanExportResult.SUCCESS
    exporter.shutdown()
    assert entry_points(group=group, name="oidc_actor_grpc")[0].load()() is not None


# --- services that trade the token --------------------------------------------------------------------------------------

STS = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleWithWebIdentityResult>
<Credentials><AccessKeyId>AKIDEXAMPLE</AccessKeyId><SecretAccessKey>a-key</SecretAccessKey><SessionToken>a-session</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""
GOOGLE = '{"access_token": "of-google", "token_type": "Bearer", "expires_in": 3600}'


class Trade:
    """Takes every token, and answers with what it is told to."""

    def __init__(self, answer: str) -> None:
        self.forms: list[dict[str, list[str]]] = []
        forms = self.forms

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                forms.append(parse_qs(body))
                self.send_response(200)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer.encode())

            def log_message(self, *_: Any) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Trade:
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def test_boto3_program(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    with Trade(STS) as sts:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.url)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
        session = program("boto3_program.py", provider).session
        credentials = session.get_credentials()
        assert sts.forms == []
        assert credentials.get_frozen_credentials().access_key == "AKIDEXAMPLE"
        assert sts.forms[0]["WebIdentityToken"] == [TokenManager.get_access_token("aws.token")]
        assert sts.forms[0]["RoleArn"] == ["arn:aws:iam::123456789012:role/my-service"]


def test_google_trades_the_token(provider: Provider) -> None:
    auth = ClientCredentials("my-service", "s3cret")
    TokenManager.start_link(name="google.token", issuer_url=provider.issuer_url, auth=auth)
    with Trade(GOOGLE) as sts:
        credentials = identity_pool.Credentials(
            audience="//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/o",
            subject_token_type="urn:ietf:params:oauth:token-type:jwt",
            token_url=sts.url,
            subject_token_supplier=SubjectToken("google.token"),
        )
        for _ in range(2):
            credentials.refresh(GoogleRequest())
            TokenManager.force_refresh("google.token", wait=True)
        assert credentials.token == "of-google"
        sent = [form["subject_token"][0] for form in sts.forms]
    assert len(set(sent)) == 2


# --- Kafka ----------------------------------------------------------------------------------------------------------------


def test_aiokafka_program(provider: Provider) -> None:
    made = program("aiokafka_program.py", provider)

    async def ask() -> str:
        producer = made.producer()
        token: str = await producer.client._sasl_oauth_token_provider.token()
        await producer.stop()
        return token

    assert asyncio.run(ask()) == TokenManager.get_access_token("kafka.token")


def test_confluent_kafka_program(provider: Provider) -> None:
    made = program(
        "confluent_kafka_program.py", provider, broker=f"kafka.example.com:9093=>127.0.0.1:{free_port()}",
        name='"oauth_cb": give_token=>"oauth_cb": lambda _: given.append(give_token(_)) or given[-1], "log_level": 0',
        given="def give_token=>given = []\n\ndef give_token",
    )  # fmt: skip
    producer = made.producer()
    eventually(lambda: producer.poll(0) or made.given, "the callback")
    token = TokenManager.source("kafka.token").token()
    assert token.expires_at is not None
    assert made.given[0] == (token.access_token, token.expires_at.timestamp())
