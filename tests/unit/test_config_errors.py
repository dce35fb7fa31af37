"""A `ConfigError` names the option to change as a path, so that no program has to read the message."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from oidc_actor import (
    ClientCertificate,
    ClientCredentials,
    ConfigError,
    DPoPKey,
    OIDCConfig,
    Password,
    PrivateKey,
    RetryPolicy,
    SecretFile,
    SignedAssertion,
    TokenManager,
    TokenResponse,
    oidc,
)
from oidc_actor.manager.options import check_options

AUTH = ClientCredentials("id", "secret")
ISSUER = "https://id.example"
CLIENT = {"type": "oidc_client_credentials", "client_id": "id"}


def of_mapping(**members: Any) -> Callable[[], object]:
    return lambda: start(auth={**CLIENT, **members})


def start(**options: Any) -> object:
    return TokenManager.start_link(**{"auth": AUTH, "issuer_url": ISSUER, **options})


@pytest.mark.parametrize(
    ("wrong", "option"),
    [
        (lambda: start(isuer_url=ISSUER), ("isuer_url",)),
        (lambda: start(issuer_url=None), ("issuer_url",)),
        (lambda: start(oidc_config=OIDCConfig(token_endpoint=f"{ISSUER}/token")), ("oidc_config",)),
        (lambda: start(issuer_url="id.example"), ("issuer_url",)),
        (lambda: start(issuer_url=f"{ISSUER}?x"), ("issuer_url",)),
        (lambda: start(issuer_url=f"{ISSUER}/.well-known/openid-configuration"), ("issuer_url",)),
        (lambda: start(issuer_url=None, oidc_config={}), ("oidc_config",)),
        (lambda: start(issuer_url=None, oidc_config=OIDCConfig()), ("oidc_config", "token_endpoint")),
        (lambda: start(issuer_url=None, oidc_config=OIDCConfig(token_endpoint="x")), ("oidc_config", "token_endpoint")),
        (lambda: start(name=""), ("name",)),
        (lambda: start(refresh_buffer_seconds=-1), ("refresh_buffer_seconds",)),
        (lambda: start(timeout_seconds=0), ("timeout_seconds",)),
        (lambda: start(ca_bundle="/nowhere"), ("ca_bundle",)),
        (lambda: start(retry=5), ("retry",)),
        (lambda: start(allow_insecure_http=1), ("allow_insecure_http",)),
        (lambda: start(auth=None), ("auth",)),
        (lambda: start(auth={"type": "x"}), ("auth", "type")),
        (of_mapping(secret="s"), ("auth", "secret")),
        (of_mapping(client_id=None), ("auth", "client_id")),
        (of_mapping(client_id=5), ("auth", "client_id")),
        (of_mapping(client_secret=""), ("auth", "client_secret")),
        (of_mapping(scopes="a\x00b"), ("auth", "scopes")),
        (of_mapping(audience=[""]), ("auth", "audience")),
        (of_mapping(extra={"scope": "x"}), ("auth", "extra")),
        (of_mapping(extra={5: "x"}), ("auth", "extra")),
        (of_mapping(client_auth="basic"), ("auth", "client_auth")),
        (of_mapping(client_auth="client_secret_post"), ("auth", "client_auth")),
        (of_mapping(client_secret="s", client_assertion="a"), ("auth", "client_secret")),
        (of_mapping(private_key={"key": lambda: "k", "algorithm": "x"}), ("auth", "private_key", "algorithm")),
        (of_mapping(private_key={"key": ""}), ("auth", "private_key", "key")),
        (of_mapping(private_key={"kid": ""}), ("auth", "private_key")),
        (of_mapping(client_certificate={"cert_file": ""}), ("auth", "client_certificate", "cert_file")),
        (of_mapping(dpop="yes"), ("auth", "dpop")),
        (lambda: Password("u", "p", client_secret="s"), ("client_secret",)),
        (lambda: ClientCertificate("c", password=""), ("client_certificate", "password")),
        (lambda: PrivateKey("no key"), ("private_key", "key")),
        (lambda: DPoPKey("no key"), ("dpop", "private_key", "key")),
        (lambda: SignedAssertion("", issuer="i", audience="a"), ("private_key", "key")),
        (lambda: SecretFile(""), ("path",)),
        (lambda: RetryPolicy(initial_s=0), ("initial_s",)),
        (lambda: TokenResponse(""), ("access_token",)),
        (lambda: OIDCConfig.from_metadata({"issuer": 5}), ("metadata", "issuer")),
        (lambda: oidc.refresh_token(OIDCConfig(token_endpoint=ISSUER), "", AUTH), ("refresh_token",)),
        (lambda: oidc.get_token(OIDCConfig(token_endpoint=ISSUER), {}), ("auth", "type")),
        (lambda: TokenManager.get_token("nobody", timeout=-1), ("timeout",)),
    ],
)
def test_the_option_to_change(wrong: Callable[[], object], option: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        wrong()
    assert caught.value.option == option
    assert str(caught.value).endswith(caught.value.problem)


def test_a_wrong_option_of_the_credentials_is_named_as_a_path_from_auth() -> None:
    with pytest.raises(ConfigError) as caught:
        check_options({"auth": {**CLIENT, "client_id": ""}, "issuer_url": ISSUER})
    assert (str(caught.value), caught.value.option) == (
        "auth: client_id: expected a non-empty text, got ''",
        ("auth", "client_id"),
    )
