"""What all credentials have in common: their fields, the client authentication method, and that nothing prints them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from dataclasses import fields
from typing import Any, ClassVar, Literal, Self

from oidc_actor.credentials.dpop import DPoPKey, read_dpop
from oidc_actor.credentials.keys import ClientCertificate, PrivateKey, read_certificate, read_private_key, require_jose
from oidc_actor.credentials.parameters import (
    ExtraParameters,
    Repeatable,
    RequestHeaders,
    StepUp,
    parse_scopes,
    read_bearer_names,
    read_body,
    read_extra,
    read_repeatable,
    read_request_headers,
    read_text,
    read_token_type,
)
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.oidc_config import OIDCConfig, check_config
from oidc_actor.values.secrets import Sealed, Secret, StoredSecret, put, store_secret
from oidc_actor.values.urls import check_issuer_url
from supervision.frozen import dataclass

METHODS = (
    "client_secret_basic",
    "client_secret_post",
    "client_secret_jwt",
    "private_key_jwt",
    "tls_client_auth",
    "self_signed_tls_client_auth",
    "none",
)
"""The legal names (RFC 8414 section 2, RFC 8705 section 2)."""

ASSERTING = frozenset({"client_secret_jwt", "private_key_jwt"})
"""The methods that send a signed assertion (RFC 7523 section 2.2)."""

_WITH_SECRET = ("client_secret_basic", "client_secret_post", "client_secret_jwt")
_WITH_CERTIFICATE = ("tls_client_auth", "self_signed_tls_client_auth")


@dataclass(frozen=True, slots=True, init=False, repr=False)
class Credentials(Sealed):
    """What all credentials have in common. Compares by value; refuses pickling.

    Attributes:
        client_id: The client's identifier; ``None`` where the provider needs none (password grant only).
        client_secret: Where the client's secret comes from; ``None`` for a public client.
        scopes: The scopes to ask for; empty for the provider's default.
        audience: The service that the token is for (RFC 8693 section 2.1, widely used elsewhere); ``None`` to say nothing.
        resource: Where the token is used (RFC 8707); ``None`` to say nothing.
        extra: Further parameters of the token request; ``None`` for none.
        client_auth: The client authentication method (RFC 8414 section 2); ``None`` chooses from the metadata.
        private_key: What the client's assertions are signed with (RFC 7523 section 2.2): a `PrivateKey`, or just the key as PEM
            or JWK: a text, a callable, or `SecretFile`; ``None`` for none.
        client_assertion: An assertion that another party signs for the client (workload identity): a callable or `SecretFile`,
            read at every request; ``None`` for none.
        assertion_audience: Whom signed assertions name: ``"issuer"``, ``"token_endpoint"``, or another text as it is; ``None``
            for the issuer, but the token endpoint where that is unknown, and for Entra ID.
        client_certificate: What is shown in mutual TLS (RFC 8705); alone it authenticates the client, beside a secret or a key it
            binds the tokens. ``None`` for none.
        dpop: The key that tokens are bound to (RFC 9449): a `DPoPKey`; ``True`` for one that each manager makes for itself;
            ``None`` for bearer tokens.
        body: How the parameters of a request are sent: ``"form"`` (RFC 6749), or ``"json"``.
        request_headers: Further header fields of each request to the provider but that for its metadata; ``None`` for none.
        accept_token_types: Names besides ``Bearer`` by which the provider calls a bearer token.
    """

    grant_type: ClassVar[str]
    grant_field: ClassVar[str | None] = None
    """The field whose secret the full grant sends, by the name that it has in the request, too."""
    asks_provider: ClassVar[bool] = True
    """Whether a provider's token endpoint is asked; else a function of the user's brings the token (`Custom`)."""
    trades_token: ClassVar[bool] = False
    """Whether what the full grant sends is a token from elsewhere, which ends by itself."""
    client_id: str | None
    client_secret: StoredSecret | None
    scopes: tuple[str, ...]
    audience: Repeatable
    resource: Repeatable
    extra: ExtraParameters | None
    client_auth: str | None
    private_key: PrivateKey | None
    client_assertion: StoredSecret | None
    assertion_audience: str | None
    client_certificate: ClientCertificate | None
    dpop: DPoPKey | Literal[True] | None
    body: Literal["form", "json"]
    request_headers: RequestHeaders | None
    accept_token_types: tuple[str, ...]

    def _fill(self, given: Mapping[str, object]) -> None:
        """Check the arguments and set them as fields, of an object under construction. Each caller holds secrets, as this does.

        Args:
            given: The arguments as they were given to ``__init__``, whose ``locals()`` they may be: they have the fields' names.
        """
        optional = _OPTIONAL | ({"client_id"} if self.grant_type not in _NEEDING_CLIENT else set())
        read = {}
        for name in self._names():
            value = given[name]
            read[name] = None if value is None and name in optional else _READERS[name](value, name)
        put(self, **read)
        self._check_client_auth()

    @classmethod
    @functools.cache
    def _names(cls) -> list[str]:
        return [field.name for field in fields(cls)]

    def _check_client_auth(self) -> None:
        """Check the chosen method against what the client holds to authenticate with."""
        method = self.client_auth
        key = "client_assertion" if self.private_key is None else "private_key"
        if self.private_key is not None and self.client_assertion is not None:
            problem = "expected one of private_key and client_assertion, got both; drop one"
            raise ConfigError(problem, ("client_assertion",), label="")
        for name, label, is_held in (
            ("client_secret", "client_secret", self.client_secret is not None),
            (key, "private_key or client_assertion", self.has_key),
            ("client_certificate", "client_certificate", self.client_certificate is not None),
        ):
            if is_held and self.client_id is None:
                raise ConfigError(
                    "expected a client_id beside it, got none; add client_id or drop it", (name,), label=label
                )
        if self.client_secret is not None and self.has_key:
            problem = "expected one of client_secret and private_key or client_assertion, got both; drop one"
            raise ConfigError(problem, ("client_secret",), label="")
        if method == "none" and (self.client_secret is not None or self.has_key):
            held = "a client_secret" if self.client_secret is not None else "a private_key or client_assertion"
            raise ConfigError(f"'none' never sends {held}, got one; drop it or use None", ("client_auth",))
        for needing, what, is_held in (
            (_WITH_SECRET, "a client_secret", self.client_secret is not None),
            (("private_key_jwt",), "a private_key or client_assertion", self.has_key),
            (_WITH_CERTIFICATE, "a client_certificate", self.client_certificate is not None),
        ):
            if method in needing and not is_held:
                problem = f"{method!r} needs {what}, got none; pass one or choose another method"
                raise ConfigError(problem, ("client_auth",))
        if method == "client_secret_jwt":
            require_jose("'client_secret_jwt'", ("client_auth",), label="client_auth")

    def choose_client_auth(self, supported: Collection[str] | None) -> str:
        """Choose the client authentication method for a request.

        Args:
            supported: The metadata's ``token_endpoint_auth_methods_supported``; ``None`` or empty where it says nothing.

        Returns:
            ``client_auth`` where that is given; ``"private_key_jwt"`` with a key or an assertion. With a secret, basic unless the
            provider lists others only: RFC 6749 section 2.3.1 obliges every provider to take basic, so it is also what a list
            that names none that fits leads to. With nothing but a certificate the TLS method that is listed, else
            ``"tls_client_auth"``; with nothing at all ``"none"``.
        """
        if self.client_auth is not None:
            return self.client_auth
        if self.has_key:
            return "private_key_jwt"
        with_certificate = _WITH_CERTIFICATE if self.client_certificate is not None else ("none",)
        fitting = _WITH_SECRET if self.client_secret is not None else with_certificate
        return next((method for method in fitting if supported and method in supported), fitting[0])

    @property
    def has_key(self) -> bool:
        """Whether the client holds a private key, or an assertion that another party has signed."""
        return self.private_key is not None or self.client_assertion is not None

    @property
    def sources(self) -> tuple[StoredSecret, ...]:
        """Where each secret in it comes from, so that its files can be watched."""
        single = (self.client_secret, self.grant_secret, self.actor_secret, self.client_assertion)
        held = (self.private_key, self.client_certificate, self.dpop if isinstance(self.dpop, DPoPKey) else None)
        within = [source for one in held if one is not None for source in one.sources]
        fetched = () if self.request_headers is None else self.request_headers.fetched
        return (*(source for source in single if source is not None), *within, *fetched)

    @property
    def grant_secret(self) -> StoredSecret | None:
        """The secret that the full grant itself sends, besides the client's; ``None`` where there is none."""
        return None if self.grant_field is None else getattr(self, self.grant_field)

    def grant_parameters(self, secret: Secret | None, actor_token: Secret | None) -> list[tuple[str, str]]:
        """Return the parameters of the full grant, besides the client's and those that all grants have.

        Args:
            secret: `grant_secret` as it is now.
            actor_token: `actor_secret` as it is now.
        """
        own = [] if self.grant_field is None or secret is None else [(self.grant_field, secret.reveal())]
        return [("grant_type", self.grant_type), *own]

    def stepped_up(self, step_up: StepUp) -> Self:
        """Return the same credentials, asking for more.

        Args:
            step_up: What resource servers want of the token besides.
        """
        made = object.__new__(type(self))
        put(made, **{name: getattr(self, name) for name in self._names()})
        scopes = tuple(dict.fromkeys((*self.scopes, *step_up.scopes)))
        put(made, scopes=scopes, extra=read_extra(step_up.parameters(self.extra or {})))
        return made

    @property
    def sent_audience(self) -> Repeatable:
        """What the token request says of the service that the token is for; ``None`` to say nothing."""
        return self.audience

    @property
    def actor_secret(self) -> StoredSecret | None:
        """The token of the party that acts for the subject (RFC 8693 section 2.1); ``None`` without such a party."""
        return None

    @property
    def may_be_no_access_token(self) -> bool:
        """Whether something else than an access token was asked for (RFC 8693 section 2.1)."""
        return False

    def __dir__(self) -> list[str]:
        return [field.name for field in fields(self)]  # what a user gave, and not what a request is made with

    def __repr__(self) -> str:
        shown = [(name, getattr(self, name, None)) for name in self._names()]  # under construction, too
        told = [f"{name}={value!r}" for name, value in shown if value and (name, value) != _USUAL]
        return f"{type(self).__name__}({', '.join(told)})"


def _read_client_auth(method: object, name: str) -> str | None:
    if method is not None and (not isinstance(method, str) or method not in METHODS):
        raise ConfigError(f"expected one of {', '.join(METHODS)}, or None, got {method!r}", (name,))
    return method


_READERS: Mapping[str, Callable[[Any, str], object]] = {
    **dict.fromkeys(("client_id", "username", "assertion_audience"), read_text),
    **dict.fromkeys(("client_secret", "password", "refresh_token", "device_code"), store_secret),
    **dict.fromkeys(("assertion", "subject_token", "actor_token", "client_assertion"), store_secret),
    **dict.fromkeys(("subject_token_type", "actor_token_type", "requested_token_type"), read_token_type),
    **dict.fromkeys(("audience", "resource"), read_repeatable),
    "scopes": lambda value, _: parse_scopes(value),
    "extra": lambda value, _: read_extra(value),
    "client_auth": _read_client_auth,
    "private_key": lambda value, _: read_private_key(value),
    "client_certificate": lambda value, _: read_certificate(value),
    "dpop": lambda value, _: read_dpop(value),
    "body": lambda value, _: read_body(value),
    "request_headers": lambda value, _: read_request_headers(value),
    "accept_token_types": lambda value, _: read_bearer_names(value),
    "identity_provider": lambda value, name: read_provider(value, name, allow_insecure_http=True),
    "identity_client": lambda value, name: _read_client(value, name),  # noqa: PLW0108 - defined below
}

_USUAL = ("body", "form")
"""A field that is not shown, because it says nothing."""


def read_provider(value: object, name: str, *, allow_insecure_http: bool) -> str | OIDCConfig:
    """Check an identity provider.

    Args:
        value: Its issuer, or its metadata.
        name: The option, for the error's message.
        allow_insecure_http: Whether plain http is acceptable beyond loopback, which is judged with the manager's options.

    Raises:
        ConfigError: Where it is neither.
    """
    try:
        if isinstance(value, OIDCConfig):
            return check_config(value, allow_insecure_http=allow_insecure_http)
        return check_issuer_url(value, allow_insecure_http=allow_insecure_http)
    except ConfigError as error:
        raise ConfigError(error.problem, (name,)) from None


def _read_client(value: object, name: str) -> Credentials:
    if not isinstance(value, Credentials) or value.client_id is None:
        got = "some without a client_id" if isinstance(value, Credentials) else type(value).__name__
        raise ConfigError(f"expected credentials with a client_id, such as ClientCredentials(...), got {got}", (name,))
    if value.dpop is not None:
        raise ConfigError(
            "expected credentials without dpop, got some with it: what it brings is no access token", (name,)
        )
    return value


_NEEDING_CLIENT = frozenset({"client_credentials", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"})
_OPTIONAL = frozenset({"client_secret", "client_assertion", "assertion_audience", "actor_token", "identity_client"})
"""Fields that may be ``None`` although their readers do not take it."""
