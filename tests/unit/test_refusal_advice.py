"""What the refusal of a client says where the provider's metadata tell why."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from fakes import ScriptedTransport, failing, minted, refused
from pki import KINDS, pem

from oidc_actor import ClientCertificate, ClientCredentials, OIDCConfig, TokenManager, TokenRequestError
from oidc_actor.endpoints import token_endpoint as turns
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.oidc import get_token
from oidc_actor.protocol.error_response import SPACES
from oidc_actor.values.errors import NoTokenError

SECRET = "a secret that is long enough to sign with"
CERTIFICATE: dict[str, Any] = {"client_certificate": ClientCertificate(__file__)}
RSA = pem(KINDS["RSA"]())


def said(config: dict[str, Any], *args: Any, code: str = "invalid_client", status: int = 401, **proof: Any) -> str:
    """What the error says besides the provider's own words."""
    known = OIDCConfig(token_endpoint="https://id.example/token", **config)
    with pytest.raises(TokenRequestError) as caught:
        get_token(known, ClientCredentials("id", *args, **proof), transport=ScriptedTransport(refused(code, status)))
    assert caught.value.error == code
    return str(caught.value).partition(code)[2]


@pytest.mark.parametrize(
    ("listed", "proof", "says"),
    [
        (
            ["private_key_jwt", "tls_client_auth"],
            {"client_secret": SECRET},
            "; its metadata list private_key_jwt, tls_client_auth, not client_secret_basic: "
            "give the credentials a private_key or client_assertion, or a client_certificate",
        ),
        (
            ["client_secret_basic", "client_secret_post"],
            {"private_key": RSA},
            "; its metadata list client_secret_basic, client_secret_post, not private_key_jwt: "
            "give the credentials a client_secret",
        ),
        (
            ["tls_client_auth"],
            {"client_secret": SECRET, **CERTIFICATE},
            "; its metadata list tls_client_auth, not client_secret_basic: try client_auth='tls_client_auth'",
        ),
        (
            ["client_secret_post"],
            {"client_secret": SECRET, "client_auth": "client_secret_basic"},
            "; its metadata list client_secret_post, not client_secret_basic: try client_auth='client_secret_post'",
        ),
        (
            ["none"],
            {"client_secret": SECRET},
            "; its metadata list none, not client_secret_basic: give the credentials nothing but a client_id",
        ),
        (
            ["attest_jwt_client_auth", "evil\n2027 INFO all is well"],
            {"client_secret": SECRET},
            "; its metadata do not list client_secret_basic, nor any other method that there is here",
        ),
        (["client_secret_basic"], {}, "; its metadata list client_secret_basic, not none: give the credentials a client_secret"),
        (["client_secret_basic"], {"client_secret": SECRET}, ""),
        ([], {"client_secret": SECRET}, ""),
        (None, {"client_secret": SECRET}, ""),
    ],
)  # fmt: skip
def test_methods(listed: list[str] | None, proof: dict[str, Any], says: str) -> None:
    assert said({"token_endpoint_auth_methods_supported": listed}, **proof) == says


@pytest.mark.parametrize(
    ("listed", "proof", "says"),
    [
        (["ES256", "EdDSA"], {"private_key": RSA}, "; its metadata list signatures by ES256, EdDSA, not by RS256"),
        (["PS256"], {"private_key": RSA}, ""),
        (
            ["HS512"],
            {"client_secret": SECRET, "client_auth": "client_secret_jwt"},
            "; its metadata list signatures by HS512, not by HS256",
        ),
        (
            ["evil\n2027 INFO all is well"],
            {"private_key": RSA},
            "; its metadata list signatures by others, not by RS256",
        ),
        (["ES256"], {"client_assertion": lambda: "opaque"}, ""),
        (["ES256"], {"client_secret": SECRET}, ""),
        (None, {"private_key": RSA}, ""),
    ],
)
def test_signatures(listed: list[str] | None, proof: dict[str, Any], says: str) -> None:
    assert said({"token_endpoint_auth_signing_alg_values_supported": listed}, **proof) == says


@pytest.mark.parametrize(
    ("code", "status", "is_said"), [("unauthorized_client", 400, True), ("invalid_scope", 400, False)]
)
def test_only_where_the_client_is_refused(code: str, status: int, is_said: bool) -> None:
    listed = {"token_endpoint_auth_methods_supported": ["private_key_jwt"]}
    assert (said(listed, SECRET, code=code, status=status) != "") is is_said


def test_it_is_looked_for_only_where_the_client_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[object] = []
    monkeypatch.setattr(turns, "refusal_advice", lambda *given: looked.append(given))
    config, auth = OIDCConfig(token_endpoint="https://id.example/token"), ClientCredentials("id", SECRET)
    for answer in (minted(), failing(503), refused("invalid_scope", 400), refused("invalid_client", 401)):
        with contextlib.suppress(TokenRequestError):
            request_token(TokenRequest(ScriptedTransport(answer), config, auth, timeout_s=1.0))
    assert len(looked) == 1


def test_a_manager_hands_it_on() -> None:
    config = OIDCConfig(
        token_endpoint="https://id.example/token", token_endpoint_auth_methods_supported=("private_key_jwt",)
    )
    transport = ScriptedTransport()
    transport.default = refused("invalid_client", 401)
    ref = TokenManager.start_link(auth=ClientCredentials("id", SECRET), oidc_config=config, transport=transport)
    try:
        with pytest.raises(NoTokenError, match="its metadata list private_key_jwt, not client_secret_basic"):
            TokenManager.get_token(ref)
    finally:
        TokenManager.stop(ref)


@pytest.mark.parametrize("secret", [" hunter2", "hunter2 ", "hunter2\n", "\thunter2", "hunter2\u00a0"])
def test_a_secret_with_white_space_at_an_end(secret: str) -> None:
    told = said({}, client_secret=secret)
    assert told == f"; {SPACES.format('the client_secret')}"
    assert not said({}, client_secret="two words")
