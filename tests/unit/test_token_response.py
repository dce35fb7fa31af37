"""The parser of answers with a token: any status, headers and bytes become a value or a typed error."""

import json
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime

import pytest
from responses import NOW, TOKEN, jwt, parsed, refused

from oidc_actor.protocol.error_response import ErrorResponse
from oidc_actor.protocol.token_response import decide_lifetime
from oidc_actor.transport import MAX_BODY_BYTES
from oidc_actor.values.tokens import ParsedToken


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
    with pytest.raises(FrozenInstanceError):
        ErrorResponse("none").problem = "another"
    assert not hasattr(ErrorResponse("none"), "__dict__")
    assert not hasattr(decide_lifetime({}, "at", now_wall=NOW, default_s=1), "__dict__")


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
@pytest.mark.parametrize("value", [None, 5, True, {}, [5], ["a", 5], {"a": "b"}, "line\nfeed", "nul\0"])
def test_what_may_be_missing_counts_as_absent_where_it_cannot_be_read(name, value):
    token = parsed({**TOKEN, name: value}).token
    assert getattr(token, name) is None
    assert token.access_token == "at"


@pytest.mark.parametrize("name", ["refresh_token", "id_token"])
@pytest.mark.parametrize("value", ["", "é"])
def test_a_text_that_is_no_token_counts_as_absent(name, value):
    assert getattr(parsed({**TOKEN, name: value}).token, name) is None


@pytest.mark.parametrize(("value", "scope"), [(["a", "b"], "a b"), ([], ""), ("", "")])
def test_scopes_may_come_as_a_list_and_may_be_none_at_all(value, scope):
    assert parsed({**TOKEN, "scope": value}).token.scope == scope


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "expected JSON, got an empty body"),
        (" \r\n", "expected JSON, got an empty body"),
        ("not json", "expected JSON, got something else"),
        ("[1]", "expected a JSON object"),
        ('"at"', "expected a JSON object"),
        ("{}", "expected an access_token, got none"),
        ({**TOKEN, "access_token": None}, "expected an access_token, got none"),
        ({**TOKEN, "access_token": ""}, "expected an access_token, got empty text"),
        ({**TOKEN, "access_token": {"hunter2": 1}}, "expected an access_token, got an object"),
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
        (400, "error=invalid_client" + "&a=b" * 49, "invalid_client", None, True),
        (400, "error=invalid_client" + "&a=b" * 50, None, None, False),
        (400, "error=invalid_client" + "&a=b" * 1000, None, None, False),
        (400, "page=1&error=invalid_client", None, None, False),
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
def test_what_a_token_exchange_brings_need_be_no_access_token_where_that_was_said(given_type):
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
    assert str(refused(value, status=status, advice=lambda: "set it up")).endswith("; set it up") is told
    assert ";" not in str(refused(value, status=status))


def test_a_redirect_says_so():
    assert "redirect, which is never followed" in str(refused("", status=302, headers={"Location": "https://evil"}))


@pytest.mark.parametrize("sign", ["", "-"])
def test_a_number_of_thousands_of_digits_spoils_nothing_but_itself(sign):
    number = sign + "9" * 5000
    unused = json.dumps(TOKEN)[:-1] + f', "x": {number}, "y": [{{"z": {number}}}]}}'
    assert parsed(unused).token.access_token == parsed(TOKEN).token.access_token
    absent = {name: value for name, value in TOKEN.items() if name != "expires_in"}
    used = json.dumps(absent)[:-1] + f', "expires_in": {number}}}'
    assert parsed(used).lifetime_s == parsed(absent).lifetime_s
