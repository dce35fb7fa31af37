"""The functions of `oidc_actor.oidc`, one request each, against the certified npm `oidc-provider`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from integration.code_flow import refresh_token_by_login
from integration.node_provider import CLIENTS, USER, NodeProvider

from oidc_actor import ClientCredentials, DiscoveryError, OIDCConfig, Password, RefreshToken, TokenRequestError
from oidc_actor.credentials.credentials import Credentials
from oidc_actor.http.client import RequestsTransport
from oidc_actor.oidc import discover, get_token, refresh_token
from oidc_actor.protocol.response_fields import read_claims
from oidc_actor.transport import Request, Response

OFFLINE = "openid offline_access"


@pytest.fixture
def config(npm_provider: NodeProvider) -> Iterator[OIDCConfig]:
    return discover(npm_provider.issuer_url)


def client(method: str, **changes: object) -> ClientCredentials:
    known = CLIENTS[method]
    options = {"client_auth": method, **changes}
    return ClientCredentials(known["client_id"], options.pop("client_secret", known["client_secret"]), **options)


def user(method: str, **changes: object) -> Password:
    known = CLIENTS[method]
    options = {"client_auth": method, "scopes": OFFLINE, **changes}
    password = options.pop("password", USER["password"])
    return Password(USER["name"], password, known["client_id"], known.get("client_secret"), **options)


def test_discovery(npm_provider: NodeProvider, config: OIDCConfig) -> None:
    assert config.issuer == npm_provider.issuer_url
    assert config.token_endpoint == f"{npm_provider.issuer_url}/token"
    assert "client_secret_post" in (config.token_endpoint_auth_methods_supported or ())


def test_discovery_of_a_server_that_says_nothing_of_openid(npm_provider: NodeProvider, config: OIDCConfig) -> None:
    http, asked = RequestsTransport(), []

    def transport(request: Request) -> Response:
        asked.append(request.url.removeprefix(npm_provider.issuer_url))
        return Response(404) if request.url.endswith("/openid-configuration") else http(request)

    assert discover(npm_provider.issuer_url, transport=transport) == config
    assert asked == ["/.well-known/openid-configuration", "/.well-known/oauth-authorization-server"]


def test_discovery_of_another_spelling_of_the_issuer_is_refused(npm_provider: NodeProvider) -> None:
    with pytest.raises(DiscoveryError, match="trailing slash") as caught:
        discover(npm_provider.issuer_url + "/")
    assert caught.value.retryable


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_client_credentials(config: OIDCConfig, method: str) -> None:
    token = get_token(config, client(method))
    assert (token.token_type, token.expires_in, token.refresh_token) == ("Bearer", 2, None)
    assert not token.expired()


def test_the_method_is_chosen_from_the_metadata(config: OIDCConfig) -> None:
    assert get_token(config, client("client_secret_basic", client_auth=None)).access_token


def test_a_resource_gets_a_signed_token_for_itself(config: OIDCConfig) -> None:
    token = get_token(config, client("client_secret_basic", resource="https://api.example", scopes="read"))
    claims = read_claims(token.access_token)
    assert (claims["aud"], claims["iss"], claims["scope"]) == ("https://api.example", config.issuer, "read")
    assert token.scope == "read"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post", "none"])
def test_password_and_the_refresh_token_it_brings(config: OIDCConfig, method: str) -> None:
    auth = user(method)
    first = get_token(config, auth)
    assert first.refresh_token
    second = refresh_token(config, first.refresh_token, auth)
    assert second.refresh_token not in (None, first.refresh_token)
    assert second.access_token != first.access_token
    assert second.id_token


def test_a_refresh_token_from_a_login_in_the_browser(npm_provider: NodeProvider, config: OIDCConfig) -> None:
    known = CLIENTS["client_secret_basic"]
    secret = refresh_token_by_login(npm_provider)
    auth = RefreshToken(secret, known["client_id"], known["client_secret"])
    token = get_token(config, auth)
    assert token.refresh_token not in (None, secret)
    with pytest.raises(TokenRequestError) as caught:
        get_token(config, auth)
    assert (caught.value.error, caught.value.permanent) == ("invalid_grant", True)


def test_a_reused_refresh_token_ends_its_family(config: OIDCConfig) -> None:
    auth = user("client_secret_basic")
    first = get_token(config, auth).refresh_token
    assert first is not None
    second = refresh_token(config, first, auth).refresh_token
    assert second is not None
    for dead in (first, second):
        with pytest.raises(TokenRequestError) as caught:
            refresh_token(config, dead, auth)
        assert caught.value.error == "invalid_grant"


@pytest.mark.parametrize("method", ["client_secret_basic", "client_secret_post"])
def test_a_wrong_secret_is_permanent_and_never_shown(config: OIDCConfig, method: str) -> None:
    with pytest.raises(TokenRequestError, match="invalid_client") as caught:
        get_token(config, client(method, client_secret="wrong-secret-text"))
    assert (caught.value.status, caught.value.permanent) == (401, True)
    assert "wrong-secret-text" not in f"{caught.value!r} {caught.value} {vars(caught.value)}"


@pytest.mark.parametrize(
    ("auth", "error", "permanent"),
    [
        (user("client_secret_basic", password="wrong"), "invalid_grant", True),
        (client("client_secret_basic", scopes="admin"), "invalid_scope", True),
        (client("client_secret_basic", resource="not a uri"), "invalid_target", False),
    ],
)
def test_other_refusals(config: OIDCConfig, auth: Credentials, error: str, permanent: bool) -> None:
    with pytest.raises(TokenRequestError) as caught:
        get_token(config, auth)
    assert (caught.value.error, caught.value.permanent) == (error, permanent)


def test_a_stopped_provider_is_retryable_and_a_started_one_answers(own_npm_provider: NodeProvider) -> None:
    config = discover(own_npm_provider.issuer_url)
    own_npm_provider.stop()
    with pytest.raises(TokenRequestError) as caught:
        get_token(config, client("client_secret_basic"))
    assert (caught.value.status, caught.value.retryable) == (None, True)
    with pytest.raises(DiscoveryError):
        discover(own_npm_provider.issuer_url)
    own_npm_provider.start()
    assert get_token(config, client("client_secret_basic")).access_token
