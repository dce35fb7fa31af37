"""What the provider knows: its clients, its users and the families of its refresh tokens.

A *family* is the chain of refresh tokens that began with one login. With rotation on, each one may be redeemed
once; a second redemption means that two parties hold it, so the whole family dies (RFC 9700 section 4.14.2).
"""

from __future__ import annotations

import hmac
import secrets
import threading
from dataclasses import dataclass, field
from typing import TypeVar

from joserfc.jwk import KeySet

T = TypeVar("T")

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"  # noqa: S105 - a name
GRANTS = ("client_credentials", "password", "refresh_token", JWT_BEARER, TOKEN_EXCHANGE)
AUTH_METHODS = (
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "none",
)


@dataclass(frozen=True, slots=True)
class Client:
    """A registered client, with the methods Authlib asks of one.

    Attributes:
        client_id: Its public name.
        client_secret: Its secret; without it and without keys it is a public client (`client_auth` "none").
        auth_methods: The ways it may authenticate, by RFC 8414's names.
        keys: What it signs assertions with, the public half; `None` for none.
        certificate_uri: The URI in its certificate that it is known by, such as a SPIFFE ID; `None` for none.
    """

    client_id: str
    client_secret: str | None = field(repr=False)
    auth_methods: tuple[str, ...]
    keys: KeySet | None = field(default=None, repr=False)
    certificate_uri: str | None = None

    @property
    def is_public(self) -> bool:
        """Whether it has nothing to authenticate with."""
        return self.client_secret is None and self.keys is None and self.certificate_uri is None

    def get_client_id(self) -> str:
        """The id that goes into a token's `client_id` and `aud`."""
        return self.client_id

    def get_allowed_scope(self, scope: str | None) -> str:
        """The scopes granted of those asked for; unknown ones were refused before this."""
        return scope or ""

    def check_client_secret(self, client_secret: str) -> bool:
        """Whether the secret is right."""
        mine = self.client_secret
        return mine is not None and hmac.compare_digest(mine.encode(), client_secret.encode())

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        """Whether it may authenticate this way; the same at every endpoint."""
        return method in self.auth_methods

    def check_grant_type(self, grant_type: str) -> bool:
        """Whether it may use this grant; a public client has no client_credentials (RFC 6749 section 4.4)."""
        return grant_type in GRANTS and not (grant_type == "client_credentials" and self.is_public)


@dataclass(frozen=True, slots=True)
class User:
    """A resource owner, by name."""

    username: str

    def get_user_id(self) -> str:
        """What goes into a token's `sub`."""
        return self.username


@dataclass(frozen=True, slots=True)
class IssuedRefreshToken:
    """What one refresh token stands for."""

    token: str = field(repr=False)
    client_id: str
    user: User
    scope: str
    family: str

    def check_client(self, client: Client) -> bool:
        """Whether this client is the one it was issued to."""
        return client.client_id == self.client_id

    def get_scope(self) -> str:
        """The scopes of the login, which a refresh may narrow but not widen."""
        return self.scope


MOST_TOKENS = 1000
"""So many live, spent and revoked ones are remembered, each; beyond that the oldest are forgotten."""


class Accounts:
    """Clients, users and refresh tokens, in memory. Any thread may use it.

    Attributes:
        revocations: How many tokens clients have revoked.
        reuses: How many times a spent refresh token came back.
    """

    def __init__(self) -> None:
        # Guards everything below. Held for dictionary work only, never while signing or waiting.
        self._lock = threading.Lock()
        self._clients: dict[str, Client] = {}
        self._passwords: dict[str, str] = {}
        self._live: dict[str, IssuedRefreshToken] = {}
        self._spent: dict[str, IssuedRefreshToken] = {}
        self._revoked: dict[str, None] = {}  # access tokens
        self.revocations = 0
        self.reuses = 0

    def put_client(self, client: Client) -> None:
        """Register a client, or replace the one of that id (which is how a secret is rotated)."""
        with self._lock:
            self._clients[client.client_id] = client

    def client(self, client_id: str) -> Client | None:
        """The client of that id."""
        with self._lock:
            return self._clients.get(client_id)

    def further_methods(self) -> list[str]:
        """The methods that clients use here with a signed assertion, or a certificate."""
        with self._lock:
            used = {method for client in self._clients.values() for method in client.auth_methods}
        return sorted(used & {"client_secret_jwt", "private_key_jwt", "tls_client_auth"})

    def put_user(self, username: str, password: str) -> None:
        """Register a user, or change a user's password."""
        with self._lock:
            self._passwords[username] = password

    def login(self, username: str, password: str) -> User | None:
        """The user, if the password is right."""
        with self._lock:
            known = self._passwords.get(username)
        if known is None or not hmac.compare_digest(known.encode(), password.encode()):
            return None
        return User(username)

    def issue(self, client_id: str, user: User, scope: str, family: str | None) -> str:
        """A new refresh token; `family=None` begins a family."""
        issued = IssuedRefreshToken(secrets.token_urlsafe(24), client_id, user, scope, family or secrets.token_hex(8))
        with self._lock:
            _remember(self._live, issued.token, issued)
        return issued.token

    def find(self, token: str, *, reuse_detection: bool) -> IssuedRefreshToken | None:
        """What a presented refresh token stands for; a spent one takes its family with it."""
        with self._lock:
            if token in self._spent:
                self._note_reuse(self._spent[token], reuse_detection)
            return self._live.get(token)

    def spend(self, issued: IssuedRefreshToken, *, reuse_detection: bool) -> bool:
        """Redeem a refresh token; `False` if another request did so after this one had found it."""
        with self._lock:
            if self._live.pop(issued.token, None) is None:
                self._note_reuse(issued, reuse_detection)
                return False
            _remember(self._spent, issued.token, issued)
            return True

    def revoke_refresh_tokens(self) -> None:
        """Forget every refresh token."""
        with self._lock:
            self._live.clear()

    def revoke(self, token: str, client_id: str) -> None:
        """Revoke what a client names (RFC 7009): a refresh token of its own with its family, else that very text."""
        with self._lock:
            self.revocations += 1
            issued = self._live.get(token) or self._spent.get(token)
            if issued is None:
                _remember(self._revoked, token, None)
            elif issued.client_id == client_id:
                self._drop(issued.family)

    def is_revoked(self, access_token: str) -> bool:
        """Whether a client has revoked it."""
        with self._lock:
            return access_token in self._revoked

    # --- the lock is held ---

    def _note_reuse(self, issued: IssuedRefreshToken, reuse_detection: bool) -> None:
        self.reuses += 1
        if reuse_detection:
            self._drop(issued.family)

    def _drop(self, family: str) -> None:
        self._live = {token: issued for token, issued in self._live.items() if issued.family != family}


def _remember(known: dict[str, T], token: str, value: T) -> None:
    known[token] = value
    if len(known) > MOST_TOKENS:
        del known[next(iter(known))]
