"""Exit statuses and advice, by error."""

from __future__ import annotations

import pytest

from oidc_actor.cli import exit_status
from oidc_actor.transport import TransportError
from oidc_actor.values.errors import ConfigError, DiscoveryError, OIDCActorError, SecretUnavailable, TokenRequestError


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("x"), exit_status.USAGE),
        (SecretUnavailable("x"), exit_status.USAGE),
        (TokenRequestError("x", status=401, error="invalid_client", retryable=False), exit_status.REFUSED),
        (TokenRequestError("x", status=400), exit_status.REFUSED),
        (TokenRequestError("x", status=200), exit_status.REFUSED),
        (DiscoveryError("x", status=404), exit_status.REFUSED),
        (DiscoveryError("x", status=200), exit_status.REFUSED),
        (TokenRequestError("x", status=503), exit_status.UNREACHABLE),
        (TokenRequestError("x", status=429), exit_status.UNREACHABLE),
        (DiscoveryError("x"), exit_status.UNREACHABLE),
        (TransportError("x"), exit_status.UNREACHABLE),
    ],
)
def test_status(error: OIDCActorError, status: int) -> None:
    assert exit_status.status_of(error) == status


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TokenRequestError("x", status=401, error="invalid_client"), "secret"),
        (TokenRequestError("x", status=400, error="invalid_scope"), "--scope"),
        (TokenRequestError("x", status=400, error="slow_down"), "expired"),
        (TokenRequestError("x"), "network"),
        (TokenRequestError("x", status=503), "later"),
        (TokenRequestError("x", status=429, retry_after_s=30.0), "in 30 s"),
        (DiscoveryError("x", status=404), "realm"),
        (DiscoveryError("expected the issuer 'a', byte for byte, got 'a/'", status=200), "--issuer"),
    ],
)
def test_advice(error: OIDCActorError, words: str) -> None:
    advice = exit_status.advice_for(error)
    assert advice is not None
    assert words in advice
    assert "\n" not in advice


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("x"),
        SecretUnavailable("x"),
        TokenRequestError("x", status=400),
        DiscoveryError("no answer: certificate not accepted: self-signed; name the provider's CA with ca_bundle"),
    ],
)
def test_no_advice_where_the_text_says_it_all(error: OIDCActorError) -> None:
    assert exit_status.advice_for(error) is None
