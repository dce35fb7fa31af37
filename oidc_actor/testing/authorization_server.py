"""The OAuth half, which is Authlib's: the token endpoint, its grants and its signed access tokens."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import flask
from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import grants
from authlib.oauth2.rfc6749.errors import InvalidGrantError, OAuth2Error
from authlib.oauth2.rfc7009 import RevocationEndpoint
from authlib.oauth2.rfc9068 import JWTBearerTokenGenerator
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet

from oidc_actor.testing import mutual_tls
from oidc_actor.testing.accounts import AUTH_METHODS, Accounts, Client, IssuedRefreshToken, User
from oidc_actor.testing.dpop import ProofRefused, Proofs
from oidc_actor.testing.script import Policy, Script
from oidc_actor.testing.statements import Statements
from oidc_actor.testing.trades import JWTBearer, TokenExchange, client_by_assertion

ALGORITHM = "ES256"  # 30 times cheaper to sign than RS256, so the provider is not what a load test measures


def new_keys() -> KeySet:
    """One fresh P-256 key, with a `kid`."""
    return KeySet([ECKey.generate_key("P-256", {"use": "sig", "alg": ALGORITHM}, auto_kid=True)])


def read_token(text: str, keys: KeySet, *, issuer: str, now_wall: float) -> dict[str, Any] | None:
    """The claims of a genuine, unexpired access token of this issuer (RFC 9068 section 4); `None` for any other text.

    Args:
        text: The token as it came in the `Authorization` header.
        keys: The issuer's public keys.
        issuer: What `iss` must be.
        now_wall: Seconds since the epoch.
    """
    try:
        claims = jwt.decode(text, keys, algorithms=[ALGORITHM]).claims
    except (JoseError, ValueError):
        return None
    expires = claims.get("exp")
    if claims.get("iss") != issuer or not isinstance(expires, int | float) or expires <= now_wall:
        return None
    return claims


@dataclass(frozen=True, slots=True)
class Realm:
    """One provider, as its two halves know it: HTTP (`Endpoints`) and OAuth (`TokenServer`).

    Attributes:
        issuer: Gives its issuer identifier, which is also the URL of its root; asked at each request.
        policy: Gives how tokens are given out; asked at each request.
        clock: Gives seconds since the epoch.
        pause: Waits as long as every answer takes and the given seconds more; `False` if the provider went down
            meanwhile. Called on a request's thread.
        auth_methods: What the metadata offers.
        scopes: All the scopes there are; `None` accepts any.
        accounts: Clients, users and refresh tokens.
        script: How each request is treated, and the counters.
        proofs: The DPoP proofs that came here.
        statements: The issuers that are trusted here, and the signed statements that came.
        keys: The signing key.
        documents: Which metadata documents there are, by their names below `/.well-known/`.
        path: The issuer's path; empty for none.
        binds_to_certificates: Whether a token is bound to the certificate that was shown when it was asked for.
    """

    issuer: Callable[[], str]
    policy: Callable[[], Policy]
    clock: Callable[[], float]
    pause: Callable[[float], bool]
    auth_methods: Sequence[str]
    scopes: Sequence[str] | None
    accounts: Accounts
    script: Script
    proofs: Proofs
    statements: Statements
    keys: KeySet
    documents: Sequence[str]
    path: str = ""
    binds_to_certificates: bool = False

    def sign(self, claims: Mapping[str, Any], *, lifetime_s: float, typ: str = "JWT") -> str:
        """Sign a statement as this issuer.

        Args:
            claims: What it says; `iss`, `iat`, `exp` and `jti` are added where they are missing. `None` leaves one out.
            lifetime_s: Seconds until its `exp`.
            typ: What it is.
        """
        now, (key, *_) = self.clock(), self.keys.keys
        full = {"iss": self.issuer(), "iat": now, "exp": now + lifetime_s, "jti": secrets.token_hex(16), **claims}
        told = {name: value for name, value in full.items() if value is not None}
        return jwt.encode({"alg": ALGORITHM, "kid": key.kid, "typ": typ}, told, key)


class _IssuedToken(dict[str, Any]):
    """A token response that Authlib's debug log cannot print."""

    def __repr__(self) -> str:
        return "<token response>"


def _policy() -> Policy:
    """The policy for the request under way, which `Endpoints` puts there."""
    policy: Policy = flask.g.policy
    return policy


class _Generator(JWTBearerTokenGenerator):  # type: ignore[misc] # Authlib has no types
    """RFC 9068 access tokens whose times are exact, so that lives of less than a second can be tested."""

    def __init__(self, realm: Realm) -> None:
        super().__init__("", ALGORITHM, expires_generator=self._lifetime)
        self._realm = realm

    def get_jwks(self) -> KeySet:
        return self._realm.keys

    def get_audiences(self, client: Client, user: User | None, scope: str) -> str | list[str]:
        asked = flask.request.form
        if "audience" in flask.g:
            named: str | list[str] = flask.g.audience
            return named
        return asked.getlist("audience") or asked.getlist("resource") or client.client_id

    def get_extra_claims(self, client: Client, grant_type: str, user: User | None, scope: str) -> dict[str, Any]:
        now = self._realm.clock()
        names = {"jkt": flask.g.get("jkt"), "x5t#S256": mutual_tls.shown_thumbprint()}
        cnf = {name: value for name, value in names.items() if value is not None}
        bound = {"cnf": cnf} if cnf else {}
        told = flask.g.get("claims", {})
        return {"iss": self._realm.issuer(), "iat": now, "exp": now + _policy().token_lifetime_s, **bound, **told}

    def _lifetime(self, client: Client, grant_type: str) -> float:
        lifetime_s = _policy().token_lifetime_s
        return int(lifetime_s) if lifetime_s == int(lifetime_s) else lifetime_s


class _ClientCredentials(grants.ClientCredentialsGrant):  # type: ignore[misc] # Authlib has no types
    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS


class _Password(grants.ResourceOwnerPasswordCredentialsGrant):  # type: ignore[misc] # Authlib has no types
    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

    def authenticate_user(self, username: str, password: str) -> User:
        user: User | None = self.server.accounts.login(username, password)
        if user is None:  # Authlib's own answer is invalid_request; RFC 6749 section 5.2 asks for this one
            raise InvalidGrantError("The user name or the password is wrong.")
        return user

    def generate_token(self, user: User, scope: str | None, **_: Any) -> dict[str, Any]:
        token: dict[str, Any] = super().generate_token(user=user, scope=scope)
        client: Client = self.request.client
        token["refresh_token"] = self.server.accounts.issue(client.client_id, user, token.get("scope", ""), None)
        return _with_id_token(self, token, user)


def _with_id_token(grant: Any, token: dict[str, Any], user: User) -> dict[str, Any]:
    """A token of a login, with an ID token where the scope says `openid` (OpenID Connect Core 1.0 section 2)."""
    if "openid" in token.get("scope", "").split():
        claims = {"sub": user.username, "aud": grant.request.client.client_id, "jti": None}
        token["id_token"] = grant.server.realm.sign(claims, lifetime_s=_policy().token_lifetime_s)
    return token


class _RefreshToken(grants.RefreshTokenGrant):  # type: ignore[misc] # Authlib has no types
    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

    def authenticate_refresh_token(self, refresh_token: str) -> IssuedRefreshToken | None:
        accounts: Accounts = self.server.accounts
        return accounts.find(refresh_token, reuse_detection=_policy().reuse_detection)

    def authenticate_user(self, refresh_token: IssuedRefreshToken) -> User:
        return refresh_token.user

    def issue_token(self, user: User, refresh_token: IssuedRefreshToken) -> dict[str, Any]:
        # Two requests with one refresh token can both have found it. The first to spend it gets an answer, the other is refused.
        policy = _policy()
        accounts: Accounts = self.server.accounts
        if policy.rotation and not accounts.spend(refresh_token, reuse_detection=policy.reuse_detection):
            raise InvalidGrantError("The refresh token was used before.")
        token: dict[str, Any] = super().issue_token(user, refresh_token)
        if policy.rotation:
            scope, family = refresh_token.scope, refresh_token.family
            token["refresh_token"] = accounts.issue(refresh_token.client_id, user, scope, family)
        return _with_id_token(self, token, user)

    def revoke_old_credential(self, refresh_token: IssuedRefreshToken) -> None:
        """Nothing is left to do: `issue_token` has spent it."""


class _Revocation(RevocationEndpoint):  # type: ignore[misc] # Authlib has no types
    """RFC 7009. A refresh token takes its family with it; an access token is remembered until its end."""

    CLIENT_AUTH_METHODS = AUTH_METHODS

    def authenticate_token(self, request: Any, client: Client) -> str:
        # `Accounts` sees whose token it is when it is revoked; an unknown token is no error (section 2.2).
        self.check_params(request, client)
        token: str = request.form["token"]
        return token

    def revoke_token(self, token: str, request: Any) -> None:
        self.server.accounts.revoke(token, request.client.client_id)


class TokenServer(AuthorizationServer):  # type: ignore[misc] # Authlib has no types
    """Authlib's authorization server on our accounts.

    Args:
        app: The Flask application it belongs to.
        realm: The provider.
    """

    def __init__(self, app: Any, realm: Realm) -> None:
        self.realm = realm
        self.accounts = realm.accounts
        self._proofs = realm.proofs
        note_issued = realm.script.note_issued
        super().__init__(app, query_client=realm.accounts.client, save_token=lambda token, request: note_issued())
        self.scopes_supported = list(realm.scopes) if realm.scopes is not None else None
        self.register_token_generator("default", _Generator(realm))
        for grant in (_ClientCredentials, _Password, _RefreshToken, JWTBearer, TokenExchange):
            self.register_grant(grant)
        for method in ("client_secret_jwt", "private_key_jwt"):
            self.register_client_auth_method(method, client_by_assertion(realm, method))
        self.register_client_auth_method(mutual_tls.METHOD, mutual_tls.client_by_certificate)
        self.register_endpoint(_Revocation)

    def generate_token(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Authlib's token response, made unprintable; of a token that is bound to the key of a proof, where one came."""
        self._bind(flask.request.headers.get("DPoP"))
        token = _IssuedToken(super().generate_token(*args, **kwargs))
        return _IssuedToken(token, token_type="DPoP") if "jkt" in flask.g else token  # noqa: S106 - a scheme's name

    @staticmethod
    def unprintable(answer: dict[str, Any]) -> dict[str, Any]:
        """A token response that nothing prints."""
        return _IssuedToken(answer)

    def _bind(self, proof: str | None) -> None:
        """RFC 9449 section 5: the access token is the key's. Its refresh token is not (a confidential client's)."""
        if proof is None:
            return
        found = self._proofs.check(proof, method="POST", url=flask.request.base_url)
        if isinstance(found, ProofRefused):
            raise OAuth2Error(found.reason, error=found.error)
        flask.g.jkt = found
