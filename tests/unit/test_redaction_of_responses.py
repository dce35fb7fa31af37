"""What a provider says is shown without the secrets that were sent to it, in whatever form they come back."""

import base64

import pytest
from responses import refused

from oidc_actor.protocol.redaction import LONGEST_TEXT, presentable, redact
from oidc_actor.values.secrets import Secret

pytestmark = pytest.mark.P9

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


def test_a_phrase_that_came_broken_into_lines_is_taken_out_too():
    assert presentable("got two\nwords!", [Secret("two words")]) == "got ***!"


def test_a_secret_with_line_breaks_is_taken_out_as_it_is():
    assert redact("got two\nlines!", [Secret("two\nlines")]) == "got ***!"


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


@pytest.mark.parametrize("name", ["access_token", "refresh_token", "id_token"])
@pytest.mark.parametrize("status", [200, 400])
def test_a_token_that_comes_with_an_error_is_not_shown(name, status):
    body = {"error": "server_error", name: "hunter2", "error_description": "could not store hunter2"}
    error = refused(body, status=status)
    assert error.error_description == "could not store ***"
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    "code",
    [
        "invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type",
        "invalid_scope", "invalid_target", "invalid_token", "unsupported_token_type", "invalid_dpop_proof",
        "use_dpop_nonce", "access_denied", "server_error", "temporarily_unavailable", "slow_down",
        "authorization_pending", "expired_token",
    ],
)  # fmt: skip
def test_a_code_of_the_standards_is_shown_whole_whatever_the_secret(code):
    assert refused({"error": code}, status=400, sent_secrets=[Secret(code[3:9])]).error == code


def test_a_code_that_is_known_is_never_taken_for_a_secret():
    error = refused({"error": "invalid_client"}, status=401, sent_secrets=[Secret("client")])
    assert (error.error, error.permanent) == ("invalid_client", True)
    error = refused({"error": "my_client_is_hunter2"}, status=401, sent_secrets=[Secret("hunter2")])
    assert error.error == "my_client_is_***"
