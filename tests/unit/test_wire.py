"""The parser: any status, headers and bytes become a value or a typed error, and no error quotes a secret."""

import base64
import json
import time
from dataclasses import FrozenInstanceError, fields
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from oidc_actor.answers.bodies import read_object
from oidc_actor.answers.header_times import provider_now, read_date, retry_after_s
from oidc_actor.answers.lifetime import LONGEST_LIFETIME_S, decide_lifetime, read_claims
from oidc_actor.answers.redaction import LONGEST_TEXT, presentable, redact
from oidc_actor.errors import DiscoveryError, TokenRequestError
from oidc_actor.provider import OIDCConfig
from oidc_actor.secrets import Secret
from oidc_actor.transport import MAX_BODY_BYTES, Response
from oidc_actor.wire import ParsedToken, discovery_request, discovery_url, parse_discovery, parse_token

NOW = 1_800_000_000.0
ISSUER = "https://id.example"
METADATA = {"issuer": ISSUER, "token_endpoint": "https://id.example/token"}
TOKEN = {"access_token": "at", "token_type": "Bearer", "expires_in": 3600}


def as_body(value):
    return value if isinstance(value, (bytes, str)) else json.dumps(value)


def discovered(value, *, status=200, issuer_url=ISSUER, headers=None, **options):
    return parse_discovery(Response(status, headers or {}, as_body(value)), issuer_url, now_wall=NOW, **options)


def parsed(value, *, status=200, headers=None, **options):
    return parse_token(Response(status, headers or {}, as_body(value)), now_wall=NOW, **options)


def refused(value, **options):
    with pytest.raises(TokenRequestError) as caught:
        parsed(value, **options)
    return caught.value


def jwt(**claims):
    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'none'})}.{part(claims)}.signature"


# Discovery


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


def test_a_hostile_issuer_makes_one_short_line():
    with pytest.raises(DiscoveryError) as caught:
        discovered({**METADATA, "issuer": "https://x\n\x1b[31m" + "y" * 100_000})
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


# Tokens


@pytest.mark.parametrize("token", ["!", "~", "a|b:c*d", "!~" * 50])
def test_any_visible_ascii_is_a_token(token):
    assert parsed({**TOKEN, "access_token": token}).token.access_token == token


def test_a_body_may_be_as_long_as_the_limit():
    body = json.dumps(TOKEN).encode()
    assert parsed(body + b" " * (MAX_BODY_BYTES - len(body))).token.access_token == "at"
    error = b"error=invalid_scope&x="
    assert refused(error + b"y" * (MAX_BODY_BYTES - len(error)), status=400).error == "invalid_scope"


def test_what_is_parsed_cannot_be_changed():
    found = parsed(TOKEN)
    with pytest.raises(FrozenInstanceError):
        found.lifetime_s = 1.0
    with pytest.raises(FrozenInstanceError):
        decide_lifetime({}, "at", now_wall=NOW, default_s=1).seconds = 2.0
    assert not hasattr(found, "__dict__")


@pytest.mark.parametrize(("status", "redirect"), [(299, False), (300, True), (399, True), (400, False)])
def test_which_statuses_are_redirects(status, redirect):
    assert ("redirect" in str(refused("", status=status))) is redirect


def test_a_token_is_read():
    found = parsed({**TOKEN, "refresh_token": "rt", "id_token": "it", "scope": "a b", "unknown": [1]})
    token = found.token
    assert isinstance(found, ParsedToken)
    assert (token.access_token, token.token_type, token.expires_in) == ("at", "Bearer", 3600)
    assert (token.refresh_token, token.id_token, token.scope) == ("rt", "it", "a b")
    assert token.issued_at == datetime.fromtimestamp(NOW, UTC)
    assert (found.lifetime_s, found.lifetime_source) == (3600, "expires_in")
    assert parsed(TOKEN, status=201).token.access_token == "at"


@pytest.mark.parametrize(
    ("given_type", "token_type"),
    [("bearer", "Bearer"), ("BEARER", "Bearer"), ("dpop", "DPoP"), ("DPoP", "DPoP"), (None, "Bearer"), ("", "Bearer")],
)
def test_token_types(given_type, token_type):
    assert parsed({**TOKEN, "token_type": given_type}).token.token_type == token_type


@pytest.mark.parametrize("name", ["refresh_token", "id_token", "scope"])
@pytest.mark.parametrize("value", [None, "", 5, True, {}, [5], {"a": "b"}, "line\nfeed", "nul\0"])
def test_what_may_be_missing_counts_as_absent_where_it_cannot_be_read(name, value):
    token = parsed({**TOKEN, name: value}).token
    assert getattr(token, name) in (None, "")
    assert token.access_token == "at"


def test_scopes_may_come_as_a_list():
    assert parsed({**TOKEN, "scope": ["a", "b"]}).token.scope == "a b"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "expected JSON, got an empty body"),
        ("not json", "expected JSON"),
        ("[1]", "expected a JSON object"),
        ('"at"', "expected a JSON object"),
        ("{}", "expected an access_token, got none"),
        ({**TOKEN, "access_token": None}, "expected an access_token, got none"),
        ({**TOKEN, "access_token": ""}, "expected an access_token, got str"),
        ({**TOKEN, "access_token": 5}, "expected an access_token, got int"),
        ({**TOKEN, "access_token": ["hunter2"]}, "expected an access_token, got list"),
        (
            {**TOKEN, "access_token": "hunter2\r\nX-Evil: 1"},
            "expected an access_token of visible ASCII characters, got one with others",
        ),
        (
            {**TOKEN, "access_token": "hunter2\0"},
            "expected an access_token of visible ASCII characters, got one with others",
        ),
        (
            {**TOKEN, "access_token": "hunter2 "},
            "expected an access_token of visible ASCII characters, got one with others",
        ),
        (
            {**TOKEN, "access_token": "hunter2é"},
            "expected an access_token of visible ASCII characters, got one with others",
        ),
        (
            '{"access_token": "hunter2\\ud800"}',
            "expected an access_token of visible ASCII characters, got one with others",
        ),
        ({**TOKEN, "token_type": "mac"}, "expected the token_type Bearer or DPoP, got 'mac'"),
        ({**TOKEN, "token_type": "x" * 50}, f"expected the token_type Bearer or DPoP, got '{'x' * 40}'"),
        ({**TOKEN, "token_type": 5}, "expected the token_type Bearer or DPoP, got 'int'"),
        ({**TOKEN, "token_type": "bearer\r\nX: 1"}, "expected the token_type"),
        ({**TOKEN, "expires_in": 0}, "expected a positive lifetime, got 0 seconds from expires_in"),
        (
            {**TOKEN, "access_token": "hunter2\x7f"},
            "expected an access_token of visible ASCII characters, got one with others",
        ),
        ({**TOKEN, "expires_in": -5}, "expected a positive lifetime"),
        ({**TOKEN, "expires_in": "-1"}, "expected a positive lifetime"),
        ({**TOKEN, "expires_in": -1e308}, "expected a positive lifetime"),
        ({"access_token": "at", "expires_at": NOW - 1}, "expected a positive lifetime, got -1 seconds from expires_at"),
        ({"access_token": jwt(exp=NOW - 1)}, "expected a positive lifetime, got -1 seconds from exp"),
        (
            '{"access_token": "hunter2", "access_token": "b"}',
            "expected each name once, got a JSON object that repeats one",
        ),
        ('{"access_token": "hunter2\0"}', "expected JSON"),
        (
            '{"access_token": "hunter2", "x": ' + "[" * 90_000 + "]" * 90_000 + "}",
            "expected JSON, got JSON nested too deeply",
        ),
        ('{"access_token": "hunter2", "expires_in": ' + "9" * 5000 + "}", "expected JSON"),
        (b'{"access_token": "hunter2"}' + b" " * MAX_BODY_BYTES, "expected at most 1048576 bytes"),
        (b"\xff\xfe", "expected JSON"),
        ("NaN", "expected a JSON object"),
    ],
)
def test_a_bad_200_is_a_retryable_error(value, message):
    error = refused(value)
    assert str(error).startswith(f"token request failed: HTTP 200: {message}")
    assert error.status == 200
    assert error.error is None
    assert error.retryable
    assert "hunter2" not in str(error)
    assert str(error).isprintable()
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("status", "value", "code", "description", "permanent"),
    [
        (401, {"error": "invalid_client", "error_description": "no such client"}, "invalid_client", "no such client", True),
        (400, {"error": "invalid_scope"}, "invalid_scope", None, True),
        (400, {"error": "unauthorized_client"}, "unauthorized_client", None, True),
        (400, {"error": "unsupported_grant_type"}, "unsupported_grant_type", None, True),
        (400, {"error": "invalid_grant"}, "invalid_grant", None, False),
        (400, {"error": "invalid_request"}, "invalid_request", None, False),
        (200, {"error": "invalid_client"}, "invalid_client", None, True),
        (200, {"error": "access_denied", "access_token": "hunter2"}, "access_denied", None, False),
        (400, {"error": "invalid_request", "access_token": "hunter2", "error_description": "use hunter2"},
         "invalid_request", "use ***", False),
        (503, {"error": "invalid_client"}, "invalid_client", None, False),
        (500, {"error": "server_error"}, "server_error", None, False),
        (400, {"error": 5, "error_description": ["x"]}, None, None, False),
        (400, {"error": "", "error_description": ""}, None, None, False),
        (400, {"error": "a\nb\x1b[31m"}, "a b [31m", None, False),
        (401, "Unauthorized", None, None, False),
        (401, "", None, None, False),
        (400, "error=invalid_client&error_description=no+such%20client", "invalid_client", "no such client", True),
        (400, "error_description=no+such+client&error=invalid_client", "invalid_client", "no such client", True),
        (400, " error=invalid_scope\r\n", "invalid_scope", None, True),
        (400, "error=invalid_client" + "&a=b" * 1000, None, None, False),
        (400, b"error=\xff", None, None, False),
        (403, "<html>forbidden</html>", None, None, False),
        (418, {"access_token": "hunter2"}, None, None, False),
        (404, "", None, None, False),
        (429, "slow down", None, None, False),
        (302, "", None, None, False),
        (307, {"access_token": "hunter2"}, None, None, False),
        (204, "", None, None, False),
        (500, b"x" * (MAX_BODY_BYTES + 1), None, None, False),
        (400, b"error=" + b"x" * (MAX_BODY_BYTES + 1), None, None, False),
    ],
)  # fmt: skip
def test_refusals(status, value, code, description, permanent):
    error = refused(value, status=status)
    assert (error.status, error.error, error.error_description, error.permanent) == (
        status,
        code,
        description,
        permanent,
    )
    assert f"HTTP {status}" in str(error)
    assert "hunter2" not in str(error)
    assert str(error).isprintable()
    for part in (code, description):
        assert part is None or part in str(error)


@pytest.mark.parametrize(
    ("grant_type", "refreshing", "permanent"),
    [
        ("password", False, True),
        ("refresh_token", False, True),
        ("client_credentials", False, False),
        ("password", True, False),
        ("refresh_token", True, False),
    ],
)
def test_what_an_invalid_grant_means(grant_type, refreshing, permanent):
    error = refused({"error": "invalid_grant"}, status=400, grant_type=grant_type, refreshing=refreshing)
    assert error.permanent is permanent


def test_a_refusal_says_what_came():
    error = refused({"error": "invalid_client", "error_description": "no such client"}, status=401)
    assert str(error) == "token request failed: HTTP 401: invalid_client: no such client"
    error = refused({"error": {"code": 5}}, status=200)
    assert str(error) == "token request failed: HTTP 200: expected a token or an OAuth error, got neither"
    error = refused("", status=403)
    assert str(error) == "token request failed: HTTP 403: expected a token or an OAuth error, got neither"


@pytest.mark.parametrize("given_type", ["N_A", "n_a"])
def test_what_is_exchanged_for_need_be_no_access_token_where_that_was_said(given_type):
    value = {**TOKEN, "token_type": given_type}
    assert parsed(value, may_be_no_access_token=True).token.token_type == "N_A"
    assert parsed(TOKEN, may_be_no_access_token=True).token.token_type == "Bearer"
    assert f"got '{given_type}'" in str(refused(value))


@pytest.mark.parametrize(
    ("status", "value", "told"),
    [
        (401, {"error": "invalid_client"}, True),
        (400, {"error": "unauthorized_client"}, True),
        (401, "", True),
        (401, {"error": "invalid_grant"}, False),
        (400, {"error": "invalid_scope"}, False),
        (403, "", False),
    ],
)
def test_advice_about_the_client_goes_with_refusals_of_the_client(status, value, told):
    assert str(refused(value, status=status, advice="set it up")).endswith("; set it up") is told
    assert ";" not in str(refused(value, status=status))


def test_a_redirect_says_so():
    assert "redirect, which is never followed" in str(refused("", status=302, headers={"Location": "https://evil"}))


# Lifetimes


@pytest.mark.parametrize(
    ("members", "seconds", "source"),
    [
        ({"expires_in": 3600}, 3600, "expires_in"),
        ({"expires_in": 1.5}, 1.5, "expires_in"),
        ({"expires_in": "3600"}, 3600, "expires_in"),
        ({"expires_in": " 3600.5 "}, 3600.5, "expires_in"),
        ({"expires_in": 60, "expires_at": NOW + 99}, 60, "expires_in"),
        ({"expires_in": "soon", "expires_at": NOW + 99}, 99, "expires_at"),
        ({"expires_at": str(int(NOW) + 99)}, 99, "expires_at"),
        ({"expires_at": datetime.fromtimestamp(NOW + 99, UTC).isoformat()}, 99, "expires_at"),
        ({"expires_at": "2027-01-15T08:00:00"}, 300, "default"),
        ({"expires_at": (NOW + 99) * 1000}, 300, "default"),
        ({"expires_at": True}, 300, "default"),
        ({"expires_at": NOW + LONGEST_LIFETIME_S}, LONGEST_LIFETIME_S, "expires_at"),
        ({"expires_at": NOW + LONGEST_LIFETIME_S + 1}, 300, "default"),
        ({}, 300, "default"),
        ({"expires_in": None}, 300, "default"),
        ({"expires_in": True}, 300, "default"),
        ({"expires_in": "1_0"}, 300, "default"),
        ({"expires_in": "٣"}, 300, "default"),
        ({"expires_in": "9" * 5000}, 300, "default"),
        ({"expires_in": "nan"}, 300, "default"),
        ({"expires_in": "inf"}, 300, "default"),
        ({"expires_in": float("inf")}, 300, "default"),
        ({"expires_in": float("-inf")}, 300, "default"),
        ({"expires_in": float("nan")}, 300, "default"),
        ({"expires_in": 10**400}, 300, "default"),
        ({"expires_in": 1e308}, 300, "default"),
        ({"expires_in": LONGEST_LIFETIME_S}, LONGEST_LIFETIME_S, "expires_in"),
        ({"expires_in": 31_557_600_001}, 300, "default"),
        ({"expires_in": "60" + " " * 99}, 60, "expires_in"),
        ({"expires_in": "0" * 38 + "60"}, 60, "expires_in"),
        ({"expires_in": "0" * 39 + "60"}, 300, "default"),
        ({"expires_in": [60]}, 300, "default"),
        ({"expires_in": {}}, 300, "default"),
    ],
)
def test_who_says_how_long_a_token_lives(members, seconds, source):
    life = decide_lifetime(members, "opaque", now_wall=NOW, default_s=300)
    assert (life.seconds, life.source) == (seconds, source)


@pytest.mark.parametrize(
    ("token", "seconds", "source"),
    [
        (jwt(exp=NOW + 99), 99, "exp"),
        (jwt(exp=NOW + 99, name="?????>>>>>"), 99, "exp"),  # base64 has / and + for them, base64url _ and -
        (jwt(exp=NOW + 99, iat=NOW), 99, "exp"),
        (jwt(exp=NOW + 99, iat=NOW + 50), 49, "exp"),
        (jwt(exp=NOW + 99, iat=NOW - 500), 99, "exp"),
        (jwt(exp=NOW + 99, iat=NOW + 500), 99, "exp"),
        (jwt(exp=NOW + 99, iat=NOW + 98.5), 0.5, "exp"),
        (jwt(exp=NOW + 99, iat=NOW + 99), 99, "exp"),
        (jwt(exp=NOW + LONGEST_LIFETIME_S), LONGEST_LIFETIME_S, "exp"),
        (jwt(exp=NOW + LONGEST_LIFETIME_S + 1), 300, "default"),
        (jwt(exp=NOW + 99, iat="x"), 99, "exp"),
        (jwt(exp=NOW + 99).replace(".", ".~", 1), 300, "default"),
        (jwt(exp=str(NOW + 99)), 99, "exp"),
        (jwt(exp="soon"), 300, "default"),
        (jwt(exp=1e308), 300, "default"),
        (jwt(), 300, "default"),
        ("a.b.c", 300, "default"),
        ("a." + base64.urlsafe_b64encode(b"[1]").decode() + ".c", 300, "default"),
        ("opaque", 300, "default"),
    ],
)
def test_a_jwt_says_it_too(token, seconds, source):
    found = parsed({"access_token": token, "expires_in": "?"})
    assert (found.lifetime_s, found.lifetime_source) == (seconds, source)
    assert found.token.expires_in == seconds
    assert parsed({"access_token": token, "expires_in": 7}).lifetime_source == "expires_in"


def test_a_token_may_live_for_less_than_a_second():
    assert parsed({**TOKEN, "expires_in": 0.5}).lifetime_s == 0.5


def test_the_default_can_be_chosen():
    assert parsed({"access_token": "at"}, default_lifetime_s=77).lifetime_s == 77


@given(st.text() | st.builds("{}.{}.{}".format, st.text(), st.text(), st.text()))
def test_any_text_has_claims_or_none(token):
    assert isinstance(read_claims(token), dict)


@pytest.mark.parametrize("skew_s", [-7200, 7200])
def test_a_skewed_clock_does_not_change_what_an_instant_means(skew_s):
    shown = {"Date": format_datetime(datetime.fromtimestamp(NOW + skew_s, UTC), usegmt=True)}
    found = parsed({"access_token": jwt(exp=NOW + skew_s + 100)}, headers=shown)
    assert found.lifetime_s == 99  # a second less, because the field has no fractions


@pytest.mark.parametrize(("date_s", "now_s"), [(None, 0), (-30, 0), (30, 30), (60, 60), (-60, 0), (61, 62), (-61, -60)])
def test_what_the_provider_s_clock_shows(date_s, now_s):
    headers = (
        {} if date_s is None else {"Date": format_datetime(datetime.fromtimestamp(NOW + date_s, UTC), usegmt=True)}
    )
    assert provider_now(Response(200, headers), now_wall=NOW) == NOW + now_s


# Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("30", 30),
        (" 30 ", 30),
        ("1.5", 1.5),
        ("3601", 3600),
        ("9" * 5000, 3600),
        ("-5", None),
        ("1e3", None),
        ("٣", None),
        ("soon", None),
        ("Fri, 15 Jan 2027 08:00:40 GMT", 40),
        ("Fri, 15 Jan 2027 09:00:40 +0100", 40),
        ("Fri, 15 Jan 2027 10:00:00 GMT", 3600),
        ("Fri, 15 Jan 2027 07:00:00 GMT", 0),
        ("Friday, 15-Jan-27 08:00:40 GMT", 40),
        ("Fri, 99 Foo 2027 08:00:40 GMT", None),
        ("Fri, 15 Jan 99999 08:00:40 GMT", None),
        ("\0", None),
    ],
)
def test_retry_after(value, seconds):
    response = Response(429, {} if value is None else {"retry-AFTER": value})
    assert retry_after_s(response, now_wall=NOW) == seconds
    assert refused("", status=429, headers=dict(response.headers)).retry_after_s == seconds


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of the process cannot be set")
def test_a_date_without_a_zone_is_utc_wherever_this_runs(monkeypatch):
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("TZ", "XXX-9")
        time.tzset()
        found = read_date("Fri, 15 Jan 2027 08:00:40 -0000")
    time.tzset()
    assert found == NOW + 40


def test_retry_after_is_counted_from_the_provider_s_own_clock():
    headers = {"Date": "Fri, 15 Jan 2027 08:00:30 GMT", "Retry-After": "Fri, 15 Jan 2027 08:00:40 GMT"}
    assert retry_after_s(Response(503, headers), now_wall=NOW - 7200) == 10


@given(st.text())
def test_any_retry_after_is_understood_or_not(value):
    found = retry_after_s(Response(429, {"Retry-After": value, "Date": value}), now_wall=NOW)
    assert found is None or 0 <= found <= 3600


# Redaction

SECRET = 'p/w&"ü <x>'
FORMS = [
    SECRET,
    "p%2Fw%26%22%C3%BC%20%3Cx%3E",
    "p%2fw%26%22%c3%bc%20%3cx%3e",
    "p%2Fw%26%22%C3%BC+%3Cx%3E",
    "p/w&amp;&quot;ü &lt;x&gt;",
    'p/w&\\"ü <x>',
    'p/w&\\"\\u00fc <x>',
    base64.b64encode(SECRET.encode()).decode(),
    base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
]


@pytest.mark.parametrize("form", FORMS)
def test_a_secret_is_taken_out_in_every_form(form):
    description = f"bad credentials {form} for client"
    error = refused(
        {"error": "invalid_grant", "error_description": description}, status=400, sent_secrets=[Secret(SECRET)]
    )
    assert error.error_description == "bad credentials *** for client"
    assert form not in str(error)


def test_a_secret_with_line_breaks_is_taken_out_before_they_are():
    secret = Secret("two\nlines")
    assert presentable("got two\nlines!", [secret]) == presentable("got two lines!", [secret]) == "got ***!"


def test_a_secret_that_is_all_space_is_no_reason_to_mark_what_is_not_there():
    assert redact("a b", [Secret("\t\n")]) == "a b"


def test_the_longest_secret_goes_first():
    assert redact("abcdef", [Secret("abc"), Secret("abcdef")]) == "***"
    assert redact("abcdef", [Secret("bcd"), Secret("abcdef")]) == "***"


def test_a_cut_never_leaves_half_a_secret():
    text = "x" * (LONGEST_TEXT - 3) + "hunter2"
    assert "hun" not in presentable(text, [Secret("hunter2")])
    assert presentable("y" * 10_000, []) == "y" * 500 + "..."
    assert presentable("y" * LONGEST_TEXT, []) == "y" * 500


def test_a_code_that_is_known_is_never_taken_for_a_secret():
    error = refused({"error": "invalid_client"}, status=401, sent_secrets=[Secret("client")])
    assert (error.error, error.permanent) == ("invalid_client", True)
    error = refused({"error": "my_client_is_hunter2"}, status=401, sent_secrets=[Secret("hunter2")])
    assert error.error == "my_client_is_***"


# Anything

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


def test_the_alias_for_certificates_is_read_from_the_metadata():
    aliases = {"token_endpoint": "https://mtls.id.example/token"}
    metadata = {"issuer": ISSUER, "token_endpoint": f"{ISSUER}/token", "mtls_endpoint_aliases": aliases}
    config = parse_discovery(Response(200, {}, json.dumps(metadata)), ISSUER, now_wall=0.0)
    assert config.mtls_endpoint_aliases == aliases
    metadata["mtls_endpoint_aliases"] = {"token_endpoint": "http://mtls.id.example/token"}
    with pytest.raises(DiscoveryError, match=r"mtls_endpoint_aliases.*expected https"):
        parse_discovery(Response(200, {}, json.dumps(metadata)), ISSUER, now_wall=0.0)
