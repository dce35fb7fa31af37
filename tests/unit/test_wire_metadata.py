"""Discovery: where metadata are, and which of them can be trusted."""

import json
from dataclasses import fields

import pytest
from wire_answers import ISSUER, METADATA, discovered

from oidc_actor.errors import DiscoveryError
from oidc_actor.provider import OIDCConfig
from oidc_actor.transport import MAX_BODY_BYTES, Response
from oidc_actor.wire import discovery_request, discovery_url, parse_discovery


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
    request = discovery_request(issuer_url, timeout_s=3.0)
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
        ({**METADATA, "jwks_uri": "http://id.example/jwks"}, 200, "jwks_uri: expected https"),
        ({**METADATA, "token_endpoint_auth_methods_supported": "none"}, 200, "expected a list of texts"),
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


@pytest.mark.parametrize("value", [5, 1.5, True, [5], [["x"]], {"a": 5}])
@pytest.mark.parametrize("name", [field.name for field in fields(OIDCConfig)])
def test_a_wrong_type_in_any_field_of_the_metadata_is_a_retryable_error(name, value):
    with pytest.raises(DiscoveryError, match=f"{name}: expected") as caught:
        discovered({**METADATA, name: value})
    assert caught.value.retryable


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
    with pytest.raises(DiscoveryError, match=r"mtls_endpoint_aliases.*expected https"):
        parse_discovery(Response(200, {}, json.dumps(metadata)), ISSUER, now_wall=0.0)
