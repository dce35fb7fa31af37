"""The grants, each a class of credentials, and their mapping form. They are valid once they exist, and never printed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from inspect import signature
from typing import Any, ClassVar, Literal

from oidc_actor.credentials.credentials import Credentials, read_provider
from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.credentials.keys import ClientCertificate, PrivateKey
from oidc_actor.credentials.parameters import TOKEN_TYPE, Scopes
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import GivenSecret, Secret, StoredSecret, holds_secrets
from supervision.frozen import dataclass
from supervision.runtime.lazy_imports import fork_waits


@dataclass(frozen=True, slots=True, init=False, repr=False)
class ClientCredentials(Credentials):
    """The client itself is the user (RFC 6749 section 4.4)."""

    grant_type: ClassVar[str] = "client_credentials"
    client_id: str

    @holds_secrets
    def __init__(
        self,
        client_id: str,
        client_secret: GivenSecret | None = None,
        scopes: Scopes = (),
        *,
        audience: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        extra: Mapping[str, str] | None = None,
        client_auth: str | None = None,
        private_key: PrivateKey | GivenSecret | Mapping[str, Any] | None = None,
        client_assertion: GivenSecret | None = None,
        assertion_audience: str | None = None,
        client_certificate: ClientCertificate | Mapping[str, Any] | None = None,
        dpop: DPoPKey | bool | None = None,
        body: Literal["form", "json"] | None = None,
        request_headers: Mapping[str, GivenSecret] | None = None,
        accept_token_types: Iterable[str] | None = None,
    ) -> None:
        """Check and keep the credentials.

        Args:
            client_id: The client's identifier.
            client_secret: Its secret: a text, a callable, or `SecretFile`; ``None`` for a public client.
            scopes: A list, or a string separated by spaces or commas.
            audience: The service that the token is for (RFC 8693 section 2.1): one or several; ``None`` to say nothing.
            resource: Where the token is used (RFC 8707): one or several addresses; ``None`` to say nothing.
            extra: Further parameters of the token request; ``None`` for none.
            client_auth: The client authentication method, by RFC 8414's name; ``None`` chooses from the metadata.
            private_key: What signs the client's assertions (RFC 7523 section 2.2): a `PrivateKey`, or the key as PEM or JWK.
            client_assertion: An assertion that another party signs for the client: a callable or `SecretFile`.
            assertion_audience: Whom signed assertions name: ``"issuer"``, ``"token_endpoint"``, or another text as it is.
            client_certificate: A `ClientCertificate` to show in mutual TLS (RFC 8705).
            dpop: The key that tokens are bound to (RFC 9449): a `DPoPKey`, or ``True`` for one that each manager makes.
            body: How parameters are sent: ``"json"`` for a server that reads JSON; ``None`` for ``"form"`` (RFC 6749).
            request_headers: Further header fields of each request: texts, or for secrets a callable or `SecretFile`.
            accept_token_types: Other names by which the server calls a bearer token; ``None`` for none.

        Raises:
            ConfigError: Where something does not fit.
        """
        self._fill(locals())


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Password(Credentials):
    """A user's name and password (RFC 6749 section 4.3).

    Attributes:
        username: The user's name.
        password: Where the user's password comes from.
    """

    grant_type: ClassVar[str] = "password"
    grant_field: ClassVar[str] = "password"
    username: str
    password: StoredSecret

    @holds_secrets
    def __init__(
        self,
        username: str,
        password: GivenSecret,
        client_id: str | None = None,
        client_secret: GivenSecret | None = None,
        scopes: Scopes = (),
        *,
        audience: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        extra: Mapping[str, str] | None = None,
        client_auth: str | None = None,
        private_key: PrivateKey | GivenSecret | Mapping[str, Any] | None = None,
        client_assertion: GivenSecret | None = None,
        assertion_audience: str | None = None,
        client_certificate: ClientCertificate | Mapping[str, Any] | None = None,
        dpop: DPoPKey | bool | None = None,
        body: Literal["form", "json"] | None = None,
        request_headers: Mapping[str, GivenSecret] | None = None,
        accept_token_types: Iterable[str] | None = None,
    ) -> None:
        """Check and keep the credentials.

        Args:
            username: The user's name.
            password: The user's password: a text, a callable, or `SecretFile`.
            client_id: The client's identifier, where the provider wants one.
            client_secret: Its secret; ``None`` for a public client.
            scopes: A list, or a string separated by spaces or commas.
            audience: The service that the token is for (RFC 8693 section 2.1): one or several; ``None`` to say nothing.
            resource: Where the token is used (RFC 8707): one or several addresses; ``None`` to say nothing.
            extra: Further parameters of the token request; ``None`` for none.
            client_auth: The client authentication method, by RFC 8414's name; ``None`` chooses from the metadata.
            private_key: What signs the client's assertions (RFC 7523 section 2.2): a `PrivateKey`, or the key as PEM or JWK.
            client_assertion: An assertion that another party signs for the client: a callable or `SecretFile`.
            assertion_audience: Whom signed assertions name: ``"issuer"``, ``"token_endpoint"``, or another text as it is.
            client_certificate: A `ClientCertificate` to show in mutual TLS (RFC 8705).
            dpop: The key that tokens are bound to (RFC 9449): a `DPoPKey`, or ``True`` for one that each manager makes.
            body: How parameters are sent: ``"json"`` for a server that reads JSON; ``None`` for ``"form"`` (RFC 6749).
            request_headers: Further header fields of each request: texts, or for secrets a callable or `SecretFile`.
            accept_token_types: Other names by which the server calls a bearer token; ``None`` for none.

        Raises:
            ConfigError: Where something does not fit.
        """
        self._fill(locals())

    def grant_parameters(self, secret: Secret | None, actor_token: Secret | None) -> list[tuple[str, str]]:
        """Return the user's name, too."""
        first, *others = Credentials.grant_parameters(self, secret, actor_token)
        return [first, ("username", self.username), *others]


@dataclass(frozen=True, slots=True, init=False, repr=False)
class RefreshToken(Credentials):
    """A refresh token that was obtained elsewhere (RFC 6749 section 6).

    Attributes:
        refresh_token: Where the refresh token comes from; one that rotates is followed from there on.
    """

    grant_type: ClassVar[str] = "refresh_token"
    grant_field: ClassVar[str] = "refresh_token"
    client_id: str
    refresh_token: StoredSecret

    @holds_secrets
    def __init__(
        self,
        refresh_token: GivenSecret,
        client_id: str,
        client_secret: GivenSecret | None = None,
        scopes: Scopes = (),
        *,
        audience: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        extra: Mapping[str, str] | None = None,
        client_auth: str | None = None,
        private_key: PrivateKey | GivenSecret | Mapping[str, Any] | None = None,
        client_assertion: GivenSecret | None = None,
        assertion_audience: str | None = None,
        client_certificate: ClientCertificate | Mapping[str, Any] | None = None,
        dpop: DPoPKey | bool | None = None,
        body: Literal["form", "json"] | None = None,
        request_headers: Mapping[str, GivenSecret] | None = None,
        accept_token_types: Iterable[str] | None = None,
    ) -> None:
        """Check and keep the credentials.

        Args:
            refresh_token: The refresh token: a text, a callable, or `SecretFile`.
            client_id: The client it was given to.
            client_secret: Its secret; ``None`` for a public client.
            scopes: A list, or a string separated by spaces or commas.
            audience: The service that the token is for (RFC 8693 section 2.1): one or several; ``None`` to say nothing.
            resource: Where the token is used (RFC 8707): one or several addresses; ``None`` to say nothing.
            extra: Further parameters of the token request; ``None`` for none.
            client_auth: The client authentication method, by RFC 8414's name; ``None`` chooses from the metadata.
            private_key: What signs the client's assertions (RFC 7523 section 2.2): a `PrivateKey`, or the key as PEM or JWK.
            client_assertion: An assertion that another party signs for the client: a callable or `SecretFile`.
            assertion_audience: Whom signed assertions name: ``"issuer"``, ``"token_endpoint"``, or another text as it is.
            client_certificate: A `ClientCertificate` to show in mutual TLS (RFC 8705).
            dpop: The key that tokens are bound to (RFC 9449): a `DPoPKey`, or ``True`` for one that each manager makes.
            body: How parameters are sent: ``"json"`` for a server that reads JSON; ``None`` for ``"form"`` (RFC 6749).
            request_headers: Further header fields of each request: texts, or for secrets a callable or `SecretFile`.
            accept_token_types: Other names by which the server calls a bearer token; ``None`` for none.

        Raises:
            ConfigError: Where something does not fit.
        """
        self._fill(locals())


@dataclass(frozen=True, slots=True, init=False, repr=False)
class DeviceCode(Credentials):
    """A device code, redeemed for the tokens once the person has let the program in (RFC 8628 section 3.4).

    Attributes:
        device_code: The code.
    """

    grant_type: ClassVar[str] = "urn:ietf:params:oauth:grant-type:device_code"
    grant_field: ClassVar[str] = "device_code"
    client_id: str
    device_code: StoredSecret

    @holds_secrets
    def __init__(self, device_code: Secret, auth: Credentials) -> None:
        """Make the credentials of the second half of a flow.

        Args:
            device_code: The code that the first half brought.
            auth: What the first half was asked with.

        Raises:
            ConfigError: Where ``auth`` names no client.
        """
        client = {field.name: getattr(auth, field.name) for field in fields(Credentials)}
        self._fill({**client, "scopes": (), "device_code": device_code})


@dataclass(frozen=True, slots=True, init=False, repr=False)
class JWTBearer(Credentials):
    """A statement whose signer the provider trusts (RFC 7523 section 4): an account's own, or the token of a served user.

    Attributes:
        assertion: Where the assertion comes from, read for every request; one that says itself that it has expired is not sent.
    """

    grant_type: ClassVar[str] = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    grant_field: ClassVar[str] = "assertion"
    trades_token: ClassVar[bool] = True
    assertion: StoredSecret

    @holds_secrets
    def __init__(
        self,
        assertion: GivenSecret,
        client_id: str | None = None,
        client_secret: GivenSecret | None = None,
        scopes: Scopes = (),
        *,
        audience: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        extra: Mapping[str, str] | None = None,
        client_auth: str | None = None,
        private_key: PrivateKey | GivenSecret | Mapping[str, Any] | None = None,
        client_assertion: GivenSecret | None = None,
        assertion_audience: str | None = None,
        client_certificate: ClientCertificate | Mapping[str, Any] | None = None,
        dpop: DPoPKey | bool | None = None,
        body: Literal["form", "json"] | None = None,
        request_headers: Mapping[str, GivenSecret] | None = None,
        accept_token_types: Iterable[str] | None = None,
    ) -> None:
        """Check and keep the credentials.

        Args:
            assertion: A callable, `SecretFile`, `SignedAssertion`, `GitHubActionsToken`, `ManagerToken`, or a text.
            client_id: The client's identifier, where the provider wants one.
            client_secret: Its secret; ``None`` for a public client.
            scopes: A list, or a string separated by spaces or commas.
            audience: The service that the token is for (RFC 8693 section 2.1): one or several; ``None`` to say nothing.
            resource: Where the token is used (RFC 8707): one or several addresses; ``None`` to say nothing.
            extra: Further parameters of the token request; ``None`` for none.
            client_auth: The client authentication method, by RFC 8414's name; ``None`` chooses from the metadata.
            private_key: What signs the client's assertions (RFC 7523 section 2.2): a `PrivateKey`, or the key as PEM or JWK.
            client_assertion: An assertion that another party signs for the client: a callable or `SecretFile`.
            assertion_audience: Whom signed assertions name: ``"issuer"``, ``"token_endpoint"``, or another text as it is.
            client_certificate: A `ClientCertificate` to show in mutual TLS (RFC 8705).
            dpop: The key that tokens are bound to (RFC 9449): a `DPoPKey`, or ``True`` for one that each manager makes.
            body: How parameters are sent: ``"json"`` for a server that reads JSON; ``None`` for ``"form"`` (RFC 6749).
            request_headers: Further header fields of each request: texts, or for secrets a callable or `SecretFile`.
            accept_token_types: Other names by which the server calls a bearer token; ``None`` for none.

        Raises:
            ConfigError: Where something does not fit.
        """
        self._fill(locals())


@dataclass(frozen=True, slots=True, init=False, repr=False)
class TokenExchange(Credentials):
    """A token of a subject, traded for another (RFC 8693). The subject's and the actor's are read for every request.

    Attributes:
        subject_token: Where the subject's token comes from; one that says itself that it has expired is not sent.
        subject_token_type: What it is (section 3), as a URI.
        actor_token: Where the token of the party that acts for the subject comes from; ``None`` without such a party.
        actor_token_type: What that is, as a URI; ``None`` without one.
        requested_token_type: What is wanted, as a URI; ``None`` leaves it to the provider.
    """

    grant_type: ClassVar[str] = "urn:ietf:params:oauth:grant-type:token-exchange"
    grant_field: ClassVar[str] = "subject_token"
    trades_token: ClassVar[bool] = True
    subject_token: StoredSecret
    subject_token_type: str
    actor_token: StoredSecret | None
    actor_token_type: str | None
    requested_token_type: str | None

    @property
    def actor_secret(self) -> StoredSecret | None:
        """The actor's token."""
        return self.actor_token

    @property
    def may_be_no_access_token(self) -> bool:
        """Whether what comes may be a token of another use, whose type is then ``N_A`` (section 2.2.1)."""
        return self.requested_token_type not in (None, f"{TOKEN_TYPE}access_token")

    @holds_secrets
    def __init__(
        self,
        subject_token: GivenSecret,
        client_id: str | None = None,
        client_secret: GivenSecret | None = None,
        scopes: Scopes = (),
        *,
        subject_token_type: str = "access_token",  # noqa: S107 - the name of a type
        actor_token: GivenSecret | None = None,
        actor_token_type: str | None = None,
        requested_token_type: str | None = None,
        audience: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        extra: Mapping[str, str] | None = None,
        client_auth: str | None = None,
        private_key: PrivateKey | GivenSecret | Mapping[str, Any] | None = None,
        client_assertion: GivenSecret | None = None,
        assertion_audience: str | None = None,
        client_certificate: ClientCertificate | Mapping[str, Any] | None = None,
        dpop: DPoPKey | bool | None = None,
        body: Literal["form", "json"] | None = None,
        request_headers: Mapping[str, GivenSecret] | None = None,
        accept_token_types: Iterable[str] | None = None,
    ) -> None:
        """Check and keep the credentials.

        Args:
            subject_token: A callable, `SecretFile`, `ManagerToken`, `GitHubActionsToken`, or a text.
            client_id: The client's identifier, where the provider wants one.
            client_secret: Its secret; ``None`` for a public client.
            scopes: A list, or a string separated by spaces or commas.
            subject_token_type: A URI, or ``"access_token"``, ``"id_token"``, ``"jwt"``, ... for RFC 8693's own.
            actor_token: Like ``subject_token``.
            actor_token_type: Like ``subject_token_type``; an access token's where it is not said.
            requested_token_type: Likewise; ``None`` leaves it to the provider. What comes is the manager's token, also where it
                is no access token but, say, an assertion that `ManagerToken` hands to another manager.
            audience: The service that the token is for (RFC 8693 section 2.1): one or several; ``None`` to say nothing.
            resource: Where the token is used (RFC 8707): one or several addresses; ``None`` to say nothing.
            extra: Further parameters of the token request; ``None`` for none.
            client_auth: The client authentication method, by RFC 8414's name; ``None`` chooses from the metadata.
            private_key: What signs the client's assertions (RFC 7523 section 2.2): a `PrivateKey`, or the key as PEM or JWK.
            client_assertion: An assertion that another party signs for the client: a callable or `SecretFile`.
            assertion_audience: Whom signed assertions name: ``"issuer"``, ``"token_endpoint"``, or another text as it is.
            client_certificate: A `ClientCertificate` to show in mutual TLS (RFC 8705).
            dpop: The key that tokens are bound to (RFC 9449): a `DPoPKey`, or ``True`` for one that each manager makes.
            body: How parameters are sent: ``"json"`` for a server that reads JSON; ``None`` for ``"form"`` (RFC 6749).
            request_headers: Further header fields of each request: texts, or for secrets a callable or `SecretFile`.
            accept_token_types: Other names by which the server calls a bearer token; ``None`` for none.

        Raises:
            ConfigError: Where something does not fit.
        """
        subject_token_type = subject_token_type or "access_token"
        if actor_token is None:
            actor_token_type = None
        elif actor_token_type is None:
            actor_token_type = "access_token"  # noqa: S105
        self._fill(locals())

    def grant_parameters(self, secret: Secret | None, actor_token: Secret | None) -> list[tuple[str, str]]:
        """Return what the tokens are, and what is wanted, too (section 2.1)."""
        found = Credentials.grant_parameters(self, secret, actor_token)
        found.append(("subject_token_type", self.subject_token_type))
        if actor_token is not None and self.actor_token_type is not None:
            found += [("actor_token", actor_token.reveal()), ("actor_token_type", self.actor_token_type)]
        if self.requested_token_type is not None:
            found.append(("requested_token_type", self.requested_token_type))
        return found


@dataclass(frozen=True, slots=True, init=False, repr=False)
class IdentityAssertion(Credentials):
    """What an identity provider says of a user, traded at a resource's authorization server: an ID-JAG, in two steps.

    An enterprise's identity provider decides which programs may act for a user at which services
    (draft-ietf-oauth-identity-assertion-authz-grant; MCP calls it enterprise-managed authorization). For each token

    1. the identity provider is asked, by a token exchange (RFC 8693), for a statement that names the authorization server;
    2. the authorization server, which is the manager's issuer, takes it for an access token (RFC 7523 section 4).

    The statement is good for one request. It is kept nowhere, and a repeated second step gets one of its own.

    Attributes:
        subject_token: Where the user's token at the identity provider comes from, read for every request; one that says itself
            that it has expired is not sent.
        subject_token_type: What it is (RFC 8693 section 3), as a URI.
        identity_provider: The identity provider: its issuer, or its metadata.
        identity_client: The client as the identity provider knows it; ``None`` where both know it alike.
    """

    grant_type: ClassVar[str] = "urn:ietf:params:oauth:grant-type:jwt-bearer"
    grant_field: ClassVar[str] = "subject_token"
    trades_token: ClassVar[bool] = True
    subject_token: StoredSecret
    subject_token_type: str
    identity_provider: str | OIDCConfig
    identity_client: Credentials | None

    @holds_secrets
    def __init__(
        self,
        subject_token: GivenSecret,
        client_id: str | None = None,
        client_secret: GivenSecret | None = None,
        scopes: Scopes = (),
        *,
        identity_provider: str | OIDCConfig,
        identity_client: Credentials | Mapping[str, Any] | str | None = None,
        subject_token_type: str = "id_token",  # noqa: S107 - the name of a type
        audience: str | Iterable[str] | None = None,
        resource: str | Iterable[str] | None = None,
        extra: Mapping[str, str] | None = None,
        client_auth: str | None = None,
        private_key: PrivateKey | GivenSecret | Mapping[str, Any] | None = None,
        client_assertion: GivenSecret | None = None,
        assertion_audience: str | None = None,
        client_certificate: ClientCertificate | Mapping[str, Any] | None = None,
        dpop: DPoPKey | bool | None = None,
        body: Literal["form", "json"] | None = None,
        request_headers: Mapping[str, GivenSecret] | None = None,
        accept_token_types: Iterable[str] | None = None,
    ) -> None:
        """Check and keep the credentials.

        Args:
            subject_token: The user's token at the identity provider: a callable, `SecretFile`, `ManagerToken`, or a text.
            client_id: The client's identifier at the authorization server.
            client_secret: Its secret there; ``None`` for a public client.
            scopes: What the access token is to allow: a list, or a string separated by spaces or commas. Both are asked for them.
            identity_provider: Its issuer, whose metadata are discovered, or an `OIDCConfig` with its token endpoint.
            identity_client: The client as the identity provider knows it: credentials such as
                ``ClientCredentials("id", "secret")``, whose grant is not used, their mapping form without a type, or the
                identifier of a public client. ``None`` for the client of the authorization server.
            subject_token_type: A URI, or ``"id_token"``, ``"refresh_token"``, ``"saml2"``, ... for RFC 8693's own.
            audience: Whom the statement is to name; ``None`` for the authorization server's issuer.
            resource: Where the token is used (RFC 8707): one or several addresses. Both are told; ``None`` to say nothing.
            extra: Further parameters of the second step; those of the first are ``identity_client``'s. ``None`` for none.
            client_auth: The client authentication method, by RFC 8414's name; ``None`` chooses from the metadata.
            private_key: What signs the client's assertions (RFC 7523 section 2.2): a `PrivateKey`, or the key as PEM or JWK.
            client_assertion: An assertion that another party signs for the client: a callable or `SecretFile`.
            assertion_audience: Whom signed assertions name: ``"issuer"``, ``"token_endpoint"``, or another text as it is.
            client_certificate: A `ClientCertificate` to show in mutual TLS (RFC 8705).
            dpop: The key that tokens are bound to (RFC 9449): a `DPoPKey`, or ``True`` for one that each manager makes.
            body: How parameters are sent: ``"json"`` for a server that reads JSON; ``None`` for ``"form"`` (RFC 6749).
            request_headers: Further header fields of each request of the second step: texts, or for secrets a callable or
                `SecretFile`.
            accept_token_types: Other names by which the server calls a bearer token; ``None`` for none.

        Raises:
            ConfigError: Where something does not fit.
        """
        subject_token_type = subject_token_type or "id_token"
        if isinstance(identity_client, str):
            identity_client = {"client_id": identity_client}
        if isinstance(identity_client, Mapping):
            try:
                identity_client = parse_auth({"type": "oidc_client_credentials", **identity_client})
            except ConfigError as error:
                raise ConfigError(error.problem, ("identity_client",)) from None
        self._fill(locals())
        if self.identity_client is None and self.client_id is None:
            problem = "expected one of client_id and identity_client, got neither; the identity provider has to know the client"
            raise ConfigError(problem, ("client_id",))

    def grant_parameters(self, secret: Secret | None, actor_token: Secret | None) -> list[tuple[str, str]]:
        """Return the second step's parameters, where ``secret`` is the statement."""
        own = [] if secret is None else [("assertion", secret.reveal())]
        return [("grant_type", self.grant_type), *own]

    @property
    def sent_audience(self) -> None:
        """Nothing: the authorization server is the audience of the first step."""
        return None

    @property
    def sources(self) -> tuple[StoredSecret, ...]:
        """Where each secret in it comes from, those of the first step included."""
        own = Credentials.sources.fget(self)  # type: ignore[attr-defined] # `super` does not find a class with slots
        return own if self.identity_client is None else (*own, *self.identity_client.sources)

    def token_exchange(self, issuer: str | None) -> TokenExchange:
        """Make the credentials of the first step.

        Args:
            issuer: The authorization server's; ``None`` where that is not known.

        Raises:
            ConfigError: It is not known whom the statement is to name.
        """
        audience = self.audience or issuer
        if audience is None:
            problem = (
                "expected a text, got none: the authorization server's metadata have no issuer to name; give audience="
            )
            raise ConfigError(problem, ("audience",))
        client: Credentials = self if self.identity_client is None else self.identity_client
        return TokenExchange(
            self.subject_token,
            client.client_id,
            client.client_secret,
            self.scopes,
            subject_token_type=self.subject_token_type,
            requested_token_type=ID_JAG,
            audience=audience,
            resource=self.resource,
            extra=None if client is self else client.extra,
            client_auth=client.client_auth,
            private_key=client.private_key,
            client_assertion=client.client_assertion,
            assertion_audience=client.assertion_audience,
            client_certificate=client.client_certificate,
            body=client.body,
            request_headers=None if client is self else client.request_headers,
        )

    def check(self, issuer: str | None, *, allow_insecure_http: bool) -> None:
        """Check what needs the manager's options beside the credentials.

        Args:
            issuer: The authorization server's; ``None`` where no response will ever say it.
            allow_insecure_http: Whether plain http is acceptable beyond loopback.

        Raises:
            ConfigError: The identity provider's address will not do, or it is not known whom the statement is to name.
        """
        try:
            read_provider(self.identity_provider, "identity_provider", allow_insecure_http=allow_insecure_http)
            self.token_exchange(issuer)
        except ConfigError as error:
            raise error.within("auth") from None


ID_JAG = f"{TOKEN_TYPE}id-jag"
"""What an identity assertion authorization grant is called among the types of tokens."""


_TYPES: dict[str, type[Credentials]] = {
    "oidc_client_credentials": ClientCredentials,
    "oidc_password": Password,
    "oidc_refresh_token": RefreshToken,
    "oidc_jwt_bearer": JWTBearer,
    "oidc_token_exchange": TokenExchange,
    "oidc_identity_assertion": IdentityAssertion,
}


WHAT_AUTH_IS = f"{', '.join(cls.__name__ for cls in _TYPES.values())}, Custom, or a mapping with a 'type'"


@holds_secrets
def parse_auth(value: object) -> Credentials:
    """Bring ``auth`` into one form.

    Args:
        value: Credentials, or the mapping form: ``{"type": "oidc_client_credentials", "client_id": ..., ...}``.

    Returns:
        The credentials.

    Raises:
        ConfigError: Where the type is unknown, a field is missing, unknown or wrong. The message shows no secret.
    """
    if isinstance(value, Credentials):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"expected {WHAT_AUTH_IS}, got {type(value).__name__}", ("auth",))
    options = dict(value)
    kind = options.pop("type", None)
    # A mistaken mapping may hold anything under "type"; only a short plain word is safe to show.
    if not isinstance(kind, str) or kind not in _TYPES:
        shown = repr(kind) if isinstance(kind, str) and kind.isidentifier() and len(kind) < 40 else type(kind).__name__
        problem = f"expected a 'type' of {', '.join(map(repr, _TYPES))}, got {shown}"
        raise ConfigError(problem, ("auth", "type"), label="auth")
    cls, label = _TYPES[kind], f"auth of type {kind!r}"
    known = set(signature(cls).parameters)
    unknown = sorted(str(name) for name in options if name not in known)
    if unknown:
        with fork_waits():
            import difflib  # for this message alone
        near = difflib.get_close_matches(unknown[0], sorted(known), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(sorted(known))}"
        raise ConfigError(f"unknown option {', '.join(unknown)}; {hint}", ("auth", unknown[0]), label=label)
    parameters = signature(cls).parameters.values()
    missing = [one.name for one in parameters if one.default is one.empty and options.get(one.name) is None]
    if missing:
        raise ConfigError(f"{', '.join(missing)} is missing", ("auth", missing[0]), label=label)
    try:
        return cls(**options)
    except ConfigError as error:
        raise error.within("auth") from None
