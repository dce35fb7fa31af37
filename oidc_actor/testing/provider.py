"""`Provider`: a real OAuth 2.0 authorization server on loopback, for tests and for the demo."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from oidc_actor.testing.accounts import Accounts, Client
from oidc_actor.testing.authorization_server import Realm, new_keys
from oidc_actor.testing.certificates import Certificates
from oidc_actor.testing.dpop import Proofs
from oidc_actor.testing.endpoints import OAUTH, OPENID, Endpoints
from oidc_actor.testing.listener import Listener
from oidc_actor.testing.mutual_tls import ask_for_certificates
from oidc_actor.testing.port import HOST
from oidc_actor.testing.script import Endpoint, Policy, Script, Treatment, error_answer
from oidc_actor.testing.statements import GivenKey, Statements, read_keys

CONFIDENTIAL_METHODS = ("client_secret_basic", "client_secret_post")


class Provider:
    """An authorization server that runs in this process, on 127.0.0.1, and goes wrong when told to.

    The OAuth in it is Authlib's, on Flask and Werkzeug, so a client that passes here has met another project's reading of
    the RFCs, not ours. Authlib because it is kept, implements the server's side of exactly these grants and of RFC 9068
    tokens, and mounts on Flask in a few dozen lines (oauthlib's own Flask integration sends its users to Authlib).
    Access tokens are JWTs signed with ES256 by joserfc. One connection serves one request: Werkzeug has no keep-alive.

    It has one confidential client and one user to begin with; grants `client_credentials`, `password` and
    `refresh_token` with rotation and reuse detection; discovery, JWKS, revocation (RFC 7009), and `/resource`, an API that
    accepts its tokens until they expire or are revoked, with metadata of its own (RFC 9728). A request for a token that comes
    with a DPoP proof (RFC 9449) gets one that is bound to its key, which `/resource` takes with a proof only; it asks for no
    nonces.

    Signed statements are traded for tokens: an assertion of an issuer that it trusts (`trust`, RFC 7523), and a subject's token
    (RFC 8693). For that it also gives an ID-JAG, and it takes one (draft-ietf-oauth-identity-assertion-authz-grant). Clients may
    authenticate with `client_secret_jwt` and `private_key_jwt` (`add_client`): each assertion is taken once. With `client_ca`
    they may with a certificate, too (`tls_client_auth`, RFC 8705). A login whose scope says `openid` brings an ID token.

    All methods may be called from any thread.

    Args:
        client_id: Id of the first client.
        client_secret: Its secret; `None` makes one up.
        username: Name of the first user.
        password: The user's password; `None` makes one up.
        token_lifetime_s: Life of an access token in seconds; fractions are allowed.
        rotation: Each refresh brings a new refresh token and spends the old one. Without it no refresh answer has one.
        reuse_detection: A spent refresh token that comes back ends its family (RFC 9700 section 4.14.2).
        delay_s: Seconds that every answer takes.
        clock_skew_s: How many seconds its clock (`Date`, `iat`, `exp`) is ahead of `clock`.
        client_auth_methods: The ways the first client may authenticate, by RFC 8414's names; also its metadata.
        scopes: All the scopes there are, others are `invalid_scope`; `None` accepts any.
        documents: Which metadata documents there are, by their names below `/.well-known/`: `openid-configuration`, and
            `oauth-authorization-server` (RFC 8414), or both, or none.
        path: The path of its issuer, such as `"/tenant"`: all but the documents of RFC 8414 and RFC 9728 is below it.
        port: The port to use; 0 takes a free one.
        tls: Answer by https, with a certificate that clients accept if they trust `ca_bundle`.
        client_ca: PEM file of the authority whose certificates clients may show (RFC 8705); with `tls` only. A token that is
            asked for with one is bound to it, and `/resource` takes it with that one only.
        public_url: What it calls itself in its metadata and tokens: the `url` of a `FaultProxy` before it, so that
            clients go through that. `None` is where it listens. May be assigned while it runs.
        clock: Its clock, in seconds since the epoch; `ManualClock.wall` for one that a test advances.

    Example:
        >>> from oidc_actor.testing import Provider
        >>> with Provider(token_lifetime_s=5) as provider:
        ...     provider.issuer_url.startswith("http://127.0.0.1:")
        True
    """

    def __init__(
        self,
        *,
        client_id: str = "test-client",
        client_secret: str | None = None,
        username: str = "test-user",
        password: str | None = None,
        token_lifetime_s: float = 10.0,
        rotation: bool = True,
        reuse_detection: bool = True,
        delay_s: float = 0.0,
        clock_skew_s: float = 0.0,
        client_auth_methods: Sequence[str] = CONFIDENTIAL_METHODS,
        scopes: Sequence[str] | None = None,
        documents: Sequence[str] = (OPENID,),
        path: str = "",
        port: int = 0,
        tls: bool = False,
        client_ca: str | Path | None = None,
        public_url: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if token_lifetime_s <= 0:
            raise ValueError(f"token_lifetime_s must be more than 0 seconds, got {token_lifetime_s!r}")
        if unknown := set(documents) - {OPENID, OAUTH}:
            raise ValueError(f"documents must be of {OPENID!r} and {OAUTH!r}, got {sorted(unknown)!r}")
        if path and (not path.startswith("/") or path.endswith("/")):
            raise ValueError(f"path must begin with a slash and not end with one, got {path!r}")
        if client_ca is not None and not tls:
            raise ValueError("client_ca needs tls=True: certificates are shown in TLS")
        self._client_ca = None if client_ca is None else Path(client_ca)
        self.token_lifetime_s = token_lifetime_s
        self.rotation = rotation
        self.reuse_detection = reuse_detection
        self.delay_s = delay_s
        self.clock_skew_s = clock_skew_s
        self._script = Script()
        self._accounts = Accounts()
        self.client_id = client_id
        self.username = username
        self._auth_methods = tuple(client_auth_methods)
        self._scopes = tuple(scopes) if scopes is not None else None
        self._documents = tuple(documents)
        self._path = path
        self._keys = new_keys()
        self._statements = Statements(self._clock)
        self._port = port
        self._tls = tls
        self.public_url = public_url
        self._own_clock = clock
        self._certificates: Certificates | None = None
        self._listener: Listener | None = None
        self._leaving = threading.Event()  # set while it is down: ends the delays of requests under way
        self.client_secret = client_secret or secrets.token_urlsafe(16)
        self.password = password or secrets.token_urlsafe(16)

    def __repr__(self) -> str:
        return f"<Provider {self.issuer_url if self._listener else 'not started'}>"

    # --- life ---

    def start(self) -> Self:
        """Take a port and answer on it; nothing happens if it runs already.

        Raises:
            OSError: The given `port` is taken.
            ValueError: `client_ca` holds no certificates, or cannot be read.
        """
        if self._listener is None:
            self._certificates = Certificates() if self._tls else None
            context = self._certificates.context if self._certificates is not None else None
            try:
                if context is not None and self._client_ca is not None:
                    ask_for_certificates(context, self._client_ca)
                self._listener = Listener(self._clock, self._port, context)
            except BaseException:
                self.stop()  # the folder with the keys goes, too
                raise
            realm = Realm(
                issuer=lambda: self.issuer_url,
                policy=lambda: Policy(self.token_lifetime_s, self.rotation, self.reuse_detection),
                clock=self._clock,
                pause=lambda more_s: not self._leaving.wait(self.delay_s + more_s),
                auth_methods=self._auth_methods,
                scopes=self._scopes,
                accounts=self._accounts,
                script=self._script,
                proofs=Proofs(self._clock),
                statements=self._statements,
                keys=self._keys,
                documents=self._documents,
                path=self._path,
                binds_to_certificates=self._client_ca is not None,
            )
            self._realm = realm
            self._endpoints = Endpoints(realm)
            self.up()
        return self

    def stop(self) -> None:
        """Go down for good and give the port back; open connections are broken."""
        if self._listener is not None:
            self._leaving.set()
            self._listener.close()
            self._listener = None
        if self._certificates is not None:
            self._certificates.remove()
            self._certificates = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def down(self) -> None:
        """Refuse connections, as a stopped server does; requests under way are cut off unanswered. The port is kept."""
        # First this: a request that waits out its delay, on its own thread, then ends at once. Otherwise the listener, which
        # waits for the threads of all requests, would wait for the delay as well.
        self._leaving.set()
        self._running().down()

    def up(self) -> None:
        """Answer again, on the same port, with everything it knew."""
        self._leaving.clear()  # first this: a request that is accepted before it would be cut off
        self._running().up(self._endpoints.app)

    # --- where it is, and its clients and users ---

    @property
    def issuer_url(self) -> str:
        """The issuer identifier; append nothing to it, it has no trailing slash."""
        return (self.public_url or self.listen_url) + self._path

    @property
    def listen_url(self) -> str:
        """Where it listens, without its path; also where its issuer has another name: the target of a `FaultProxy`."""
        return f"{'https' if self._tls else 'http'}://{HOST}:{self._running().port}"

    @property
    def ca_bundle(self) -> Path | None:
        """PEM file of the authority that a client has to trust; `None` without `tls`."""
        return self._certificates.ca_bundle if self._certificates is not None else None

    @property
    def token_endpoint(self) -> str:
        """URL of the token endpoint, as the metadata give it."""
        return f"{self.issuer_url}{self.token_path}"

    @property
    def token_path(self) -> str:
        """Path of the token endpoint, behind the issuer's; assign to move it, and the old path is 404 from then on."""
        self._running()
        return self._endpoints.token_path

    @token_path.setter
    def token_path(self, value: str) -> None:
        self._running()
        self._endpoints.token_path = value

    @property
    def resource_url(self) -> str:
        """URL of an API that answers 200 to this provider's live tokens and 401 to anything else."""
        return f"{self.issuer_url}/resource"

    @property
    def client_secret(self) -> str:
        """The first client's secret; assign to rotate it."""
        return self._client_secret

    @client_secret.setter
    def client_secret(self, value: str) -> None:
        self._client_secret = value
        self._accounts.put_client(Client(self.client_id, value, self._auth_methods))

    @property
    def password(self) -> str:
        """The first user's password; assign to change it."""
        return self._password

    @password.setter
    def password(self, value: str) -> None:
        self._password = value
        self._accounts.put_user(self.username, value)

    def add_client(
        self,
        client_id: str,
        client_secret: str | None,
        auth_methods: Sequence[str] | None = None,
        *,
        public_key: GivenKey | None = None,
        certificate_uri: str | None = None,
    ) -> None:
        """Register one more client.

        Args:
            client_id: Its identifier.
            client_secret: Its secret; `None` makes it public (`client_auth` "none"), unless it has a key or a certificate.
            auth_methods: How it may authenticate, by RFC 8414's names; `None` for what fits a secret (`client_secret_basic`,
                `client_secret_post`), a key (`private_key_jwt`) or a certificate (`tls_client_auth`).
            public_key: What it signs its assertions with: PEM, a JWK, or a JWK set. Of a private key the public half is used.
            certificate_uri: The URI that its certificates name, such as `"spiffe://example.org/billing"` (RFC 8705 section 2.1.2,
                `tls_client_auth_san_uri`); they are those of the authority `client_ca`.

        Raises:
            ValueError: The key cannot be read, or a certificate is meant and this provider has no `client_ca`.
        """
        if certificate_uri is not None and self._client_ca is None:
            raise ValueError("certificate_uri needs Provider(client_ca=...): without it no certificate is asked for")
        keys = None if public_key is None else read_keys(public_key)
        fitting = ("private_key_jwt",) if keys is not None else CONFIDENTIAL_METHODS
        if certificate_uri is not None:
            fitting = ("tls_client_auth",)
        methods = fitting if auth_methods is None else tuple(auth_methods)
        is_public = client_secret is None and keys is None and certificate_uri is None
        client = Client(client_id, client_secret, ("none",) if is_public else methods, keys, certificate_uri)
        self._accounts.put_client(client)

    def trust(self, issuer: Provider | str, key: GivenKey | None = None) -> None:
        """Take the signed statements of an issuer: as assertions (RFC 7523), subject tokens (RFC 8693), and ID-JAGs.

        Args:
            issuer: Another provider, or what `iss` says of any other issuer.
            key: What that one signs with: PEM, a JWK, or a JWK set. Not for a provider, which has its own.

        Raises:
            ValueError: The key is missing or cannot be read.
        """
        if isinstance(issuer, Provider):
            self._statements.trust(lambda: issuer.issuer_url, issuer._keys)
            return
        if key is None:
            raise ValueError("an issuer that is no Provider needs a key, got none")
        self._statements.trust(lambda: issuer, read_keys(key))

    def sign(self, claims: Mapping[str, Any], *, typ: str = "JWT") -> str:
        """Sign a statement with its key: an ID token, an assertion for a server that trusts it, or a wrong one of either.

        Args:
            claims: What it says. `iss`, `iat`, `exp` (the life of an access token) and `jti` are added where they are missing;
                one that is `None` is left out.
            typ: The `typ` of its header.

        Returns:
            The JWT.
        """
        self._running()
        return self._realm.sign(claims, lifetime_s=self.token_lifetime_s, typ=typ)

    def add_user(self, username: str, password: str) -> None:
        """Register one more user.

        Args:
            username: The user's name.
            password: The user's password.
        """
        self._accounts.put_user(username, password)

    # --- what goes wrong with the next requests ---

    def fail_next(
        self,
        n: int | None = 1,
        *,
        status: int = 503,
        error: str | None = None,
        error_description: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
        delay_s: float = 0.0,
        endpoint: Endpoint = "token",
    ) -> None:
        """Answer the next requests with an error instead.

        Args:
            n: How many requests; `None` means all of them until `heal`.
            status: HTTP status.
            error: OAuth error code for a JSON body; without it (and without `body`) the body is HTML, as a proxy's is.
            error_description: Goes with `error`.
            headers: Further headers, `{"Retry-After": "30"}` for one.
            body: The body itself, for anything else.
            delay_s: Seconds the answer takes, besides the provider's own `delay_s`.
            endpoint: Which endpoint fails.
        """
        canned = error_answer(status, error, error_description, headers, body)
        self._script.queue(endpoint, Treatment(delay_s, canned), n)

    def lose_next(self, n: int | None = 1, *, delay_s: float = 0.0, endpoint: Endpoint = "token") -> None:
        """Carry out the next requests, but break the connection instead of answering them.

        Args:
            n: How many requests; `None` means all of them until `heal`.
            delay_s: Seconds until then, besides the provider's own `delay_s`.
            endpoint: Which endpoint does that.
        """
        self._script.queue(endpoint, Treatment(delay_s, lost=True), n)

    def answer_next(
        self,
        n: int | None = 1,
        *,
        delay_s: float = 0.0,
        token_lifetime_s: float | None = None,
        rotation: bool | None = None,
        reuse_detection: bool | None = None,
        changes: Mapping[str, Any] | None = None,
        omit: Collection[str] = (),
        endpoint: Endpoint = "token",
    ) -> None:
        """Answer the next requests truly, but not quite like the others.

        Args:
            n: How many requests; `None` means all of them until `heal`.
            delay_s: Seconds the answer takes, besides the provider's own `delay_s`.
            token_lifetime_s: Life of the access token; `None` leaves it at the provider's.
            rotation: Whether a refresh rotates; `None` leaves it at the provider's.
            reuse_detection: Whether a spent refresh token ends its family; `None` leaves it at the provider's.
            changes: Members of the JSON answer that are not what they should be, `{"expires_in": "soon"}` for one.
            omit: Members of the JSON answer that are missing.
            endpoint: Which endpoint answers so.
        """
        given = {"token_lifetime_s": token_lifetime_s, "rotation": rotation, "reuse_detection": reuse_detection}
        policy = {name: value for name, value in given.items() if value is not None}
        treatment = Treatment(delay_s, policy=policy, changes=dict(changes or {}), omit=tuple(omit))
        self._script.queue(endpoint, treatment, n)

    def heal(self) -> None:
        """Forget all that was scripted and not used."""
        self._script.clear()

    def revoke_refresh_tokens(self) -> None:
        """Forget every refresh token that was given out: each is `invalid_grant` from now on."""
        self._accounts.revoke_refresh_tokens()

    # --- counting ---

    @property
    def token_requests(self) -> int:
        """How many requests the token endpoint has had, answered or not."""
        return self._script.arrived["token"]

    @property
    def token_requests_by_grant(self) -> dict[str, int]:
        """The same, by `grant_type`."""
        return dict(self._script.grants)

    @property
    def discovery_requests(self) -> int:
        """How many requests the discovery document has had."""
        return self._script.arrived["discovery"]

    @property
    def tokens_issued(self) -> int:
        """How many access tokens it has made, those of lost answers included."""
        return self._script.issued

    @property
    def tokens_revoked(self) -> int:
        """How many tokens clients have revoked, of either kind."""
        return self._accounts.revocations

    @property
    def refresh_tokens_reused(self) -> int:
        """How many times a spent refresh token came back."""
        return self._accounts.reuses

    def wait_for_requests(self, count: int, *, timeout_s: float, endpoint: Endpoint = "token") -> bool:
        """Wait until an endpoint has had a number of requests in all.

        Args:
            count: That number.
            timeout_s: Seconds to wait.
            endpoint: Which endpoint.

        Returns:
            `False` at the deadline.
        """
        return self._script.wait_for(endpoint, count, timeout_s)

    # --- inside ---

    def _running(self) -> Listener:
        if self._listener is None:
            raise RuntimeError("the provider is not started: use it in a with statement, or call start() first")
        return self._listener

    def _clock(self) -> float:
        return self._own_clock() + self.clock_skew_s
