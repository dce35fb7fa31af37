"""How a command ends: its exit status, and an error as a person reads it, with what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from oidc_actor.cli.connection import in_options
from oidc_actor.values.errors import ConfigError, DiscoveryError, OIDCActorError, ProviderError, SecretUnavailable

OK = 0
FAILED = 1  # a check failed, a promise of the demo broke
USAGE = 2  # options or secrets are wrong; typer's own status for it
REFUSED = 3  # the provider answered no: asking again does not help
UNREACHABLE = 4  # no answer, or one of a provider in trouble: asking again later may help

_TROUBLE = frozenset({408, 425, 429})

ADVICE = {
    "invalid_client": (
        "Check the client id and its secret (an old one, or another client's), and that the client may authenticate "
        "this way (--client-auth)."
    ),
    "unauthorized_client": "Allow this grant for the client at the provider ('service account' in some consoles).",
    "invalid_grant": "Check the user name and the password; the account may be locked or need a second factor.",
    "invalid_scope": "Ask for scopes this client has (--scope), or add them to the client at the provider.",
    "unsupported_grant_type": "This provider does not offer the grant; use a client that may use client_credentials.",
    "invalid_target": "Check --resource or --audience against the names of the APIs that the provider knows.",
    "access_denied": "The person, or a rule of the provider, said no.",
    "expired_token": "Nobody let the program in before the code expired: run the command again.",
    "authorization_pending": "Nobody let the program in before the code expired: run the command again.",
    "slow_down": "Nobody let the program in before the code expired: run the command again.",
    "invalid_request": "Something required is missing or malformed: often --audience, --resource or --scope.",
}

_NO_GRANT = ADVICE["unauthorized_client"]
_REDEEMED = (
    "This refresh token was redeemed before, was revoked, or has ended: log in anew. Where several processes share one, give "
    "each a login of its own, or give it to one process only and have the others ask that one (oidc-actor run)."
)
_REFUSED = "The provider refuses the grant: check what this client must send besides (a DPoP proof, --client-cert, --audience)."
_OF_THE_GRANT = {
    "refresh_token": _REDEEMED,
    "client_credentials": _REFUSED,
}  # of an invalid_grant; else a user's password

_NO_RESPONSE = {
    "through the proxy": "Check the proxy that HTTPS_PROXY (or HTTP_PROXY) names, or name the provider's host in NO_PROXY.",
    "name cannot be resolved": "Check the host name in the URL, and this machine's DNS.",
    "connection refused": "Nothing listens there: check the host and the port, and that the provider runs.",
    "no complete answer within": (
        "The server does not answer in time: check the host and the port, and whether a firewall drops the request; "
        "give --timeout where the provider is only slow."
    ),
    "plain http at this port": "Use the port at which the provider speaks TLS, or http:// where that stays on this machine.",
    "TLS failed": "Check the scheme and the port. A server that asks for a client's certificate needs --client-cert.",
    "without an answer": "Check the scheme and the port: a server that speaks TLS ends so when http:// asks; then use https://.",
    "is not HTTP": "Check the port: what answers there is no web server.",
}
"""What to do where no response came, by words of the transport's error; the first that is found."""

_KEY = (
    "Check the client id, that the public key of this private key is registered for it at the provider (or stands in its JWKS), "
    "that --key-id is the kid it has there, and this machine's clock."
)
_CERTIFICATE = (
    "Check the client id, and that this certificate (--client-cert) is the one registered for it at the provider: its subject, "
    "who issued it, when it ends."
)
_OF_THE_PROOF = {
    "private_key_jwt": _KEY,
    "tls_client_auth": _CERTIFICATE,
    "self_signed_tls_client_auth": _CERTIFICATE,
    "none": "Check the client id, and whether this client has to prove itself: with a secret, a private key or a certificate.",
}  # of an invalid_client, by the method that the client was authenticated with; the others send or use the secret


def status_of(error: OIDCActorError) -> int:
    """The exit status for an error."""
    if isinstance(error, ConfigError | SecretUnavailable):
        return USAGE
    if isinstance(error, ProviderError) and error.status is not None:
        return UNREACHABLE if error.status >= 500 or error.status in _TROUBLE else REFUSED
    return UNREACHABLE


def advice_for(error: OIDCActorError, method: str | None = None, grant_type: str = "") -> str | None:
    """What to do about an error, in one line; `None` where its own text says it.

    Args:
        error: The error.
        method: How the client was authenticated; `None` where it is not known.
        grant_type: What was asked for; empty where it is not known.
    """
    if not isinstance(error, ProviderError) or isinstance(error, SecretUnavailable):
        return None
    if error.error is None and error.status is None:
        return _without_response(str(error))
    return _of_code(error, method, grant_type) or _of_status(error, error.status or 0)


def _of_code(error: ProviderError, method: str | None, grant_type: str) -> str | None:
    if error.error == "invalid_client" and method in _OF_THE_PROOF:
        return _OF_THE_PROOF[method]
    if error.error == "invalid_grant" and grant_type in _OF_THE_GRANT:
        return _OF_THE_GRANT[grant_type]
    told = (error.error_description or "").lower()
    if error.error == "invalid_request" and "grant" in told and "not allowed" in told:
        return _NO_GRANT
    return ADVICE.get(error.error or "")


def _of_status(error: ProviderError, status: int) -> str | None:
    if status == 429 or status >= 500:
        wait = f" in {error.retry_after_s:.0f} s" if error.retry_after_s else " later"
        return f"The provider is in trouble or protects itself: try again{wait}."
    if isinstance(error, DiscoveryError) and "authorization_servers" in str(error):
        return (
            "The API takes the tokens of other servers: name one of them (--issuer), if you trust it with the secret."
        )
    if isinstance(error, DiscoveryError) and "discovery of the resource" in str(error) and status == 404:
        return "Check the URL; an API that publishes no metadata is named by --resource in place of --resource-url."
    if isinstance(error, DiscoveryError) and "expected the issuer" in str(error):
        return "Use the issuer that the metadata name (--issuer), if that is your provider."
    if status == 404:
        return "Check the URL: the provider runs, but nothing is at this address (a realm or tenant missing in it, or misspelt?)."
    return None


def _without_response(text: str) -> str | None:
    if "certificate" in text and "TLS failed" not in text:
        return None  # the provider's that is not trusted, or the client's own: the text says what to do
    general = "Check the URL, the network, a proxy or firewall between, and that the provider runs."
    return next((advice for words, advice in _NO_RESPONSE.items() if words in text), general)


@contextmanager
def errors_shown(command: str, method: str | None = None) -> Iterator[None]:
    """Turn the library's errors into lines on standard error and the exit status that goes with them.

    Args:
        command: Begins each first line.
        method: How the client is authenticated; `None` where it is not known yet.
    """
    try:
        yield
    except OIDCActorError as error:
        sys.stderr.write(f"oidc-actor {command}: {in_options(error)}\n")
        advice = advice_for(error, method)
        if advice is not None:
            sys.stderr.write(f"{advice}\n")
        raise typer.Exit(status_of(error)) from None
