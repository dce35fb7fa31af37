"""Grants that trade a token: their parameters, their mistakes, and where what they trade comes from."""

import json
import pickle
import time
from datetime import date
from urllib.parse import parse_qsl

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey

from oidc_actor import TokenManager, oidc
from oidc_actor.credentials.grants import JWTBearer, TokenExchange, parse_auth
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.manager.options import check_options
from oidc_actor.secret_sources.github_actions import TOKEN_VARIABLE, URL_VARIABLE, GitHubActionsToken
from oidc_actor.secret_sources.manager_token import ManagerToken
from oidc_actor.secret_sources.signed_assertion import SignedAssertion
from oidc_actor.transport import Response, TransportError
from oidc_actor.values.errors import ConfigError, SecretUnavailable, TokenRequestError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, SecretFile, resolve_secret

CONFIG = OIDCConfig(issuer="https://id.example", token_endpoint="https://id.example/token")
KEY = ECKey.generate_key("P-256")
TYPE = "urn:ietf:params:oauth:token-type:"


class Noting:
    def __init__(self, **members):
        self.requests = []
        self._body = json.dumps({"access_token": "t", "expires_in": 60, **members})

    def __call__(self, request):
        self.requests.append(request)
        return Response(200, {}, self._body)

    def form(self):
        return parse_qsl(self.requests[-1].body.decode(), keep_blank_values=True)


def signed(life_s):
    return jwt.encode({"alg": "ES256"}, {"exp": time.time() + life_s}, KEY)


def test_the_parameters_of_jwt_bearer():
    noting = Noting()
    oidc.get_token(CONFIG, JWTBearer("the assertion", scopes="a b"), transport=noting)
    assert noting.form() == [
        ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"), ("assertion", "the assertion"), ("scope", "a b"),
    ]  # fmt: skip


def test_the_parameters_of_token_exchange():
    noting = Noting()
    auth = TokenExchange(
        lambda: "s", "id", subject_token_type="id_token", actor_token=Secret("a"), requested_token_type="urn:x:y",
        audience=("p", "q"), resource=["https://r", "https://s"], extra={"requested_token_use": "x"},
    )  # fmt: skip
    oidc.get_token(CONFIG, auth, transport=noting)
    assert noting.form() == [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", "s"), ("subject_token_type", TYPE + "id_token"),
        ("actor_token", "a"), ("actor_token_type", TYPE + "access_token"),
        ("requested_token_type", "urn:x:y"),
        ("audience", "p"), ("audience", "q"), ("resource", "https://r"), ("resource", "https://s"),
        ("requested_token_use", "x"), ("client_id", "id"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", [JWTBearer, TokenExchange])
def test_a_refresh_keeps_what_was_chosen_and_needs_nothing_to_trade(kind):
    def gone():
        raise AssertionError("read in vain")

    noting = Noting()
    auth = kind(gone, "id", "s", audience="p", resource=("https://r", "https://s"), extra={"x": "y"})
    oidc.refresh_token(CONFIG, "the refresh token", auth, transport=noting)
    assert noting.form() == [
        ("grant_type", "refresh_token"), ("refresh_token", "the refresh token"), ("audience", "p"),
        ("resource", "https://r"), ("resource", "https://s"), ("x", "y"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda text: JWTBearer(text), "assertion"),
        (lambda text: TokenExchange(lambda: text), "subject_token"),
        (lambda text: TokenExchange("s", actor_token=text), "actor_token"),
    ],
)
def test_what_has_expired_is_not_sent(make, name):
    noting = Noting()
    request_token(TokenRequest(noting, CONFIG, make(signed(60)), timeout_s=1.0))
    with pytest.raises(SecretUnavailable, match=f"^{name}: expected a token that is still valid, got one that expired"):
        request_token(TokenRequest(noting, CONFIG, make(signed(-60)), timeout_s=1.0))
    assert len(noting.requests) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JWTBearer(None), "assertion: expected a non-empty text"),
        (lambda: TokenExchange(5), "subject_token: expected a non-empty text"),
        (lambda: TokenExchange("s", subject_token_type=5), "subject_token_type: expected a text"),
        (lambda: TokenExchange("s", "", "secret"), "client_id: expected a non-empty text"),
        (lambda: TokenExchange("s", None, "secret"), "client_secret: expected a client_id beside it"),
        (lambda: parse_auth({"type": "oidc_token_exchange"}), "subject_token is missing"),
        (lambda: parse_auth({"type": "oidc_jwt_bearer", "client_id": "x"}), "assertion is missing"),
        (lambda: ManagerToken("x", "refresh_token"), "kind: expected 'access_token' or 'id_token'"),
        (lambda: ManagerToken(""), "server: expected the ref or the name of a TokenManager, got ''$"),
        (lambda: ManagerToken(5), "server: expected the ref or the name of a TokenManager, got int$"),
        (lambda: GitHubActionsToken(""), "audience: expected a non-empty text"),
        (lambda: GitHubActionsToken(timeout_seconds=0), "timeout_seconds: expected a positive"),
        (lambda: SignedAssertion(None, issuer="i", audience="a"), "private_key: expected a key, got None"),
        (lambda: SignedAssertion("hunter2", issuer="i", audience="a"), "private_key: expected a private key"),
        (lambda: own(issuer=""), "issuer: expected a non-empty text"),
        (lambda: own(claims={"exp": 5}), "claims: exp are set by the options"),
        (lambda: own(claims="abc"), "claims: expected a mapping, got str"),
        (lambda: own(claims={"on": date(2026, 1, 1)}), "claims: expected what JSON can say"),
        (lambda: own(claims={"x": float("nan")}), "claims: expected what JSON can say"),
        (lambda: own(lifetime_seconds=0.5), "lifetime_seconds: expected whole seconds"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert "hunter2" not in str(caught.value)


def test_the_mapping_forms():
    found = parse_auth({"type": "oidc_token_exchange", "subject_token": SecretFile("f"), "subject_token_type": "jwt"})
    assert found == TokenExchange(SecretFile("f"), subject_token_type=TYPE + "jwt")
    assert parse_auth({"type": "oidc_jwt_bearer", "assertion": SecretFile("f")}) == JWTBearer(SecretFile("f"))


# --- an assertion of one's own ----------------------------------------------------------------------------------------


def own(**options):
    key = options.pop("key", KEY.as_pem(private=True).decode())
    return SignedAssertion(key, **{"issuer": "me", "audience": "https://id.example/token", **options})


def test_an_assertion_of_ones_own_is_signed_anew_each_time():
    source = own(subject="you", claims={"scope": "a"}, lifetime_seconds=30)
    one, two = (jwt.decode(source.fetch().reveal(), KEY).claims for _ in range(2))
    assert one["jti"] != two["jti"]
    assert (one["iss"], one["sub"], one["aud"], one["scope"]) == ("me", "you", "https://id.example/token", "a")
    assert one["exp"] - one["iat"] == 30
    assert source == own(subject="you", claims={"scope": "a"}, lifetime_seconds=30)
    assert source != own(subject="you")


def test_its_keys_file_is_watched_and_read_each_time(tmp_path):
    source = own(key=SecretFile(tmp_path / "key"))
    with pytest.raises(
        SecretUnavailable, match=r"assertion cannot be read: private_key cannot be read: .*No such file"
    ):
        resolve_secret(source, "assertion")
    (tmp_path / "key").write_text(KEY.as_pem(private=True).decode())
    assert jwt.decode(source.fetch().reveal(), KEY).claims["sub"] == "me"
    options = check_options({"auth": JWTBearer(source), "issuer_url": "https://id.example"})
    assert options.secret_files == (SecretFile(tmp_path / "key"),)


# --- GitHub Actions ---------------------------------------------------------------------------------------------------


@pytest.fixture
def job(monkeypatch):
    monkeypatch.setenv(URL_VARIABLE, "https://run.actions.example/token?api-version=2")
    monkeypatch.setenv(TOKEN_VARIABLE, "hunter2")


def github(answer, audience=None):
    return GitHubActionsToken(audience, transport=answer).fetch()


@pytest.mark.usefixtures("job")
def test_a_job_asks_github_each_time():
    noting = Noting(value="the id token")
    source = GitHubActionsToken("api://AzureADTokenExchange", transport=noting)
    for _ in range(2):
        assert source.fetch() == Secret("the id token")
    one, two = noting.requests
    assert (
        one.url
        == two.url
        == "https://run.actions.example/token?api-version=2&audience=api%3A%2F%2FAzureADTokenExchange"
    )
    assert one.headers["Authorization"] == "Bearer hunter2"


def refusing(request):
    raise TransportError("POST https://x: no connection")


def raising(request):
    raise ValueError(request.headers)


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (lambda _: Response(403, {}, '{"value": "hunter2"}'), "got HTTP 403"),
        (lambda _: Response(200, {}, "hunter2"), "got HTTP 200"),
        (lambda _: Response(200, {}, '{"value": null}'), "from GitHub, got no text"),
        (lambda _: Response(200, {}, '{"value": {"a": 1}}'), "from GitHub, got no text"),
        (lambda _: Response(200, {}, ""), "HTTP 200 with something else: expected JSON, got an empty body"),
        (refusing, "GitHub did not answer: POST https://x: no connection"),
        (raising, "GitHub did not answer: the transport raised ValueError"),
    ],
)
def test_when_github_gives_none_it_says_why(answer, problem):
    found = github(answer)
    assert isinstance(found, str)
    assert problem in found
    assert "hunter2" not in found


def test_outside_a_job_it_says_what_is_missing(monkeypatch):
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert "id-token: write" in github(raising)
    monkeypatch.setenv(URL_VARIABLE, "http://run.actions.example")
    monkeypatch.setenv(TOKEN_VARIABLE, "hunter2")
    assert github(raising).startswith(f"{URL_VARIABLE}: expected https, got plain http")


# --- other managers ---------------------------------------------------------------------------------------------------


def test_a_manager_that_is_not_there_is_a_retryable_failure():
    with pytest.raises(SecretUnavailable, match="subject_token cannot be read: there is no manager nobody"):
        request_token(TokenRequest(None, CONFIG, TokenExchange(ManagerToken("nobody")), timeout_s=1.0))


@pytest.mark.parametrize("make", [lambda: ManagerToken("x"), lambda: GitHubActionsToken("x"), own])
def test_they_compare_by_value_and_credentials_of_them_refuse_pickling(make):
    assert TokenExchange(make()) == TokenExchange(make())
    assert hash(make()) == hash(make())
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(TokenExchange(make()))


@pytest.mark.parametrize("wanted", ["jwt", "id_token", "urn:ietf:params:oauth:token-type:id-jag"])
def test_what_was_asked_for_may_be_no_access_token_and_is_what_another_manager_trades(wanted):
    """RFC 8693 section 2.2.1; a chain over two providers has the first one's answer as the second one's assertion."""
    auth = TokenExchange("s", "id", requested_token_type=wanted)
    ref = TokenManager.start_link(auth=auth, oidc_config=CONFIG, transport=Noting(token_type="N_A"))
    try:
        assert TokenManager.get_token(ref).token_type == "N_A"
        assert resolve_secret(ManagerToken(ref)) == Secret("t")
    finally:
        TokenManager.stop(ref)


@pytest.mark.parametrize("wanted", [None, "access_token"])
def test_where_an_access_token_was_asked_for_nothing_else_is_taken(wanted):
    with pytest.raises(TokenRequestError, match="expected the token_type Bearer or DPoP, got 'N_A'"):
        oidc.get_token(
            CONFIG, TokenExchange("subject-1", "id", requested_token_type=wanted), transport=Noting(token_type="N_A")
        )
