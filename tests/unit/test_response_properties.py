"""Whatever the bytes, the parser has a value or a typed error, and never quotes a secret."""

import json

from hypothesis import example, given
from hypothesis import strategies as st
from responses import ISSUER, METADATA, NOW, TOKEN, jwt

from oidc_actor.protocol.metadata import parse_discovery
from oidc_actor.protocol.redaction import LONGEST_TEXT
from oidc_actor.protocol.response_fields import read_object
from oidc_actor.protocol.token_response import LONGEST_LIFETIME_S, parse_token
from oidc_actor.transport import Response
from oidc_actor.values.errors import DiscoveryError, TokenRequestError
from oidc_actor.values.secrets import Secret

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
interesting = st.sampled_from([
    "access_token", "token_type", "expires_in", "expires_at", "refresh_token", "id_token", "scope", "error",
    "error_description", "issuer", "token_endpoint", "jwks_uri", "token_endpoint_auth_methods_supported",
    "mtls_endpoint_aliases",
])  # fmt: skip
plausible = st.sampled_from(
    ["at", "Bearer", 3600, "3600", ISSUER, "https://id.example/token", "invalid_grant", jwt(exp=1)]
)
documents = st.dictionaries(interesting | st.text(), json_values | plausible, max_size=8)
bodies = (
    st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | documents.map(lambda document: json.dumps(document).encode())
    | documents.map(lambda document: json.dumps({**TOKEN, **document}).encode())
    | documents.map(lambda document: json.dumps({**METADATA, **document}).encode())
)
statuses = st.sampled_from([200, 200, 200, 201, 204, 302, 400, 401, 429, 500, 503]) | st.integers(100, 999)
headers = st.dictionaries(st.sampled_from(["Retry-After", "Date", "date", "Content-Type"]) | st.text(), st.text())


def judged(judge, kind):
    try:
        return judge()
    except kind as error:
        return error


@given(statuses, headers, bodies)
@example(200, {}, b"[" * 5000)
@example(200, {}, b'{"access_token":"at","expires_in":-0.0}')
def test_any_answer_is_a_token_or_a_typed_error(status, fields, body):
    response, secret = Response(status, fields, body), Secret("hunter2-the-secret")
    found = judged(lambda: parse_token(response, now_wall=NOW, sent_secrets=[secret]), TokenRequestError)
    if isinstance(found, TokenRequestError):
        assert found.status == status
        assert str(found).isprintable()
        assert len(str(found)) < 3 * LONGEST_TEXT
        assert "hunter2-the-secret" not in str(found)
        assert found.retry_after_s is None or 0 <= found.retry_after_s <= 3600
    else:
        assert 0 < found.lifetime_s <= LONGEST_LIFETIME_S
        assert found.token.access_token.isascii()
        assert found.token.access_token.isprintable()
        assert " " not in found.token.access_token
        assert found.token.expires_at is not None


@given(statuses, headers, bodies)
def test_any_answer_is_metadata_or_a_typed_error(status, fields, body):
    response = Response(status, fields, body)
    found = judged(lambda: parse_discovery(response, ISSUER, now_wall=NOW), DiscoveryError)
    if isinstance(found, DiscoveryError):
        assert found.status == status
        assert found.retryable
        assert str(found).isprintable()
        assert len(str(found)) < 3 * LONGEST_TEXT
    else:
        assert found.issuer == ISSUER
        assert found.token_endpoint.startswith(("https://", "http://"))


@given(st.binary(max_size=500))
def test_any_bytes_are_an_object_or_a_phrase(body):
    assert isinstance(read_object(body), (dict, str))
