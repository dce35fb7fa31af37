"""Metadata as a value, the addresses that secrets may go to, and what Entra wants."""

import copy
import dataclasses
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oidc_actor.protocol.token_request import default_parameters, is_entra
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.oidc_config import OIDCConfig, check_config
from oidc_actor.values.secrets import FrozenMapping
from oidc_actor.values.urls import check_issuer_url, check_url, is_loopback, url_problem

METADATA = {
    "issuer": "https://id.example",
    "token_endpoint": "https://id.example/token",
    "authorization_endpoint": "https://id.example/authorize",
    "userinfo_endpoint": "https://id.example/me",
    "jwks_uri": "https://id.example/jwks",
    "revocation_endpoint": "https://id.example/revoke",
    "introspection_endpoint": "https://id.example/introspect",
    "device_authorization_endpoint": "https://id.example/device",
    "token_endpoint_auth_methods_supported": ["client_secret_basic", "none"],
    "grant_types_supported": ["client_credentials"],
    "scopes_supported": ["openid"],
    "mtls_endpoint_aliases": {"token_endpoint": "https://mtls.id.example/token"},
    "something_else": {"deep": [1]},
}


def test_every_field_defaults_to_none():
    assert set(dataclasses.asdict(OIDCConfig()).values()) == {None}
    names = {one.name for one in dataclasses.fields(OIDCConfig)}
    assert names >= {"issuer", "token_endpoint", "authorization_endpoint", "userinfo_endpoint", "jwks_uri"}


def test_metadata_become_a_value():
    config = OIDCConfig.from_metadata(METADATA)
    assert config.issuer == "https://id.example"
    assert config.jwks_uri == "https://id.example/jwks"
    assert config.token_endpoint_auth_methods_supported == ("client_secret_basic", "none")
    assert config.mtls_endpoint_aliases == {"token_endpoint": "https://mtls.id.example/token"}
    assert check_config(config) is config
    assert config == OIDCConfig.from_metadata(dict(METADATA))
    assert hash(config) == hash(OIDCConfig.from_metadata(METADATA))
    assert copy.deepcopy(config) == pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.token_endpoint = "https://evil.example"
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.mtls_endpoint_aliases._items = {}


def test_null_and_empty_count_as_absent():
    config = OIDCConfig.from_metadata({"token_endpoint": "https://x", "jwks_uri": None, "userinfo_endpoint": ""})
    assert config == OIDCConfig(token_endpoint="https://x")


@pytest.mark.parametrize("value", [5, True, [], {}, ["https://x"], 1.5])
@pytest.mark.parametrize("name", [name for name, value in METADATA.items() if isinstance(value, str)])
def test_a_text_of_another_type_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"metadata: {name}: expected a text"):
        OIDCConfig.from_metadata({**METADATA, name: value})
    with pytest.raises(ConfigError, match=name):
        check_config(OIDCConfig(**{"token_endpoint": "https://x", name: value}))


@pytest.mark.parametrize("value", [5, "text", {}, [5], [None], [["x"]]])
@pytest.mark.parametrize("name", ["token_endpoint_auth_methods_supported", "grant_types_supported", "scopes_supported"])
def test_a_list_of_another_type_is_refused(name, value):
    with pytest.raises(ConfigError, match=f"metadata: {name}: expected a list of texts"):
        OIDCConfig.from_metadata({**METADATA, name: value})


@pytest.mark.parametrize("value", [5, "text", [], {"token_endpoint": 5}, {5: "https://x"}])
def test_aliases_of_another_type_are_refused(value):
    with pytest.raises(ConfigError, match="mtls_endpoint_aliases: expected an object of texts"):
        OIDCConfig.from_metadata({**METADATA, "mtls_endpoint_aliases": value})


@pytest.mark.parametrize("value", [None, "https://x", [], 5])
def test_metadata_that_are_no_object_are_refused(value):
    with pytest.raises(ConfigError, match="metadata: expected an object"):
        OIDCConfig.from_metadata(value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "oidc_config: expected an OIDCConfig, got NoneType"),
        (METADATA, "oidc_config: expected an OIDCConfig, got dict"),
        (OIDCConfig(), "oidc_config.token_endpoint: expected an https URL, got none"),
        (OIDCConfig(token_endpoint=""), "oidc_config.token_endpoint: expected an https URL"),
        (
            OIDCConfig(token_endpoint="http://id.example/t"),
            "oidc_config.token_endpoint: expected https, got plain http",
        ),
        (OIDCConfig(token_endpoint="https://x", jwks_uri="ftp://x"), "oidc_config.jwks_uri: expected an https URL"),
        (
            OIDCConfig(token_endpoint="https://x", mtls_endpoint_aliases={"token_endpoint": "http://x"}),
            r"oidc_config.mtls_endpoint_aliases\['token_endpoint'\]: expected https",
        ),
    ],
)
def test_a_configuration_is_checked_before_anything_starts(config, message):
    with pytest.raises(ConfigError, match=message):
        check_config(config)


def test_plain_http_can_be_allowed():
    config = OIDCConfig(token_endpoint="http://id.example/t")
    assert check_config(config, allow_insecure_http=True) is config
    assert check_url("http://id.example", "x", allow_insecure_http=True) == "http://id.example"


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example",
        "https://id.example/",
        "https://id.example:8443/realms/a",
        "https://id.example/t?p=policy",
        "https://[::1]:8443/t",
        "http://127.0.0.1:9",
        "http://127.8.9.10/t",
        "http://[::1]:9/t",
        "http://localhost/t",
        "HTTP://LOCALHOST:1/t",
        "HTTPS://ID.EXAMPLE",
    ],
)
def test_addresses_that_secrets_may_go_to(url):
    assert check_url(url, "token_endpoint") == url


@pytest.mark.parametrize(
    "url",
    [
        None,
        5,
        b"https://id.example",
        "",
        "id.example",
        "//id.example",
        "auth.example.com/realms",
        "ftp://id.example",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https:id.example",
        "http://id.example",
        "http://10.0.0.1",
        "http://0.0.0.0",
        "http://localhost.evil.example",
        "http://evil.localhost",
        "http://127.0.0.1.evil.example",
        "http://127.1",
        "http://2130706433",
        "http://[::ffff:10.0.0.1]",
        "https://id.example:notaport",
        "https://id.example:99999",
        "https://[::1",
        "https://id.example/#fragment",
        "https://id.example/a b",
        "https://id.example/\n",
        " https://id.example",
        "https://id.example\\@evil.example",
        "https://id.example/\x7f",
        "https://ïd.example",
        "https://id.example/\ud800",
    ],
)
def test_addresses_that_secrets_never_go_to(url):
    with pytest.raises(ConfigError, match="token_endpoint: expected"):
        check_url(url, "token_endpoint")


@pytest.mark.parametrize("url", ["https://user:hunter2@id.example", "https://hunter2@id.example/"])
def test_an_address_with_user_information_is_not_shown(url):
    with pytest.raises(ConfigError, match="without user information") as caught:
        check_url(url, "issuer_url")
    assert "hunter2" not in str(caught.value)


@given(st.text() | st.builds("https://{}".format, st.text()) | st.builds("http://{}".format, st.text()))
def test_any_text_is_judged(url):
    problem = url_problem(url)
    assert problem is None or problem.startswith("expected ")


@pytest.mark.parametrize("url", ["https://id.example", "https://id.example/", "https://id.example/realms/a"])
def test_an_issuer(url):
    assert check_issuer_url(url) == url


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://id.example/.well-known/openid-configuration", "leave '/.well-known/openid-configuration' out"),
        ("https://id.example/r/.well-known/openid-configuration/", "leave '/.well-known/openid-configuration' out"),
        ("https://id.example?x=hunter2", "without a query"),
        ("id.example", "issuer_url: expected an https URL"),
        ("http://id.example", "allow_insecure_http"),
        (None, "issuer_url: expected an https URL, got NoneType"),
    ],
)
def test_what_is_no_issuer(url, message):
    with pytest.raises(ConfigError, match=message) as caught:
        check_issuer_url(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(("host", "loopback"), [("localhost", True), ("LocalHost", True), ("a.localhost", False)])
def test_loopback_names(host, loopback):
    assert is_loopback(host) is loopback


@pytest.mark.parametrize(
    ("endpoint", "parameters"),
    [
        ("https://login.microsoftonline.com/t/oauth2/v2.0/token", {"scope": "id/.default"}),
        ("https://login.microsoftonline.com/t/oauth2/token", {"resource": "id"}),
        ("https://login.microsoftonline.com/t/oauth2/token/", {"resource": "id"}),
        ("https://login.microsoftonline.us/t/oauth2/v2.0/token", {"scope": "id/.default"}),
        ("https://login.partner.microsoftonline.cn/t/oauth2/v2.0/token", {"scope": "id/.default"}),
        ("https://LOGIN.microsoft.com/t/oauth2/token", {"resource": "id"}),
        ("https://westus.login.microsoft.com/t/oauth2/v2.0/token", {"scope": "id/.default"}),
        ("https://sts.windows.net/t/oauth2/token", {"resource": "id"}),
        ("https://contoso.ciamlogin.com/t/oauth2/v2.0/token", {"scope": "id/.default"}),
        ("https://id.example/oauth2/token", {}),
        ("https://id.example/login.microsoftonline.com/oauth2/token", {}),
        ("https://login.microsoftonline.com.evil.example/t/oauth2/token", {}),
        ("https://evillogin.microsoft.com/t/oauth2/token", {}),
    ],
)
def test_what_entra_wants_where_no_scope_is_named(endpoint, parameters):
    assert default_parameters(endpoint, "id") == parameters
    assert is_entra(endpoint) is bool(parameters)
    assert default_parameters(endpoint, None) == {}


def test_a_frozen_mapping_is_a_value():
    one = FrozenMapping({"a": "1"})
    assert one == {"a": "1"}
    assert one == copy.deepcopy(one) == copy.copy(one) == pickle.loads(pickle.dumps(one))
    assert (len(one), list(one), one["a"], hash(one)) == (1, ["a"], "1", hash(FrozenMapping({"a": "1"})))
    assert repr(one) == "FrozenMapping({'a': '1'})"
