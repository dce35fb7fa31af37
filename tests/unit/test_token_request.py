"""What goes over the connection for a token: grants, client authentication, parameters."""

import base64
from dataclasses import FrozenInstanceError
from urllib.parse import parse_qsl, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oidc_actor.credentials.grants import ClientCredentials, DeviceCode, Password, RefreshToken
from oidc_actor.credentials.keys import ClientCertificate
from oidc_actor.protocol.token_request import (
    SentSecrets,
    address_of,
    build_device_request,
    build_token_request,
    secrets_in,
    sent_in,
)
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import Secret, secret_problem

CONFIG = OIDCConfig(token_endpoint="https://id.example/token")
ENTRA_V2 = OIDCConfig(token_endpoint="https://login.microsoftonline.com/t/oauth2/v2.0/token")
ENTRA_V1 = OIDCConfig(token_endpoint="https://login.microsoftonline.com/t/oauth2/token")


def sent(auth, config=CONFIG, refresh_token=None):
    grant_secret = refresh_token or auth.grant_secret
    secrets = SentSecrets(auth.client_secret, grant_secret)
    request = build_token_request(config, auth, secrets, refreshing=refresh_token is not None, timeout_s=7.0)
    return request, parse_qsl(request.body.decode("ascii"), keep_blank_values=True, strict_parsing=True)


def test_the_frame_of_a_request():
    request, _ = sent(ClientCredentials("id", "s"))
    assert (request.method, request.url, request.timeout_s) == ("POST", "https://id.example/token", 7.0)
    assert request.headers["Accept"] == "application/json"
    assert request.headers["Content-Type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("auth", "parameters"),
    [
        (ClientCredentials("id", "s"), [("grant_type", "client_credentials")]),
        (
            ClientCredentials("id", "s", "a b"),
            [("grant_type", "client_credentials"), ("scope", "a b")],
        ),
        (
            ClientCredentials("id"),
            [("grant_type", "client_credentials"), ("client_id", "id")],
        ),
        (
            ClientCredentials("id", "s p+c&é", client_auth="client_secret_post"),
            [("grant_type", "client_credentials"), ("client_id", "id"), ("client_secret", "s p+c&é")],
        ),
        (
            Password("u@x", "p&w", "id", "s", ("a",)),
            [("grant_type", "password"), ("username", "u@x"), ("password", "p&w"), ("scope", "a")],
        ),
        (
            Password("u", "p", "id"),
            [("grant_type", "password"), ("username", "u"), ("password", "p"), ("client_id", "id")],
        ),
        (Password("u", "p"), [("grant_type", "password"), ("username", "u"), ("password", "p")]),
        (
            RefreshToken("r", "id", "s", ("a",)),
            [("grant_type", "refresh_token"), ("refresh_token", "r"), ("scope", "a")],
        ),
    ],
)
def test_the_parameters_of_each_grant(auth, parameters):
    assert sent(auth)[1] == parameters


@pytest.mark.parametrize(
    "auth",
    [
        ClientCredentials("id", "s", ("a",)),
        Password("u", "p", "id", "s", ("a",)),
        RefreshToken("old", "id", "s", ("a",)),
    ],
)
def test_a_refresh_carries_the_client_s_authentication_and_the_same_scopes(auth):
    request, parameters = sent(auth, refresh_token=Secret("r"))
    assert parameters == [("grant_type", "refresh_token"), ("refresh_token", "r"), ("scope", "a")]
    assert request.headers["Authorization"] == "Basic " + base64.b64encode(b"id:s").decode()


@pytest.mark.parametrize("refresh_token", [None, Secret("r")])
def test_chosen_parameters_go_with_every_grant_and_refresh(refresh_token):
    auth = ClientCredentials("id", "s", audience=("x", "y"), resource="https://r", extra={"k": "v", "l": ""})
    _, parameters = sent(auth, refresh_token=refresh_token)
    wanted = [("audience", "x"), ("audience", "y"), ("resource", "https://r"), ("k", "v"), ("l", "")]
    assert [one for one in parameters if one[0] not in {"grant_type", "refresh_token"}] == wanted


@pytest.mark.parametrize(
    ("client_id", "client_secret", "header"),
    [
        ("id", "secret", b"id:secret"),
        ("a:b", "c:d", b"a%3Ab:c%3Ad"),
        ("a b", "p+w", b"a%20b:p%2Bw"),
        ("ä", "100%", b"%C3%A4:100%25"),
        ("id", "s/l~a-s_h.", b"id:s%2Fl~a-s_h."),
        ("https://app.example/id", "s", b"https%3A%2F%2Fapp.example%2Fid:s"),
    ],
)
def test_both_halves_of_basic_are_percent_encoded(client_id, client_secret, header):
    request, parameters = sent(ClientCredentials(client_id, client_secret))
    assert base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")) == header
    assert not {"client_id", "client_secret"} & dict(parameters).keys()


@given(st.text(min_size=1).filter(lambda text: secret_problem(text) is None))
def test_any_secret_survives_the_way(secret):
    request, _ = sent(ClientCredentials("id", secret))
    _, _, encoded = base64.b64decode(request.headers["Authorization"].removeprefix("Basic ")).decode().partition(":")
    assert unquote(encoded) == secret
    _, parameters = sent(ClientCredentials("id", secret, client_auth="client_secret_post"))
    assert dict(parameters)["client_secret"] == secret


def test_nothing_is_redeemed_unless_it_is_asked_for():
    auth = Password("u", "p", "id")
    request = build_token_request(CONFIG, auth, SentSecrets(None, Secret("p")), timeout_s=7.0)
    assert dict(parse_qsl(request.body.decode("ascii")))["grant_type"] == "password"


def test_the_parameters_of_a_device_code():
    parameters = sent(DeviceCode(Secret("the code"), ClientCredentials("id")))[1]
    grant = ("grant_type", "urn:ietf:params:oauth:grant-type:device_code")
    assert parameters == [grant, ("device_code", "the code"), ("client_id", "id")]


def test_a_device_flow_begins_at_its_own_endpoint_with_what_was_chosen_and_no_grant():
    config = OIDCConfig(
        token_endpoint="https://id.example/token",
        device_authorization_endpoint="https://id.example/device",
        mtls_endpoint_aliases={"token_endpoint": "https://mtls.id.example/token"},
    )
    auth = ClientCredentials("id", scopes="a b", audience="x")
    secrets = SentSecrets(dpop_proof=Secret("proof"))
    request = build_device_request(config, auth, secrets, timeout_s=7.0)
    assert (request.method, request.url, request.timeout_s) == ("POST", "https://id.example/device", 7.0)
    assert parse_qsl(request.body.decode("ascii")) == [("scope", "a b"), ("audience", "x"), ("client_id", "id")]
    assert "DPoP" not in request.headers  # RFC 9449 proves the key at the token endpoint
    shown = ClientCredentials("id", client_certificate=ClientCertificate("cert.pem", "key.pem"))
    assert build_device_request(config, shown, SentSecrets(), timeout_s=7.0).url == "https://id.example/device"
    assert build_token_request(config, shown, SentSecrets(), timeout_s=7.0).url == "https://mtls.id.example/token"
    assert build_token_request(config, auth, SentSecrets(), timeout_s=7.0).url == "https://id.example/token"


def test_a_certificate_goes_with_the_request_that_shows_it():
    certificate = ClientCertificate("cert.pem", "key.pem")
    auth = ClientCredentials("id", client_certificate=certificate)
    assert build_token_request(CONFIG, auth, SentSecrets(), timeout_s=7.0).client_certificate is certificate
    assert build_token_request(CONFIG, ClientCredentials("id"), SentSecrets(), timeout_s=7.0).client_certificate is None


def test_a_secret_that_only_signs_is_not_sent():
    auth = ClientCredentials("id", "hunter2", client_auth="client_secret_jwt")
    secrets = SentSecrets(Secret("hunter2"), client_assertion=Secret("signed with it"))
    request = build_token_request(CONFIG, auth, secrets, timeout_s=7.0)
    assert dict(parse_qsl(request.body.decode("ascii")))["client_assertion"] == "signed with it"
    assert "hunter2" not in request.body.decode("ascii")
    assert "Authorization" not in request.headers


def test_a_proof_goes_in_the_header_of_the_one_request_it_is_for():
    auth = ClientCredentials("id", "s")
    request = build_token_request(CONFIG, auth, SentSecrets(Secret("s"), dpop_proof=Secret("proof")), timeout_s=7.0)
    assert request.headers["DPoP"] == "proof"
    assert "DPoP" not in build_token_request(CONFIG, auth, SentSecrets(Secret("s")), timeout_s=7.0).headers


def test_an_assertion_goes_beside_the_client_s_name_where_the_method_sends_one():
    auth = ClientCredentials("id", client_assertion=Secret("the assertion"))
    secrets = SentSecrets(client_assertion=Secret("the assertion"))
    request = build_token_request(CONFIG, auth, secrets, timeout_s=7.0)
    assert parse_qsl(request.body.decode("ascii")) == [
        ("grant_type", "client_credentials"),
        ("client_id", "id"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", "the assertion"),
    ]
    request = build_token_request(CONFIG, ClientCredentials("id"), secrets, timeout_s=7.0)
    assert parse_qsl(request.body.decode("ascii")) == [("grant_type", "client_credentials"), ("client_id", "id")]


def test_where_a_request_goes():
    auth = ClientCredentials("id")
    assert address_of(CONFIG, auth) == "https://id.example/token"
    assert address_of(CONFIG, auth, "device_authorization_endpoint") == ""


def test_the_method_follows_the_metadata():
    config = OIDCConfig(
        token_endpoint="https://id.example/token", token_endpoint_auth_methods_supported=("client_secret_post",)
    )
    request, parameters = sent(ClientCredentials("id", "s"), config)
    assert "Authorization" not in request.headers
    assert dict(parameters)["client_secret"] == "s"


@pytest.mark.parametrize(
    ("config", "auth", "scope", "resource"),
    [
        (ENTRA_V2, ClientCredentials("id", "s"), ["id/.default"], []),
        (ENTRA_V2, ClientCredentials("id", "s", "api://x/.default"), ["api://x/.default"], []),
        (ENTRA_V2, Password("u", "p", "id"), ["id/.default"], []),
        (ENTRA_V2, Password("u", "p"), [], []),
        (ENTRA_V1, ClientCredentials("id", "s"), [], ["id"]),
        (ENTRA_V1, ClientCredentials("id", "s", resource="https://graph"), [], ["https://graph"]),
        (ENTRA_V1, ClientCredentials("id", "s", "a"), ["a"], []),
        (CONFIG, ClientCredentials("id", "s"), [], []),
    ],
)
@pytest.mark.parametrize("refresh_token", [None, Secret("r")])
def test_entra_s_defaults(config, auth, scope, resource, refresh_token):
    _, parameters = sent(auth, config, refresh_token)
    assert [value for name, value in parameters if name == "scope"] == scope
    assert [value for name, value in parameters if name == "resource"] == resource


def test_every_secret_sent_is_known():
    auth = ClientCredentials("id", "s", extra={"otp": "8-digits", "yes": "seven-7"})
    assert secrets_in(auth) == (Secret("s"), Secret("8-digits"))
    request = build_token_request(CONFIG, auth, SentSecrets(Secret("s")), timeout_s=1.0)
    assert sent_in(request, SentSecrets(Secret("s"))) == (Secret("s"), Secret(base64.b64encode(b"id:s").decode()))
    secrets = SentSecrets(Secret("a"), Secret("b"), (Secret("c"),))
    assert secrets.all() == (Secret("a"), Secret("b"), Secret("c"))
    assert SentSecrets().all() == ()
    statements = SentSecrets(Secret("a"), Secret("b"), client_assertion=Secret("c"))
    assert statements.signed(of_grant=False) == (Secret("c"),)
    assert statements.signed(of_grant=True) == (Secret("c"), Secret("b"))
    with pytest.raises(FrozenInstanceError):
        secrets.extra = ()
    assert repr(SentSecrets(Secret("hunter2"))).count("hunter2") == 0
