"""The identity that a place gives to a program: from metadata servers and a SPIFFE Workload API, each a stand-in on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import grpc
import pytest
from fakes import ISSUER, ScriptedTransport, form_of
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from processes import NEEDS_FORK, in_child

from oidc_actor import (
    AzureMetadataToken,
    ClientCredentials,
    ConfigError,
    GitHubActionsToken,
    GoogleMetadataToken,
    OIDCConfig,
    SecretFile,
    SpiffeJWT,
    TokenExchange,
    TokenRequestError,
    WorkloadIdentity,
    oidc,
)
from oidc_actor.secret_sources import spiffe, workload_identity
from oidc_actor.transport import Request, Response, TransportError
from oidc_actor.values.secrets import Secret

CONFIG = OIDCConfig(token_endpoint=f"{ISSUER}/token")
SECRET = "hunter2-of-the-machine"

VARIABLES = [
    "SPIFFE_ENDPOINT_SOCKET", "ACTIONS_ID_TOKEN_REQUEST_URL", "ACTIONS_ID_TOKEN_REQUEST_TOKEN", "AZURE_FEDERATED_TOKEN_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE", "IDENTITY_ENDPOINT", "IDENTITY_HEADER", "GCE_METADATA_HOST", "K_SERVICE",
]  # fmt: skip


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that says nothing of itself."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(workload_identity, "FIRMWARE", tmp_path / "firmware")


# --- metadata servers ---------------------------------------------------------------------------------------------------


def google(request: Request) -> Response:
    """Google's: without its header it refuses, and its answers have it, too."""
    parts = urlsplit(request.url)
    assert (parts.scheme, parts.hostname) == ("http", "metadata.google.internal")
    assert parts.path == "/computeMetadata/v1/instance/service-accounts/default/identity"
    if request.headers.get("Metadata-Flavor") != "Google":
        return Response(403)
    assert parse_qs(parts.query) == {"audience": ["https://me?x=1"], "format": ["full"]}
    return Response(200, {"Metadata-Flavor": "Google"}, "the.google.token\n")


def azure(request: Request) -> Response:
    """Azure's on a virtual machine."""
    parts, query = urlsplit(request.url), parse_qs(urlsplit(request.url).query)
    if request.headers.get("Metadata") != "true":
        return Response(
            400, {}, '{"error": "bad_request_102", "error_description": "Required metadata header not specified"}'
        )
    assert (parts.scheme, parts.hostname, parts.path) == ("http", "169.254.169.254", "/metadata/identity/oauth2/token")
    assert query["api-version"] == ["2018-02-01"]
    if query.get("client_id") == ["unknown"]:
        return Response(400, {}, '{"error": "invalid_request", "error_description": "Identity not found"}')
    return Response(200, {}, json.dumps({"access_token": f"for {query['resource'][0]}", "expires_in": "3599"}))


def app_service(request: Request) -> Response:
    query = parse_qs(urlsplit(request.url).query)
    assert request.url.startswith("http://127.0.0.1:41056/msi/token?")
    assert query == {"api-version": ["2019-08-01"], "resource": ["api://AzureADTokenExchange"]}
    return (
        Response(200, {}, '{"access_token": "of-the-app"}')
        if request.headers["X-IDENTITY-HEADER"] == SECRET
        else Response(401)
    )


def test_googles(monkeypatch: pytest.MonkeyPatch) -> None:
    source = GoogleMetadataToken("https://me?x=1", transport=google)
    assert source.fetch() == Secret("the.google.token")
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:8")
    asked: list[str] = []
    GoogleMetadataToken("a", transport=lambda request: asked.append(request.url) or Response(500)).fetch()
    assert asked[0].startswith("http://127.0.0.1:8/computeMetadata/")


def test_azures(monkeypatch: pytest.MonkeyPatch) -> None:
    assert AzureMetadataToken(transport=azure).fetch() == Secret("for api://AzureADTokenExchange")
    assert AzureMetadataToken("api://x", transport=azure).fetch() == Secret("for api://x")
    told = AzureMetadataToken(client_id="unknown", transport=azure).fetch()
    assert told == "expected a token from Azure's metadata server, got HTTP 400 invalid_request"
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1:41056/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", SECRET)
    assert AzureMetadataToken(transport=app_service).fetch() == Secret("of-the-app")
    monkeypatch.setenv("IDENTITY_ENDPOINT", "file:///etc/passwd")
    assert AzureMetadataToken(transport=app_service).fetch() == "IDENTITY_ENDPOINT: expected an address"


def unreachable(_: Request) -> Response:
    raise TransportError("timed out")


def broken(_: Request) -> Response:
    raise RuntimeError(SECRET)


@pytest.mark.parametrize(
    ("transport", "says"),
    [
        (unreachable, "did not answer: timed out"),
        (broken, "did not answer: the transport raised RuntimeError"),
        (lambda _: Response(404, {}, SECRET), "HTTP 404"),
        (lambda _: Response(302, {"Location": SECRET}), "HTTP 302"),
        (lambda _: Response(200, {"Metadata-Flavor": "Google"}, ""), "got "),
        (lambda _: Response(200, {}, f"<html>{SECRET}"), "got "),
    ],
)
@pytest.mark.parametrize("kind", [GoogleMetadataToken, AzureMetadataToken])
def test_what_a_metadata_server_does_wrong(kind: Any, transport: Any, says: str) -> None:
    told = kind("a", transport=transport).fetch()
    assert isinstance(told, str)
    assert says in told
    assert SECRET not in told
    with pytest.raises(TokenRequestError, match="subject_token cannot be read") as caught:
        oidc.get_token(CONFIG, TokenExchange(kind("a", transport=transport)), transport=ScriptedTransport())
    assert caught.value.retryable


@pytest.mark.P9
def test_a_metadata_server_is_asked_without_a_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment would be told the machine's identity."""
    from oidc_actor.http import direct_transport

    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    transport: Any = direct_transport()
    assert transport._proxy("http://metadata.google.internal/") is None
    assert transport is direct_transport()


def test_each_is_compared_by_what_it_asks_for() -> None:
    assert GoogleMetadataToken("a") == GoogleMetadataToken("a") != GoogleMetadataToken("b")
    assert AzureMetadataToken("a") != GoogleMetadataToken("a")
    assert AzureMetadataToken("a", client_id="x") != AzureMetadataToken("a")
    assert len({GoogleMetadataToken("a"), GoogleMetadataToken("a"), AzureMetadataToken("a")}) == 2
    with pytest.raises(ConfigError, match="audience: expected a non-empty text"):
        GoogleMetadataToken("")


# --- SPIFFE -------------------------------------------------------------------------------------------------------------


def _messages() -> tuple[Any, Any]:
    """The two messages of workload.proto, as protobuf's own library writes and reads them."""
    file = descriptor_pb2.FileDescriptorProto(name="workload.proto", syntax="proto3")

    def message(name: str, **texts: tuple[int, bool, str | None]) -> None:
        made = file.message_type.add(name=name)
        for field, (number, repeated, kind) in texts.items():
            added = made.field.add(
                name=field, number=number, label=3 if repeated else 1, type=9 if kind is None else 11
            )
            if kind is not None:
                added.type_name = f".{kind}"

    message("JWTSVIDRequest", audience=(1, True, None), spiffe_id=(2, False, None))
    message("JWTSVID", spiffe_id=(1, False, None), svid=(2, False, None), hint=(3, False, None))
    message("JWTSVIDResponse", svids=(1, True, "JWTSVID"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = [pool.FindMessageTypeByName(name) for name in ("JWTSVIDRequest", "JWTSVIDResponse")]
    return message_factory.GetMessageClass(made[0]), message_factory.GetMessageClass(made[1])


ASKED, ANSWERED = _messages()


class Agent(grpc.GenericRpcHandler):
    """A Workload API: refuses what has not its header, and programs that it does not know."""

    def __init__(self, folder: Path) -> None:
        self.knows, self.answer = True, lambda asked: self._svids(asked)
        self.asked: list[Any] = []
        self.socket = f"unix://{folder}/agent.sock"
        self._server = grpc.server(ThreadPoolExecutor(2))
        self._server.add_generic_rpc_handlers((self,))
        self._server.add_insecure_port(self.socket)
        self._server.start()

    def service(self, details: Any) -> Any:
        if details.method != "/SpiffeWorkloadAPI/FetchJWTSVID":
            return None
        return grpc.unary_unary_rpc_method_handler(self._fetch)

    def _fetch(self, content: bytes, context: Any) -> bytes:
        if ("workload.spiffe.io", "true") not in [(one.key, one.value) for one in context.invocation_metadata()]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing from request")
        if not self.knows:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
        asked = ASKED.FromString(content)
        self.asked.append(asked)
        return self.answer(asked)

    @staticmethod
    def _svids(asked: Any) -> bytes:
        answer = ANSWERED()
        for number in range(2):
            svid = f"svid-{number}-for-{asked.audience[0]}" + "x" * 300
            answer.svids.add(spiffe_id=asked.spiffe_id or f"spiffe://x/{number}", svid=svid, hint="internal")
        return answer.SerializeToString()

    def close(self) -> None:
        self._server.stop(0).wait(5)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path)
    yield made
    made.close()


def svid(audience: str) -> Secret:
    return Secret(f"svid-0-for-{audience}" + "x" * 300)


def test_a_jwt_svid_is_asked_for_whenever_it_is_read(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", agent.socket)
    source = SpiffeJWT("https://auth.example.com")
    assert [source.fetch(), source.fetch()] == [svid("https://auth.example.com")] * 2
    assert [(list(one.audience), one.spiffe_id) for one in agent.asked] == [(["https://auth.example.com"], "")] * 2
    long = "a" * 400
    assert SpiffeJWT(long, spiffe_id="spiffe://x/y", socket=agent.socket).fetch() == svid(long)
    assert agent.asked[-1].spiffe_id == "spiffe://x/y"


def test_a_client_authenticates_with_it(agent: Agent) -> None:
    for given, kind in ((None, "jwt-spiffe"), ("jwt-bearer", "jwt-bearer")):
        more = {} if given is None else {"assertion_type": given}
        auth = ClientCredentials("id", client_assertion=SpiffeJWT("a", socket=agent.socket, **more))
        transport = ScriptedTransport()
        oidc.get_token(CONFIG, auth, transport=transport)
        form = form_of(transport.requests[0])
        assert form["client_assertion_type"] == f"urn:ietf:params:oauth:client-assertion-type:{kind}"
        assert form["client_assertion"] == svid("a").reveal()


def test_what_the_workload_api_says_or_does_wrong(agent: Agent, tmp_path: Path) -> None:
    source = SpiffeJWT("a", socket=agent.socket, timeout_seconds=5)
    agent.knows = False
    assert (
        source.fetch() == "the SPIFFE Workload API answered PERMISSION_DENIED: no entry is registered for this program"
    )
    agent.knows = True
    answers: list[tuple[bytes, str]] = [
        (b"", "got none"),
        (b"\x0a\xff", "something else"),
        (b"\x0a", "something else"),
        (b"\xff" * 20, "something else"),
        (b"\x0a\x04\x12\x02\xff\xfe", "something else"),
        (b"\x0a\x02\x12\x00", "empty text"),
        (b"\x08\x01" + b"\x11" + b"8" * 8 + b"\x15" + b"4" * 4 + b"\x0a\x05\x12\x03abc", "abc"),
    ]
    for content, says in answers:
        agent.answer = lambda _, content=content: content
        found = source.fetch()
        assert says in (found.reveal() if isinstance(found, Secret) else found)
    assert "answered UNAVAILABLE" in str(SpiffeJWT("a", socket=f"unix://{tmp_path}/gone.sock").fetch())
    assert "SPIFFE_ENDPOINT_SOCKET is not set" in str(SpiffeJWT("a").fetch())


def test_an_agent_that_does_not_answer_is_given_up(agent: Agent) -> None:
    over = threading.Event()
    agent.answer = lambda _: over.wait(10) and b""
    assert SpiffeJWT("a", socket=agent.socket, timeout_seconds=0.1).fetch() == (
        "the SPIFFE Workload API answered DEADLINE_EXCEEDED"
    )
    over.set()


def test_what_is_no_spiffe_source(monkeypatch: pytest.MonkeyPatch) -> None:
    mistakes: list[tuple[Callable[[], object], str]] = [
        (lambda: SpiffeJWT(""), "audience: expected a non-empty text"),
        (lambda: SpiffeJWT("a", spiffe_id="example.org/billing"), "spiffe_id: expected an identity such as 'spiffe://"),
        (lambda: SpiffeJWT("a", socket="/run/agent.sock"), "socket: expected an address such as unix:///run/spire"),
        (lambda: SpiffeJWT("a", assertion_type="x"), "assertion_type: expected 'jwt-spiffe' or 'jwt-bearer'"),  # type: ignore[arg-type]
    ]
    for make, says in mistakes:
        with pytest.raises(ConfigError, match=says):
            make()
    monkeypatch.setenv("SPIFFE_ENDPOINT_SOCKET", "/run/agent.sock")
    assert "SPIFFE_ENDPOINT_SOCKET: expected an address" in str(SpiffeJWT("a").fetch())
    assert SpiffeJWT("a") == SpiffeJWT("a") != SpiffeJWT("a", spiffe_id="spiffe://x")
    monkeypatch.setitem(__import__("sys").modules, "grpc", None)
    with pytest.raises(ConfigError, match=r"SpiffeJWT needs the package grpcio: pip install 'oidc-actor\[spiffe\]'"):
        SpiffeJWT("a")
    with pytest.raises(ConfigError, match=r"SpiffeJWT needs the package grpcio: pip install 'oidc-actor\[spiffe\]'"):
        WorkloadIdentity.detect("a")  # where SPIFFE's variable is set


def test_an_address_of_tcp_is_gRPCs_without_its_scheme() -> None:
    assert spiffe._target("tcp://127.0.0.1:8081") == "127.0.0.1:8081"


# --- what is found ------------------------------------------------------------------------------------------------------

FOUND: list[tuple[dict[str, str], str, Any]] = [
    ({"SPIFFE_ENDPOINT_SOCKET": "unix:///x"}, "SPIFFE (SPIFFE_ENDPOINT_SOCKET)", SpiffeJWT("a")),
    (
        {"ACTIONS_ID_TOKEN_REQUEST_URL": "https://x", "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"},
        "GitHub Actions (ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN)",
        GitHubActionsToken("a"),
    ),
    ({"AZURE_FEDERATED_TOKEN_FILE": "/x"}, "Azure Kubernetes Service (AZURE_FEDERATED_TOKEN_FILE)", SecretFile("/x")),
    ({"AWS_WEB_IDENTITY_TOKEN_FILE": "/y"}, "AWS (EKS) (AWS_WEB_IDENTITY_TOKEN_FILE)", SecretFile("/y")),
    (
        {"IDENTITY_ENDPOINT": "http://x", "IDENTITY_HEADER": "h"},
        "Azure App Service (IDENTITY_ENDPOINT and IDENTITY_HEADER)",
        AzureMetadataToken("a"),
    ),
    ({"GCE_METADATA_HOST": "h"}, "Google Cloud (GCE_METADATA_HOST)", GoogleMetadataToken("a")),
    ({"K_SERVICE": "billing"}, "Google Cloud Run (K_SERVICE)", GoogleMetadataToken("a")),
]


@pytest.mark.parametrize(("variables", "found", "source"), FOUND)
def test_what_is_found(variables: dict[str, str], found: str, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    identity = WorkloadIdentity.detect("a")
    assert (identity.found, identity.source) == (found, source)
    assert (identity.files, identity.assertion_type) == (source.files, source.assertion_type)
    assert repr(identity) == f"WorkloadIdentity({found!r})"
    assert identity == WorkloadIdentity.detect("a")


def test_what_is_found_by_the_machines_maker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    firmware = tmp_path / "firmware"
    firmware.mkdir()
    with pytest.raises(
        ConfigError, match="WorkloadIdentity: expected a place that gives programs an identity, found none"
    ):
        WorkloadIdentity.detect("a")
    (firmware / "chassis_asset_tag").write_text("7783-7084-3265-9085-8269-3286-77\n")
    assert WorkloadIdentity.detect("a").source == AzureMetadataToken("a")
    (firmware / "product_name").write_text("Google Compute Engine\n")
    assert WorkloadIdentity.detect("a").source == GoogleMetadataToken("a")
    with pytest.raises(ConfigError, match="audience: expected a non-empty text"):
        WorkloadIdentity.detect("")


def test_what_is_found_is_read_at_every_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(file))
    auth = ClientCredentials("id", client_assertion=WorkloadIdentity.detect("a"))
    transport = ScriptedTransport()
    with pytest.raises(TokenRequestError, match=r"client_assertion cannot be read: AWS \(EKS\) .*No such file"):
        oidc.get_token(CONFIG, auth, transport=transport)
    for text in ("first", "second"):
        file.write_text(text)
        oidc.get_token(CONFIG, auth, transport=transport)
    assert [form["client_assertion"] for form in transport.forms] == ["first", "second"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@NEEDS_FORK[0]
def test_an_agent_that_is_back_is_connected_to_within_a_second_or_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import grpc

    made: list[Any] = []
    real = grpc.insecure_channel
    monkeypatch.setattr(
        grpc, "insecure_channel", lambda target, options: made.append(dict(options)) or real(target, options)
    )
    SpiffeJWT("a", socket="unix:///nowhere/back-again.sock", timeout_seconds=1).fetch()
    assert made[0]["grpc.max_reconnect_backoff_ms"] == 1000


def test_a_forked_child_has_channels_of_its_own() -> None:
    spiffe._channel("unix:///nowhere")
    in_child(lambda: None if not spiffe._channels.value else pytest.fail("those of its parent"))
