"""What is proved to the provider for one token: every secret read from its source now, every assertion signed now."""

from __future__ import annotations

from secrets import token_urlsafe

from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.credentials.grants import Credentials, JWTBearer
from oidc_actor.credentials.jws import Signer, require_jose, secret_signer
from oidc_actor.protocol.client_assertion import client_claims, staleness
from oidc_actor.protocol.metadata import OIDCConfig
from oidc_actor.protocol.token_request import SentSecrets, address_of, chosen_method, secrets_in
from oidc_actor.values.errors import ConfigError, SecretUnavailable
from oidc_actor.values.secrets import Secret, StoredSecret, resolve_secret


def gather(config: OIDCConfig, auth: Credentials, *, refresh_token: Secret | None, now_wall: float) -> SentSecrets:
    """Read and sign what one token request needs; callables run on the calling thread.

    Args:
        config: The provider's metadata, with a token endpoint.
        auth: The credentials.
        refresh_token: What to redeem in place of the full grant; ``None`` for the full grant.
        now_wall: Seconds since the epoch.

    Returns:
        The secrets. Of a client secret that only signs, the assertion is sent in its place.

    Raises:
        SecretUnavailable: Where one cannot be had now, or has expired. Retryable.
    """
    certificate = auth.client_certificate
    for file in () if certificate is None else certificate.sources:
        if file.version() is None:
            raise SecretUnavailable(f"client_certificate cannot be read: {str(file.path)!r}: no such file", sent=False)
    return SentSecrets(
        None if auth.client_secret is None else resolve_secret(auth.client_secret, "client_secret"),
        refresh_token or _grant_secret(auth, now_wall),
        secrets_in(auth),
        client_assertion=_client_assertion(config, auth, now_wall),
        actor_token=None if refresh_token is not None else _foreign(auth.actor_secret, "actor_token", now_wall),
        dpop_proof=_dpop_proof(config, auth, now_wall),
    )


def _dpop_proof(config: OIDCConfig, auth: Credentials, now_wall: float) -> Secret | None:
    if not isinstance(auth.dpop, DPoPKey):
        return None
    config.require("dpop_signing_alg_values_supported")
    accepted, url = config.dpop_signing_alg_values_supported, address_of(config, auth)
    return auth.dpop.proof("POST", url, now_wall=now_wall, jti=token_urlsafe(16), accepted=accepted)


def _grant_secret(auth: Credentials, now_wall: float) -> Secret | None:
    if auth.trades_token:
        return _foreign(auth.grant_secret, "assertion" if isinstance(auth, JWTBearer) else "subject_token", now_wall)
    return None if auth.grant_secret is None else resolve_secret(auth.grant_secret, auth.grant_type)


def _client_assertion(config: OIDCConfig, auth: Credentials, now_wall: float) -> Secret | None:
    method = chosen_method(config, auth)
    if method == "private_key_jwt" and auth.client_assertion is not None:
        return _foreign(auth.client_assertion, "client_assertion", now_wall)
    if method not in ("private_key_jwt", "client_secret_jwt"):
        return None
    claims = client_claims(auth, config, now_wall=now_wall, jti=token_urlsafe(16))
    signer = _signer(config, auth)
    header = {} if auth.private_key is None else auth.private_key.header()
    signed = signer if isinstance(signer, str) else signer.sign(claims, header)
    if isinstance(signed, str):
        raise SecretUnavailable(f"client_assertion: {signed}", sent=False)
    return signed


def _signer(config: OIDCConfig, auth: Credentials) -> Signer | str:
    if auth.private_key is not None:
        config.require("token_endpoint_auth_signing_alg_values_supported")
        return auth.private_key.signer(config.token_endpoint_auth_signing_alg_values_supported)
    assert auth.client_secret is not None
    try:
        require_jose("the provider takes client_secret_jwt only, which")
    except ConfigError as error:
        return str(error)
    return secret_signer(resolve_secret(auth.client_secret, "client_secret"))


def _foreign(source: StoredSecret | None, name: str, now_wall: float) -> Secret | None:
    """Read a token that somebody else has signed. One that says itself that it has expired is not sent."""
    if source is None:
        return None
    token = resolve_secret(source, name)
    problem = staleness(token, now_wall=now_wall)
    if problem is not None:
        raise SecretUnavailable(f"{name}: {problem}", sent=False)
    return token
