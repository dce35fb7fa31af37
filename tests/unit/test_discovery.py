"""Discovery: where metadata are, and which of them can be trusted."""

import json
import re
from dataclasses import fields
from types import SimpleNamespace

import pytest
from responses import ISSUER, METADATA, discovered

from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.credentials.grants import ClientCredentials
from oidc_actor.endpoints.other_endpoints import request_device_authorization
from oidc_actor.oidc import get_token, revoke_token
from oidc_actor.protocol.metadata import build_metadata_request, discovery_url, parse_discovery
from oidc_actor.protocol.token_request import address_of
from oidc_actor.transport import MAX_BODY_BYTES, Response
from oidc_actor.values.errors import DiscoveryError, UnusableMetadata
from oidc_actor.values.oidc_config import OIDCConfig, check_config

pytestmark = pytest.mark.P7


@pytest.mark.parametrize(
    ("issuer_url", "url"),
    [
        ("https://id.example", "https://id.example/.well-known/openid-configuration"),
        ("https://id.example/", "https://id.example/.well-known/openid-configuration"),
        ("https://id.example/realms/a", "https://id.example/realms/a/.well-known/openid-configuration"),
        ("https://id.example/realms/a/", "https://id.example/realms/a/.well-known/openid-configuration"),
    ],
)
def test_where_metadata_are(issuer_url, url):
    assert discovery_url(issuer_url) == url
    request = build_metadata_request(url, timeout_s=3.0)
    assert (request.method, request.url, request.body, request.timeout_s) == ("GET", url, b"", 3.0)
    assert request.headers == {"Accept": "application/json"}


def test_metadata_are_read():
    assert discovered({**METADATA, "unknown": 1}) == OIDCConfig(**METADATA)
    assert discovered(b"\xef\xbb\xbf" + json.dumps(METADATA).encode()) == OIDCConfig(**METADATA)


@pytest.mark.parametrize(
    ("value", "status", "message"),
    [
        (METADATA, 404, "HTTP 404: expected metadata, got none"),
        (METADATA, 500, "HTTP 500"),
        (METADATA, 201, "HTTP 201"),
        ("", 204, "HTTP 204"),
        ("", 302, "HTTP 302: expected metadata, got a redirect, which is never followed"),
        ("", 200, "expected JSON, got an empty body"),
        ("<html>", 200, "expected JSON, got something else"),
        ("[]", 200, "expected a JSON object, got another JSON value"),
        ("null", 200, "expected a JSON object"),
        ({"token_endpoint": "https://x"}, 200, "expected the issuer 'https://id.example', byte for byte.*got none"),
        ({**METADATA, "issuer": ISSUER + "/"}, 200, "a trailing slash counts.*got 'https://id.example/'"),
        ({**METADATA, "issuer": "https://ID.example"}, 200, "expected the issuer"),
        ({**METADATA, "issuer": 5}, 200, "issuer: expected a text, got int"),
        ({**METADATA, "issuer": None}, 200, "got none"),
        ({"issuer": ISSUER}, 200, "token_endpoint: expected an https URL, got none"),
        ({**METADATA, "token_endpoint": None}, 200, "token_endpoint: expected an https URL, got none"),
        ({**METADATA, "token_endpoint": ["https://x"]}, 200, "token_endpoint: expected a text, got list"),
        ({**METADATA, "token_endpoint": "/token"}, 200, "token_endpoint: expected an https URL"),
        ({**METADATA, "token_endpoint": "http://id.example/t"}, 200, "token_endpoint: expected https, got plain http"),
        ({**METADATA, "token_endpoint": "http://127.0.0.1:1/t"}, 200, "expected https, got plain http .* on loopback"),
        ({**METADATA, "token_endpoint": "http://localhost/t"}, 200, "from an issuer that is elsewhere"),
        ({**METADATA, "token_endpoint": "http://[::1]/t"}, 200, "from an issuer that is elsewhere"),
        ('{"issuer": "https://id.example", "issuer": "https://evil.example"}', 200, "a JSON object that repeats one"),
        ("[" * 100_000, 200, "nested too deeply"),
        (b"\xff\xfe{}", 200, "expected JSON"),
        (b"{}" + b" " * MAX_BODY_BYTES, 200, "expected at most 1048576 bytes, got more"),
    ],
)
def test_metadata_that_cannot_be_trusted_are_a_retryable_error(value, status, message):
    with pytest.raises(DiscoveryError, match=message) as caught:
        discovered(value, status=status)
    assert caught.value.status == status
    assert caught.value.retryable
    assert "https://id.example/.well-known/openid-configuration" in str(caught.value)
    assert caught.value.__context__ is None


def test_plain_http_metadata_can_be_allowed():
    value = {"issuer": "http://id.example", "token_endpoint": "http://id.example/token"}
    assert discovered(value, issuer_url="http://id.example", allow_insecure_http=True).token_endpoint
    loopback = {"issuer": "http://127.0.0.1:1", "token_endpoint": "http://127.0.0.1:1/token"}
    assert discovered(loopback, issuer_url="http://127.0.0.1:1").token_endpoint


@pytest.mark.parametrize("value", [5, 1.5, True, [5], [["x"]], {"a": 5}, {"a": {"b": [1]}}])
@pytest.mark.parametrize("name", [field.name for field in fields(OIDCConfig) if field.init])
def test_a_member_of_a_wrong_type_is_judged_when_it_is_used(name, value):
    if name in {"issuer", "token_endpoint"}:
        with pytest.raises(DiscoveryError, match=f"{name}: expected") as caught:
            discovered({**METADATA, name: value})
        assert caught.value.retryable
        return
    config = discovered({**METADATA, name: value})
    assert getattr(config, name) in (None, {})
    assert config == OIDCConfig(**METADATA) or name == "mtls_endpoint_aliases"
    assert check_config(config) is config
    assert hash(config) == hash(config)
    used = "mtls_endpoint_aliases['a']" if name == "mtls_endpoint_aliases" and isinstance(value, dict) else name
    with pytest.raises(UnusableMetadata, match=re.escape(f"the provider's metadata: {used}: expected")) as judged:
        config.require(used)
    assert judged.value.retryable
    assert not judged.value.sent


ADDRESSES = [
    name
    for name in (field.name for field in fields(OIDCConfig))
    if name.endswith(("_endpoint", "_uri")) and name != "token_endpoint"
]


@pytest.mark.parametrize(
    "value", ["http://id.example/x", "http://127.0.0.1/x", "/x", "ftp://x", "https://x/#y", "https://u:p@x"]
)
@pytest.mark.parametrize("name", ADDRESSES)
def test_an_address_that_no_secret_may_go_to_is_judged_when_it_is_used(name, value):
    config = discovered({**METADATA, name: value})
    assert getattr(config, name) is None
    with pytest.raises(UnusableMetadata, match=f"{name}: expected"):
        config.require(name)
    config.require("token_endpoint")


def test_a_name_that_is_repeated_is_judged_when_it_is_used():
    text = json.dumps(METADATA)[:-1]
    for name, value in (("scopes_supported", '["a"]'), ("jwks_uri", '"https://id.example/jwks"'), ("unknown", "1")):
        config = discovered(f'{text}, "{name}": {value}, "{name}": {value}}}')
        assert config == OIDCConfig(**METADATA)
    with pytest.raises(UnusableMetadata, match="jwks_uri: expected it once"):
        discovered(f'{text}, "jwks_uri": "https://a", "jwks_uri": "https://b"}}').require("jwks_uri")
    with pytest.raises(DiscoveryError, match="token_endpoint: expected it once, got a JSON object that repeats one"):
        discovered(f'{text}, "token_endpoint": "https://evil.example"}}')


def test_foreign_members_are_nobody_s_business():
    odd = {
        "_unusable": {"token_endpoint": "x"},
        "": 1,
        "x": [[{"deep": None}]],
        "token_endpoint ": "http://evil.example",
    }
    assert discovered({**METADATA, **odd}) == OIDCConfig(**METADATA)


CERTIFIED = SimpleNamespace(client_certificate=object())
PLAIN = SimpleNamespace(client_certificate=None)


@pytest.mark.parametrize(
    "value", [None, 5, "https://x", [], ["https://x"], {"token_endpoint": None}, {"token_endpoint": "http://x"}]
)
def test_aliases_are_judged_where_a_certificate_is_shown(value):
    config = discovered({**METADATA, "mtls_endpoint_aliases": value})
    assert address_of(config, PLAIN) == METADATA["token_endpoint"]
    if value is None:
        assert address_of(config, CERTIFIED) == METADATA["token_endpoint"]
        return
    with pytest.raises(UnusableMetadata, match="mtls_endpoint_aliases"):
        address_of(config, CERTIFIED)


def test_an_alias_that_is_not_used_spoils_none_that_is():
    aliases = {"userinfo_endpoint": None, "token_endpoint": "https://mtls.id.example/token", "x": 5}
    config = discovered({**METADATA, "mtls_endpoint_aliases": aliases})
    assert address_of(config, CERTIFIED) == "https://mtls.id.example/token"
    twice = '{"token_endpoint": "https://a", "token_endpoint": "https://b", "token_endpoint": "https://c"}'
    config = discovered(f'{json.dumps(METADATA)[:-1]}, "mtls_endpoint_aliases": {twice}}}')
    with pytest.raises(UnusableMetadata, match="expected it once"):
        address_of(config, CERTIFIED)


def test_what_a_request_needs_is_judged_then():
    odd = {"token_endpoint_auth_methods_supported": "none", "revocation_endpoint": "http://id.example/revoke"}
    odd |= {"device_authorization_endpoint": 5, "dpop_signing_alg_values_supported": "ES256"}
    config, sent = discovered({**METADATA, **odd}), []

    def transport(request):
        sent.append(request.url)
        return Response(200, {}, json.dumps({"access_token": "t", "expires_in": 60}))

    told = ClientCredentials("id", "s", client_auth="client_secret_post")
    assert get_token(config, told, transport=transport).access_token == "t"
    for auth, name in (
        (ClientCredentials("id", "s"), "token_endpoint_auth_methods_supported"),
        (
            ClientCredentials("id", "s", client_auth="client_secret_post", dpop=DPoPKey()),
            "dpop_signing_alg_values_supported",
        ),
    ):
        with pytest.raises(UnusableMetadata, match=name):
            get_token(config, auth, transport=transport)
    with pytest.raises(UnusableMetadata, match="revocation_endpoint: expected https"):
        revoke_token(config, "t", told, transport=transport)
    with pytest.raises(UnusableMetadata, match="device_authorization_endpoint"):
        request_device_authorization(transport, config, told, timeout_s=1.0)
    assert len(sent) == 1


def test_an_issuer_on_loopback_may_name_this_machine_s_services():
    local = {"issuer": "https://localhost:1", "token_endpoint": "http://127.0.0.1:2/token"}
    assert discovered(local, issuer_url="https://localhost:1").token_endpoint
    remote = {**METADATA, "token_endpoint": "http://127.0.0.1:2/token"}
    assert discovered(remote, allow_insecure_http=True).token_endpoint  # a test setup


def test_discovery_hears_retry_after():
    with pytest.raises(DiscoveryError) as caught:
        discovered("", status=503, headers={"retry-after": "17"})
    assert caught.value.retry_after_s == 17.0
    with pytest.raises(DiscoveryError) as caught:
        discovered("", status=503, headers={"Retry-After": "Fri, 15 Jan 2027 08:00:40 GMT"})
    assert caught.value.retry_after_s == 40.0


def test_an_error_says_where_metadata_were_looked_for_and_what_came():
    with pytest.raises(DiscoveryError) as caught:
        discovered("", status=404)
    address = "https://id.example/.well-known/openid-configuration"
    assert str(caught.value) == f"discovery at {address} failed: HTTP 404: expected metadata, got none"


def test_a_hostile_issuer_makes_one_short_line():
    with pytest.raises(DiscoveryError) as caught:
        discovered({**METADATA, "issuer": "https://x\n\x1b[31m" + "y" * 100_000})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_the_alias_for_certificates_is_read_from_the_metadata():
    aliases = {"token_endpoint": "https://mtls.id.example/token"}
    metadata = {"issuer": ISSUER, "token_endpoint": f"{ISSUER}/token", "mtls_endpoint_aliases": aliases}
    config = parse_discovery(Response(200, {}, json.dumps(metadata)), ISSUER, now_wall=0.0)
    assert config.mtls_endpoint_aliases == aliases
    metadata["mtls_endpoint_aliases"] = {"token_endpoint": "http://mtls.id.example/token"}
    config = parse_discovery(Response(200, {}, json.dumps(metadata)), ISSUER, now_wall=0.0)
    with pytest.raises(UnusableMetadata, match=r"mtls_endpoint_aliases.*expected https"):
        address_of(config, CERTIFIED)
