"""Discovery and tokens without an actor, over a scripted transport."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from urllib.parse import parse_qs, quote

import pytest

from oidc_actor import oidc
from oidc_actor.credentials.grants import ClientCredentials, Password, RefreshToken
from oidc_actor.endpoints.other_endpoints import request_metadata
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.transport import Response, TransportError
from oidc_actor.values.errors import ConfigError, DiscoveryError, OIDCActorError, SecretUnavailable, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, SecretFile

SECRET = "hunter2-the-secret"
ISSUER = "https://id.example"
CONFIG = OIDCConfig(token_endpoint="https://id.example/token")
AUTH = ClientCredentials("id", SECRET)
TOKEN = {"access_token": "at", "token_type": "Bearer", "expires_in": 3600}


class Provider:
    """A transport that keeps the requests and gives the answers in their order: a Response, an object, an exception."""

    def __init__(self, *answers):
        self.answers, self.requests = list(answers), []

    def __call__(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer if isinstance(answer, Response) else Response(200, {}, json.dumps(answer))

    @property
    def forms(self):
        return [{name: values[0] for name, values in parse_qs(one.body.decode()).items()} for one in self.requests]


def test_a_provider_is_discovered():
    provider = Provider({"issuer": ISSUER, "token_endpoint": "https://id.example/token"})
    config = oidc.discover(ISSUER, transport=provider, timeout_seconds=3)
    assert config == OIDCConfig(issuer=ISSUER, token_endpoint="https://id.example/token")
    [request] = provider.requests
    assert (request.method, request.url) == ("GET", ISSUER + "/.well-known/openid-configuration")
    assert request.timeout_s == 3.0


def test_ten_seconds_are_the_default():
    provider = Provider({"issuer": ISSUER, "token_endpoint": "https://x"}, TOKEN, TOKEN, TOKEN)
    oidc.discover(ISSUER, transport=provider)
    oidc.get_token(CONFIG, AUTH, transport=provider)
    oidc.refresh_token(CONFIG, "rt", AUTH, transport=provider)
    oidc.get_token(CONFIG, AUTH, transport=provider, timeout_seconds=0.5)
    assert [one.timeout_s for one in provider.requests] == [10.0, 10.0, 10.0, 0.5]


@pytest.mark.parametrize(
    "auth", [AUTH, {"type": "oidc_client_credentials", "client_id": "id", "client_secret": SECRET, "scopes": []}]
)
def test_credentials_get_a_token(auth):
    provider = Provider({**TOKEN, "refresh_token": "rt"})
    before = datetime.now(UTC)
    token = oidc.get_token(CONFIG, auth, transport=provider)
    assert (token.access_token, token.expires_in, token.refresh_token) == ("at", 3600, "rt")
    assert before <= token.issued_at <= datetime.now(UTC)
    assert provider.forms == [{"grant_type": "client_credentials"}]
    assert "Authorization" in provider.requests[0].headers


def test_a_password_gets_a_token():
    provider = Provider(TOKEN)
    auth = {"type": "oidc_password", "username": "u@x", "password": "p", "client_id": "id", "client_secret": None}
    assert oidc.get_token(CONFIG, auth, transport=provider).access_token == "at"
    assert provider.forms == [{"grant_type": "password", "username": "u@x", "password": "p", "client_id": "id"}]


def test_life_counts_from_the_start_of_the_request(monkeypatch):
    clock = [1_800_000_000.0]
    monkeypatch.setattr("time.time", lambda: clock[0])

    def slow(request):
        clock[0] += 8.0
        return Response(200, {}, json.dumps(TOKEN))

    assert oidc.get_token(CONFIG, AUTH, transport=slow).issued_at.timestamp() == 1_800_000_000.0


@pytest.mark.parametrize("refresh_token", ["rt", Secret("rt")])
@pytest.mark.parametrize("auth", [AUTH, Password("u", "p", "id", SECRET), RefreshToken("other", "id", SECRET)])
def test_a_refresh_carries_client_authentication_and_keeps_the_old_refresh_token(refresh_token, auth):
    provider = Provider(TOKEN, {**TOKEN, "refresh_token": "rt2"})
    kept = oidc.refresh_token(CONFIG, refresh_token, auth, transport=provider)
    rotated = oidc.refresh_token(CONFIG, refresh_token, auth, transport=provider)
    assert (kept.access_token, kept.refresh_token, rotated.refresh_token) == ("at", "rt", "rt2")
    assert provider.forms == [{"grant_type": "refresh_token", "refresh_token": "rt"}] * 2
    assert all("Authorization" in one.headers for one in provider.requests)


def test_a_refresh_reads_no_password():
    auth = Password("u", SecretFile("/nowhere"), "id")
    assert oidc.refresh_token(CONFIG, "rt", auth, transport=Provider(TOKEN)).access_token == "at"


@pytest.mark.parametrize(
    ("auth", "permanent"),
    [(Password("u", "p"), True), (RefreshToken("r", "id"), True), (AUTH, False)],
)
def test_an_invalid_grant(auth, permanent):
    refused = Response(400, {}, '{"error": "invalid_grant"}')
    with pytest.raises(TokenRequestError) as caught:
        oidc.get_token(CONFIG, auth, transport=Provider(refused))
    assert (caught.value.error, caught.value.permanent) == ("invalid_grant", permanent)
    with pytest.raises(TokenRequestError) as caught:
        oidc.refresh_token(CONFIG, "rt", auth, transport=Provider(refused))
    assert caught.value.retryable


def test_a_description_is_redacted_of_everything_that_was_sent():
    auth = Password("u", "pass-word", "id", SECRET, extra={"otp": "one-time-code"})
    description = f"pass-word {SECRET} one-time-code refresh-1 kept"
    refused = Response(400, {}, json.dumps({"error": "invalid_grant", "error_description": description}))
    with pytest.raises(TokenRequestError) as caught:
        oidc.get_token(CONFIG, auth, transport=Provider(refused))
    assert caught.value.error_description == "*** *** *** refresh-1 kept"  # of which it knows nothing
    with pytest.raises(TokenRequestError) as caught:
        oidc.refresh_token(CONFIG, "refresh-1", auth, transport=Provider(refused))
    assert caught.value.error_description == "*** *** *** *** kept"


@pytest.mark.parametrize("client_id", ["id", "my-app", "app", "a:b"])
@pytest.mark.parametrize("secret", [SECRET, f"{SECRET}%&", SECRET + "x"])
def test_a_description_that_repeats_the_basic_credentials_is_redacted(client_id: str, secret: str) -> None:
    def echo(request):
        sent = request.headers["Authorization"]
        told = {"error": "invalid_client", "error_description": f"bad {sent} in {quote(sent)}"}
        return Response(401, {}, json.dumps(told))

    with pytest.raises(TokenRequestError) as caught:
        oidc.get_token(CONFIG, ClientCredentials(client_id, secret), transport=echo)
    assert caught.value.error_description == "bad Basic *** in Basic%20***"


def test_a_description_that_repeats_the_live_token_is_redacted() -> None:
    refused = Response(400, {}, json.dumps({"error": "slow_down", "error_description": f"{SECRET} lives"}))
    with pytest.raises(TokenRequestError) as caught:
        request_token(
            TokenRequest(
                Provider(refused), CONFIG, ClientCredentials("id", "password-1"), timeout_s=1.0, known=(Secret(SECRET),)
            )
        )
    assert caught.value.error_description == "*** lives"


def test_a_secret_file_is_read_at_every_request(tmp_path):
    path = tmp_path / "secret"
    auth = ClientCredentials("id", SecretFile(path), client_auth="client_secret_post")
    provider = Provider(TOKEN, TOKEN)
    with pytest.raises(SecretUnavailable) as caught:
        oidc.get_token(CONFIG, auth, transport=provider)
    assert caught.value.retryable
    assert provider.requests == []
    for text in ("one\n", "two\n"):
        path.write_text(text)
        oidc.get_token(CONFIG, auth, transport=provider)
    assert [form["client_secret"] for form in provider.forms] == ["one", "two"]


def test_a_callable_is_called_once_for_each_request():
    calls = []

    def read():
        calls.append(1)
        return SECRET

    oidc.get_token(CONFIG, ClientCredentials("id", read), transport=Provider(TOKEN))
    assert len(calls) == 1


def run_discovery(transport):
    return request_metadata(transport, ISSUER, timeout_s=1.0)


def run_token(transport):
    return request_token(TokenRequest(transport, CONFIG, AUTH, timeout_s=1.0))


@pytest.mark.parametrize(("run", "kind"), [(run_discovery, DiscoveryError), (run_token, TokenRequestError)])
@pytest.mark.parametrize(
    ("answer", "message", "sent"),
    [
        (TransportError("connection refused", sent=False), "no answer: connection refused", False),
        (TransportError("timed out"), "no answer: timed out", True),
        (RuntimeError(SECRET), "no answer: the transport raised RuntimeError for Request", True),
        (OSError("x"), "the transport raised OSError", True),
    ],
)
def test_a_transport_that_fails(run, kind, answer, message, sent):
    with pytest.raises(kind) as caught:
        run(Provider(answer))
    assert message in str(caught.value)
    assert (caught.value.status, caught.value.retryable, caught.value.sent) == (None, True, sent)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(("run", "kind"), [(run_discovery, DiscoveryError), (run_token, TokenRequestError)])
def test_a_transport_that_returns_something_else(run, kind):
    with pytest.raises(kind, match="expected a Response from the transport, got tuple"):
        run(lambda request: (200, {}, b""))


def test_a_transport_s_own_text_is_redacted():
    with pytest.raises(TokenRequestError) as caught:
        run_token(Provider(TransportError(f"could not send {SECRET}")))
    assert str(caught.value) == "no answer: could not send ***"


def test_the_lifetime_s_source_is_told():
    assert run_token(Provider({"access_token": "at"})).lifetime_source == "default"
    assert run_token(Provider({"access_token": "at"})).lifetime_s == 300
    chosen = request_token(
        TokenRequest(Provider({"access_token": "at"}), CONFIG, AUTH, timeout_s=1.0, default_lifetime_s=60)
    )
    assert chosen.lifetime_s == chosen.token.expires_in == 60


GOOD = Provider(*[TOKEN] * 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: oidc.discover("id.example"), "issuer_url: expected an https URL"),
        (lambda: oidc.discover("http://id.example"), "issuer_url: expected https, got plain http"),
        (lambda: oidc.discover(ISSUER, timeout_seconds=0), "timeout_seconds: expected a positive number"),
        (lambda: oidc.discover(ISSUER, timeout_seconds=float("nan")), "timeout_seconds"),
        (lambda: oidc.discover(ISSUER, timeout_seconds=float("inf")), "timeout_seconds"),
        (lambda: oidc.discover(ISSUER, timeout_seconds=10**400), "timeout_seconds"),
        (lambda: oidc.discover(ISSUER, timeout_seconds=True), "timeout_seconds"),
        (lambda: oidc.discover(ISSUER, timeout_seconds="5"), "timeout_seconds"),
        (lambda: oidc.discover(ISSUER, transport="x"), "transport: expected a callable"),
        (lambda: oidc.discover(ISSUER, transport=GOOD, ca_bundle="/x"), "ca_bundle: expected None beside a transport"),
        (lambda: oidc.discover(ISSUER, ca_bundle="/nowhere"), "ca_bundle: expected PEM certificates"),
        (lambda: oidc.discover(ISSUER, ca_bundle=False), "TLS verification cannot be turned off"),
        (lambda: oidc.get_token(None, AUTH, transport=GOOD), "oidc_config: expected an OIDCConfig"),
        (lambda: oidc.get_token(OIDCConfig(), AUTH, transport=GOOD), "token_endpoint: expected an https URL, got none"),
        (lambda: oidc.get_token(CONFIG, None, transport=GOOD), "auth: expected ClientCredentials"),
        (lambda: oidc.get_token(CONFIG, {"type": "x"}, transport=GOOD), "expected a 'type'"),
        (
            lambda: oidc.refresh_token(CONFIG, "", AUTH, transport=GOOD),
            "refresh_token: expected a text, got empty text",
        ),
        (lambda: oidc.refresh_token(CONFIG, None, AUTH, transport=GOOD), "refresh_token: .* got NoneType"),
    ],
)
def test_arguments_are_checked_before_anything_is_sent(call, message):
    with pytest.raises(ConfigError, match=message):
        call()
    assert GOOD.requests == []


def test_plain_http_can_be_allowed():
    url = "http://id.example"
    provider = Provider({"issuer": url, "token_endpoint": url + "/token"}, TOKEN)
    config = oidc.discover(url, transport=provider, allow_insecure_http=True)
    with pytest.raises(ConfigError, match="plain http"):
        oidc.get_token(config, AUTH, transport=provider)
    assert oidc.get_token(config, AUTH, transport=provider, allow_insecure_http=True).access_token == "at"


def test_scopes_are_parsed_here_too():
    assert oidc.parse_scopes("openid,profile email") == ("openid", "profile", "email")


def test_the_http_client_is_imported_when_it_is_needed():
    script = (
        "import sys; sys.modules['oidc_actor'] = type(sys)('oidc_actor'); "
        f"sys.modules['oidc_actor'].__path__ = [{oidc.__file__.rpartition('/')[0]!r}]; "
        "from oidc_actor import http, oidc; assert 'requests' not in sys.modules and 'urllib3' not in sys.modules; "
        "http.default_transport(); assert 'urllib3' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)


def test_the_public_functions_raise_only_the_family():
    assert {oidc.discover, oidc.get_token, oidc.refresh_token}
    for answer in (Response(500), TransportError("x"), ValueError("x")):
        with pytest.raises(OIDCActorError):
            oidc.get_token(CONFIG, AUTH, transport=Provider(answer))
