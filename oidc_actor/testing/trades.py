"""Signed statements at the token endpoint: what authenticates a client, and what is traded for a token.

A client authenticates with a JWT that it signs with its secret or its key (RFC 7523 section 2.2). Traded are an assertion of an
issuer that is trusted (RFC 7523 section 2.1), a subject's token (RFC 8693), and an ID-JAG: an identity provider gives one for a
subject's token, and the authorization server of another domain takes it as an assertion
(draft-ietf-oauth-identity-assertion-authz-grant).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import flask
from authlib.oauth2.rfc6749 import BaseGrant, TokenEndpointMixin
from authlib.oauth2.rfc6749.errors import (
    InvalidClientError,
    InvalidGrantError,
    InvalidRequestError,
    InvalidScopeError,
)

from oidc_actor.testing.accounts import AUTH_METHODS, JWT_BEARER, TOKEN_EXCHANGE, Client, User
from oidc_actor.testing.statements import claims_of, secret_keys, type_of

if TYPE_CHECKING:
    from oidc_actor.testing.authorization_server import Realm

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ID_JAG_TYPE = "oauth-id-jag+jwt"
"""The `typ` of an ID-JAG."""

_TOKEN_TYPE = "urn:ietf:params:oauth:token-type:"  # noqa: S105 - a name
ACCESS_TOKEN, REFRESH_TOKEN, ID_TOKEN, JWT, ID_JAG = (
    _TOKEN_TYPE + name for name in ("access_token", "refresh_token", "id_token", "jwt", "id-jag")
)


def client_by_assertion(realm: Realm, method: str) -> Callable[[Any, Any], Client | None]:
    """One of the two methods with a signed assertion, in Authlib's form.

    Args:
        realm: The provider.
        method: `client_secret_jwt` or `private_key_jwt`.
    """

    def authenticate(query_client: Callable[[str], Client | None], _: Any) -> Client | None:
        form = flask.request.form
        assertion, given_id = form.get("client_assertion", ""), form.get("client_id")
        named = claims_of(assertion).get("sub")
        is_one = form.get("client_assertion_type") == ASSERTION_TYPE and isinstance(named, str)
        client = query_client(str(named)) if is_one else None
        if client is None or method not in client.auth_methods or given_id not in (None, client.client_id):
            return None
        try:
            keys = client.keys if method == "private_key_jwt" else secret_keys(client.client_secret or "")
        except Warning:  # of joserfc, where warnings are errors
            raise InvalidClientError(description="The client secret is too short to sign with.") from None
        if keys is None:
            return None
        found = realm.statements.read(assertion, keys, issuer=client.client_id, audience=_audiences(realm), once=True)
        if isinstance(found, str):
            raise InvalidClientError(description=f"client_assertion: {found}", status_code=401)
        return client

    return authenticate


def _audiences(realm: Realm) -> set[str]:
    return {realm.issuer(), flask.request.base_url}


class _Trade(BaseGrant, TokenEndpointMixin):  # type: ignore[misc] # Authlib has no types
    """What both grants have in common. A client may stay unknown (RFC 7521 section 4.1, RFC 8693 section 2.1)."""

    TOKEN_ENDPOINT_AUTH_METHODS = AUTH_METHODS

    @property
    def realm(self) -> Realm:
        realm: Realm = self.server.realm
        return realm

    def client_or_none(self) -> Client | None:
        form = flask.request.form
        if "Authorization" not in flask.request.headers and not {"client_id", "client_assertion"} & set(form):
            return None
        client: Client = self.authenticate_token_endpoint_client()
        return client

    def trade_for_access_token(self, scope: str | None) -> dict[str, Any]:
        user = self.request.user
        token: dict[str, Any] = self.generate_token(user=user, scope=scope, include_refresh_token=False)
        self.save_token(token)
        return token


class JWTBearer(_Trade):
    """RFC 7523 section 2.1, and the second half of an ID-JAG's way."""

    GRANT_TYPE = JWT_BEARER

    def validate_token_request(self) -> None:
        """Check the assertion, and that the client may bring it."""
        realm, client, text = self.realm, self.client_or_none(), flask.request.form.get("assertion", "")
        is_id_jag = type_of(text) == ID_JAG_TYPE
        found = realm.statements.read_trusted(text, audience={realm.issuer()} if is_id_jag else _audiences(realm))
        if isinstance(found, str):
            raise InvalidGrantError(f"assertion: {found}")
        if is_id_jag:
            self._check_id_jag(found, client)
        subject = found.get("sub")
        if not isinstance(subject, str) or not subject:
            raise InvalidGrantError("assertion: sub: expected a text")
        self.request.client = client or Client(str(found["iss"]), None, ())
        self.request.user = User(subject)
        self.validate_requested_scope()
        self._scope = self.request.payload.scope
        if is_id_jag:
            self._scope = _narrowed(self._scope, found.get("scope"))
            if found.get("resource"):
                flask.g.audience = found["resource"]

    def _check_id_jag(self, claims: dict[str, Any], client: Client | None) -> None:
        if client is None or client.is_public:
            raise InvalidClientError(description="An ID-JAG is taken of a client that authenticates only.")
        if claims.get("client_id") != client.client_id:
            raise InvalidGrantError("assertion: client_id: expected that of the client that authenticates")
        problem = self.realm.statements.take(claims)
        if problem is not None:
            raise InvalidGrantError(f"assertion: {problem}")

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        """Give an access token."""
        return 200, self.trade_for_access_token(self._scope), self.TOKEN_RESPONSE_HEADER


class TokenExchange(_Trade):
    """RFC 8693: a subject's token for an access token, another kind of token, or an ID-JAG."""

    GRANT_TYPE = TOKEN_EXCHANGE

    def validate_token_request(self) -> None:
        """Check what is traded, and what is wanted for it."""
        form, client = flask.request.form, self.client_or_none()
        self._subject = self._read("subject_token", client)
        if "actor_token" in form:
            flask.g.claims = {"act": {"sub": self._read("actor_token", client)["sub"]}}
        self._wanted = form.get("requested_token_type", ACCESS_TOKEN)
        if self._wanted not in (ACCESS_TOKEN, JWT, ID_TOKEN, ID_JAG):
            raise InvalidRequestError(f"requested_token_type: {self._wanted} is not given here.")
        if self._wanted == ID_JAG and (client is None or client.is_public):
            raise InvalidClientError(description="An ID-JAG is for a client that authenticates only.")
        if self._wanted == ID_JAG and len(form.getlist("audience")) != 1:
            raise InvalidRequestError(
                "audience: expected one, the issuer of the authorization server that takes the ID-JAG."
            )
        self.request.client = client or Client(str(self._subject["iss"]), None, ())
        self.request.user = User(self._subject["sub"])
        self.validate_requested_scope()
        self._scope = _narrowed(self.request.payload.scope, self._subject.get("scope"))

    def _read(self, name: str, client: Client | None) -> dict[str, Any]:
        """What a token that is traded says (section 2.2.2: a wrong one is an `invalid_request`)."""
        realm, form = self.realm, flask.request.form
        text, kind = form.get(name, ""), form.get(f"{name}_type")
        found: dict[str, Any] | str
        if kind == REFRESH_TOKEN:
            issued = realm.accounts.find(text, reuse_detection=False)
            is_theirs = issued is not None and client is not None and issued.client_id == client.client_id
            found = "it is no refresh token of this client"
            if issued is not None and is_theirs:
                found = {"iss": realm.issuer(), "sub": issued.user.username, "scope": issued.scope}
        elif kind not in (ACCESS_TOKEN, ID_TOKEN, JWT):
            found = f"{kind or 'a token without a type'} is not taken here"
        elif claims_of(text).get("iss") == realm.issuer():
            aud = {client.client_id} if kind == ID_TOKEN and client is not None else None
            found = realm.statements.read(text, realm.keys, issuer=realm.issuer(), audience=aud)
            found = "it was revoked" if realm.accounts.is_revoked(text) else found
        else:
            found = realm.statements.read_trusted(text, audience=None)
        if isinstance(found, dict) and not isinstance(found.get("sub"), str):
            found = "sub: expected a text"
        if isinstance(found, str):
            raise InvalidRequestError(f"{name}: {found}")
        return found

    def create_token_response(self) -> tuple[int, dict[str, Any], Any]:
        """Give what is wanted, in the member `access_token` whatever it is (RFC 8693 section 2.2.1)."""
        if self._wanted in (ACCESS_TOKEN, JWT):
            token = self.trade_for_access_token(self._scope)
            token["issued_token_type"] = self._wanted
            if self._wanted == JWT:
                token["token_type"] = "N_A"  # noqa: S105 - section 2.2.1
            return 200, token, self.TOKEN_RESPONSE_HEADER
        lifetime_s = flask.g.policy.token_lifetime_s
        text = self._id_jag() if self._wanted == ID_JAG else self._id_token()
        answer = {
            "access_token": text,
            "issued_token_type": self._wanted,
            "token_type": "N_A",
            "expires_in": lifetime_s,
        }
        if self._wanted == ID_JAG and self._scope:
            answer["scope"] = self._scope
        return 200, self.server.unprintable(answer), self.TOKEN_RESPONSE_HEADER

    def _id_jag(self) -> str:
        form = flask.request.form
        resources, client = form.getlist("resource"), self.request.client
        claims = {"aud": form["audience"], "client_id": client.client_id, "sub": self._subject["sub"]}
        if self._scope:
            claims["scope"] = self._scope
        if resources:
            claims["resource"] = resources[0] if len(resources) == 1 else resources
        return self.realm.sign(claims, typ=ID_JAG_TYPE, lifetime_s=flask.g.policy.token_lifetime_s)

    def _id_token(self) -> str:
        audience = flask.request.form.getlist("audience") or self.request.client.client_id
        claims = {"sub": self._subject["sub"], "aud": audience, **flask.g.get("claims", {})}
        return self.realm.sign(claims, lifetime_s=flask.g.policy.token_lifetime_s)


def _narrowed(asked: str | None, held: object) -> str | None:
    """The scopes of the new token: those that were asked for, which must be among those that are held, or else these."""
    if not isinstance(held, str) or not held:
        return asked
    if asked and not set(asked.split()) <= set(held.split()):
        raise InvalidScopeError(description="The scope is wider than that of the token that is traded.")
    return asked or held
