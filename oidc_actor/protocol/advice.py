"""What to change where a provider refused a client and its metadata tell why: they list another method, or other algorithms.

It is said when the client was refused, not before: metadata are known to list less than a provider takes.
"""

from __future__ import annotations

from collections.abc import Sequence

from oidc_actor.credentials.client_auth import ASSERTING, METHODS, Means
from oidc_actor.credentials.credentials import Credentials
from oidc_actor.protocol.bodies import read_object
from oidc_actor.protocol.lifetime import jwt_part
from oidc_actor.protocol.metadata import OIDCConfig
from oidc_actor.protocol.token_request import SentSecrets, chosen_method
from oidc_actor.values.secrets import Secret, has_space_at_an_end

_NEEDS = {
    "client_secret_basic": ("secret", "a client_secret"),
    "client_secret_post": ("secret", "a client_secret"),
    "client_secret_jwt": ("secret", "a client_secret"),
    "private_key_jwt": ("key", "a private_key or client_assertion"),
    "tls_client_auth": ("certificate", "a client_certificate"),
    "self_signed_tls_client_auth": ("certificate", "a client_certificate"),
    "none": ("client_id", "nothing but a client_id"),
}
"""By method, the field of `Means` that it takes, and what that is."""

SPACES = "{} begins or ends with white space, which was sent too: is it meant? (one newline at the end of a file is left out)"


def refusal_advice(config: OIDCConfig, auth: Credentials, secrets: SentSecrets) -> str | None:
    """Compare what a client sent with what the provider's metadata list (RFC 8414 section 2); look at the ends of its secret.

    Args:
        config: The provider's metadata.
        auth: The client's credentials.
        secrets: What was sent.

    Returns:
        A phrase for the end of an error, or ``None`` where nothing speaks against it. Of the metadata it shows only
        names that are known.
    """
    spaced = secrets.client_secret is not None and has_space_at_an_end(secrets.client_secret)
    told = (SPACES.format("the client_secret") if spaced else None, _about_metadata(config, auth, secrets))
    return "; ".join(one for one in told if one is not None) or None


def _about_metadata(config: OIDCConfig, auth: Credentials, secrets: SentSecrets) -> str | None:
    method = chosen_method(config, auth)
    listed = config.token_endpoint_auth_methods_supported
    if listed and method not in listed:
        return _about_methods(method, auth.means, [one for one in METHODS if one in listed])
    algorithms = config.token_endpoint_auth_signing_alg_values_supported
    used = _algorithm_of(secrets.client_assertion) if method in ASSERTING else None
    if algorithms and used is not None and used not in algorithms:
        known = [one for one in algorithms if one.isalnum() and len(one) < 10]
        return f"its metadata list signatures by {', '.join(known) or 'others'}, not by {used}"
    return None


def _about_methods(method: str, means: Means, listed: Sequence[str]) -> str:
    if not listed:
        return f"its metadata do not list {method}, nor any other method that there is here"
    possible = [one for one in listed if one != "none" and getattr(means, _NEEDS[one][0])]
    needs = dict.fromkeys(_NEEDS[one][1] for one in listed)  # each once, in their order
    fix = f"try client_auth={possible[0]!r}" if possible else f"give the credentials {', or '.join(needs)}"
    return f"its metadata list {', '.join(listed)}, not {method}: {fix}"


def _algorithm_of(assertion: Secret | None) -> str | None:
    header = None if assertion is None else read_object(jwt_part(assertion.reveal(), 0))
    found = None if header is None or isinstance(header, str) else header.get("alg")
    return found if isinstance(found, str) and found.isalnum() and len(found) < 10 else None
