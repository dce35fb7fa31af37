"""From options to credentials: what proves who the client is, in place of a secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from oidc_actor.cli.connection import connect, in_options
from oidc_actor.cli.options import ConnectionOptions
from oidc_actor.credentials.grants import ClientCredentials
from oidc_actor.credentials.keys import ClientCertificate, PrivateKey
from oidc_actor.values.errors import ConfigError, SecretUnavailable, TokenRequestError
from oidc_actor.values.secrets import SecretFile


@pytest.fixture(autouse=True)
def no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OIDC_CLIENT_SECRET", raising=False)


def credentials(**options: object) -> object:
    return connect(ConnectionOptions(issuer="https://id.example", client_id="me", **options)).auth


def test_a_key_stands_for_a_secret() -> None:
    key = PrivateKey(SecretFile("key.pem"), kid="1")
    assert credentials(private_key_file=Path("key.pem"), key_id="1") == ClientCredentials("me", private_key=key)


def test_a_certificate_stands_for_a_secret() -> None:
    found = credentials(client_cert=Path("c.pem"), client_key=Path("k.pem"))
    assert found == ClientCredentials("me", client_certificate=ClientCertificate("c.pem", "k.pem"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no client secret"),
        ({"key_id": "1", "client_auth": "none"}, "--key-id: expected --private-key-file"),
        ({"client_key": Path("k"), "client_auth": "none"}, "--client-key: expected --client-cert"),
    ],
)
def test_half_of_it_is_a_mistake(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        credentials(**options)


def test_what_to_try_is_said_in_options() -> None:
    def said(text: str) -> str:
        return in_options(TokenRequestError(text))

    assert said("try client_auth='client_secret_post'") == "try --client-auth 'client_secret_post'"
    assert said("name the provider's CA with ca_bundle") == "name the provider's CA with --ca-bundle"


@pytest.mark.parametrize(
    ("argument", "option"), [("private_key", "--private-key-file"), ("client_certificate", "--client-cert")]
)
def test_a_secret_that_cannot_be_read_is_named_by_its_option(argument: str, option: str) -> None:
    for rest in (" cannot be read: 'x'", ": expected a key"):
        assert in_options(SecretUnavailable(f"{argument}{rest}", option=argument)) == f"{option}{rest}"
    assert in_options(SecretUnavailable("reading the secrets took too long")) == "reading the secrets took too long"


@pytest.mark.parametrize(
    ("path", "option"),
    [
        (("issuer_url",), "--issuer: expected one"),
        (("oidc_config", "token_endpoint"), "--token-endpoint: expected one"),
        (("auth", "scopes"), "--scope: expected one"),
        (("auth", "private_key", "kid"), "--key-id: expected one"),
        (("auth", "private_key", "key"), "--private-key-file: expected one"),
        (("client_certificate",), "--client-cert: expected one"),
        (("rng",), "rng: expected one"),
        ((), "expected one"),
    ],
)
def test_an_error_names_the_option_of_the_command_line(path: tuple[str, ...], option: str) -> None:
    assert in_options(ConfigError("expected one", path)) == option


def test_an_insecure_issuer_is_told_the_option_that_allows_it() -> None:
    with pytest.raises(ConfigError) as caught:
        connect(ConnectionOptions(issuer="http://id.example", client_id="me", client_auth="none"))
    assert in_options(caught.value).startswith("--issuer: expected https")
    assert in_options(caught.value).endswith("use https, or --allow-insecure-http in a test setup")
