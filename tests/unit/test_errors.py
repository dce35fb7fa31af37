"""What an error carries, and which refusals no retry cures."""

import pickle

import pytest

from oidc_actor.protocol.error_response import is_permanent
from oidc_actor.values import errors
from oidc_actor.values.errors import (
    ConfigError,
    DiscoveryError,
    NoTokenError,
    OIDCActorError,
    ProviderError,
    SecretUnavailable,
    TokenRequestError,
    refuses_refresh_token,
)


def test_every_error_has_one_root():
    found = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, Exception)]
    assert len(found) == 10
    assert all(issubclass(one, OIDCActorError) for one in found)


def test_a_secret_that_cannot_be_read_is_a_failed_token_request():
    assert issubclass(SecretUnavailable, TokenRequestError)
    assert SecretUnavailable("no file").retryable


@pytest.mark.parametrize("kind", [DiscoveryError, TokenRequestError])
def test_a_provider_error_carries_data(kind):
    error = kind(
        "text", status=429, error="slow_down", error_description="wait", retryable=False, retry_after_s=7.0, sent=False
    )
    assert str(error) == "text"
    assert (error.status, error.error, error.error_description) == (429, "slow_down", "wait")
    assert (error.retryable, error.permanent, error.retry_after_s, error.sent) == (False, True, 7.0, False)


@pytest.mark.parametrize("kind", [DiscoveryError, TokenRequestError])
def test_what_is_unknown_is_retryable(kind):
    error = kind("text")
    assert (error.status, error.error, error.error_description, error.retry_after_s) == (None, None, None, None)
    assert error.retryable
    assert not error.permanent
    assert error.sent


def test_no_token_error_carries_its_cause_and_the_next_attempt():
    cause = TokenRequestError("down", status=503)
    error = NoTokenError("no token", cause=cause, retry_in_s=2.5)
    assert (error.cause, error.retry_in_s) == (cause, 2.5)
    assert (NoTokenError("x").cause, NoTokenError("x").retry_in_s) == (None, None)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("x"),
        NoTokenError("x", retry_in_s=1.0),
        TokenRequestError("x", status=401, error="invalid_client", retryable=False),
    ],
)
def test_errors_cross_process_boundaries(error):
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize(
    ("code", "grant_type", "permanent"),
    [
        ("invalid_client", "client_credentials", True),
        ("unauthorized_client", "client_credentials", True),
        ("invalid_scope", "password", True),
        ("unsupported_grant_type", "refresh_token", True),
        ("invalid_grant", "password", True),
        ("invalid_grant", "refresh_token", True),
        ("invalid_grant", "client_credentials", False),
        ("invalid_request", "client_credentials", False),
        ("temporarily_unavailable", "password", False),
        ("made_up", "password", False),
        (None, "client_credentials", False),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 401, 403])
def test_permanent_on_the_full_grant(code, grant_type, permanent, status):
    assert is_permanent(code, status=status, grant_type=grant_type, refreshing=False) is permanent


@pytest.mark.parametrize("status", [500, 503, 599])
def test_a_server_error_is_transient_whatever_it_says(status):
    for refreshing in (True, False):
        assert not is_permanent("invalid_client", status=status, grant_type="password", refreshing=refreshing)


@pytest.mark.parametrize(
    "code", ["invalid_grant", "unauthorized_client", "invalid_scope", "unsupported_grant_type", None]
)
def test_a_refused_refresh_says_nothing_about_the_full_grant(code):
    assert is_permanent(code, status=400, grant_type="password", refreshing=True) is False


def test_an_unknown_client_is_unknown_on_a_refresh_too():
    assert is_permanent("invalid_client", status=401, grant_type="client_credentials", refreshing=True)


@pytest.mark.parametrize(
    ("status", "code", "refused"),
    [
        (400, "invalid_grant", True),
        (200, "invalid_grant", True),
        (400, "invalid_request", True),
        (400, "unauthorized_client", True),
        (400, "unsupported_grant_type", True),
        (400, "invalid_scope", True),
        (400, None, True),
        (401, None, True),
        (403, None, True),
        (401, "invalid_client", False),
        (400, "temporarily_unavailable", False),
        (400, "slow_down", False),
        (404, None, False),
        (408, None, False),
        (429, None, False),
        (429, "invalid_grant", False),
        (302, None, False),
        (200, None, False),
        (500, "invalid_grant", False),
        (503, None, False),
        (None, None, False),
    ],
)
def test_what_refuses_a_refresh_token(status, code, refused):
    assert refuses_refresh_token(ProviderError("x", status=status, error=code)) is refused


def test_a_config_error_names_its_option_as_a_path():
    error = ConfigError("expected a text, got int", ("client_id",))
    assert (str(error), error.option) == ("client_id: expected a text, got int", ("client_id",))
    outer = error.within("auth")
    assert (str(outer), outer.option) == ("auth: client_id: expected a text, got int", ("auth", "client_id"))
    assert outer.problem == "expected a text, got int"
    labelled = error.within("auth", "auth of type 'x'")
    assert (str(labelled), labelled.option) == ("auth of type 'x': client_id: expected a text, got int", outer.option)
    assert ConfigError("x").option == ()
    assert str(ConfigError("x", ("a",), label="")) == "x"
