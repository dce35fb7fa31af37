"""Credentials and scopes in the forms in which they may be given."""

import pytest

from oidc_actor.credentials.grants import ClientCredentials, Password, RefreshToken, parse_auth
from oidc_actor.credentials.parameters import parse_scopes
from oidc_actor.values.errors import ConfigError

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("value", "scopes"),
    [
        (None, ()),
        ("", ()),
        ("openid", ("openid",)),
        ("openid profile email", ("openid", "profile", "email")),
        ("openid,profile,email", ("openid", "profile", "email")),
        (" openid ,\tprofile\n", ("openid", "profile")),
        (["openid", "profile"], ("openid", "profile")),
        (("b", "a"), ("b", "a")),
        ({"b", "a"}, ("a", "b")),
        ((one for one in "ab"), ("a", "b")),
        (["api://x/.default", "https://y/read|write"], ("api://x/.default", "https://y/read|write")),
        ([], ()),
    ],
)
def test_scopes_come_in_many_forms(value, scopes):
    assert parse_scopes(value) == scopes


@pytest.mark.parametrize("value", [5, b"openid", {"a": 1}, [5], [None], ["a b"], [""], ['a"b'], ["a\\b"], ["a\n"], "ä"])
def test_what_is_no_scope(value):
    with pytest.raises(ConfigError, match="scopes: expected"):
        parse_scopes(value)


@pytest.mark.parametrize(
    ("mapping", "credentials"),
    [
        (
            {"type": "oidc_client_credentials", "client_id": "id", "client_secret": "s", "scopes": ["a"]},
            ClientCredentials("id", "s", ("a",)),
        ),
        ({"type": "oidc_client_credentials", "client_id": "id", "scopes": None}, ClientCredentials("id")),
        (
            {"type": "oidc_password", "username": "u", "password": "p", "client_id": None, "client_secret": None},
            Password("u", "p"),
        ),
        (
            {"type": "oidc_password", "username": "u", "password": "p", "client_id": "id", "client_secret": "s",
             "scopes": "a b"},
            Password("u", "p", "id", "s", ("a", "b")),
        ),
        (
            {"type": "oidc_refresh_token", "refresh_token": "r", "client_id": "id", "audience": ["x"]},
            RefreshToken("r", "id", audience=("x",)),
        ),
        (
            {"type": "oidc_client_credentials", "client_id": "id", "client_secret": "s", "resource": "https://r",
             "extra": {"a": "b"}, "client_auth": "client_secret_post"},
            ClientCredentials("id", "s", resource="https://r", extra={"a": "b"}, client_auth="client_secret_post"),
        ),
    ],
)  # fmt: skip
def test_the_mapping_form(mapping, credentials):
    before = dict(mapping)
    assert parse_auth(mapping) == credentials
    assert mapping == before
    assert parse_auth(credentials) is credentials


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "auth: expected ClientCredentials, .*Custom, or a mapping with a 'type', got NoneType$"),
        ("hunter2", "auth: expected ClientCredentials.*got str"),
        ({}, "expected a 'type' of 'oidc_client_credentials', 'oidc_password', 'oidc_refresh_token', .*got NoneType"),
        ({"type": "oidc_magic"}, "got 'oidc_magic'"),
        ({"type": "hunter2 is my secret!"}, "got str"),
        ({"type": ["x"]}, "got list"),
        ({"type": "oidc_client_credentials"}, "client_id is missing"),
        ({"type": "oidc_client_credentials", "client_id": ""}, "client_id: expected a non-empty text"),
        ({"type": "oidc_password", "password": "hunter2"}, "username is missing"),
        ({"type": "oidc_password"}, "username, password is missing"),
        ({"type": "oidc_refresh_token", "client_id": "id"}, "refresh_token is missing"),
        (
            {"type": "oidc_client_credentials", "client_id": "id", "client_secrte": "hunter2"},
            "unknown option client_secrte; did you mean 'client_secret'[?]$",
        ),
        (
            {"type": "oidc_client_credentials", "client_id": "id", "pin": "hunter2"},
            "unknown option pin; the options are accept_token_types, assertion_audience, audience, body, client_assertion",
        ),
        ({"type": "oidc_password", "username": "u", "password": "hunter2", 5: 6}, "unknown option 5"),
    ],
)
def test_what_is_no_auth(value, message):
    with pytest.raises(ConfigError, match=message) as caught:
        parse_auth(value)
    assert SECRET not in str(caught.value)
    assert caught.value.__context__ is None
