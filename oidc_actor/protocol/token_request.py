"""What is sent for a token: the parameters of each grant, the client's authentication, and what the user adds.

A client authenticates with a secret, or with a signed statement in a secret's place (RFC 7523): what a client's own statement
says, and whether one that another party signed is still valid, is here too. So is what only Microsoft Entra ID wants.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from oidc_actor.credentials.credentials import ASSERTING, Credentials
from oidc_actor.credentials.overlap import Overlap
from oidc_actor.protocol.redaction import is_guessable
from oidc_actor.protocol.response_fields import read_claims, read_number
from oidc_actor.transport import Request
from oidc_actor.values.oidc_config import OIDCConfig, alias_name
from oidc_actor.values.secrets import Secret, SecretSource
from oidc_actor.values.tokens import TokenTypeHint
from supervision.frozen import dataclass

_SHORTEST_SECRET_IN_EXTRA = 8


@dataclass(frozen=True, slots=True)
class SentSecrets:
    """The secrets of one token request, read from their sources.

    Attributes:
        client_secret: The client's; ``None`` where there is none.
        grant_secret: The password, or the refresh token that is redeemed; ``None`` where the grant needs none.
        extra: Further values that a response must not repeat into a log.
        client_assertion: The signed assertion that authenticates the client; ``None`` where the method sends none.
        actor_token: The token of the party that acts for the subject of a token exchange; ``None`` without such a party.
        dpop_proof: The proof for this one request (RFC 9449); ``None`` for a bearer token.
        headers: The further header fields, each with its value.
        which: Of two client secrets (`Overlap`) the one that is sent: 0 or 1; ``None`` where there are not two.
    """

    client_secret: Secret | None = None
    grant_secret: Secret | None = None
    extra: tuple[Secret, ...] = ()
    client_assertion: Secret | None = None
    actor_token: Secret | None = None
    dpop_proof: Secret | None = None
    headers: tuple[tuple[str, Secret], ...] = ()
    which: int | None = None

    def all(self) -> tuple[Secret, ...]:
        """Every secret there is."""
        single = (self.client_secret, self.grant_secret, self.client_assertion, self.actor_token)
        return (*(one for one in (*single, self.dpop_proof) if one is not None), *self.extra)

    def signed(self, *, of_grant: bool) -> tuple[Secret, ...]:
        """Those that are signed statements with a time in them.

        Args:
            of_grant: Whether ``grant_secret`` is one, too.
        """
        grant = self.grant_secret if of_grant else None
        return tuple(
            one for one in (self.client_assertion, grant, self.actor_token, self.dpop_proof) if one is not None
        )


def sent_in(request: Request, secrets: SentSecrets) -> tuple[Secret, ...]:
    """Find every secret that went out with a request, in the form in which a header had it, too.

    Args:
        request: The request.
        secrets: What it was built with.

    Returns:
        What no error may show.
    """
    credentials = request.headers.get("Authorization", "").partition(" ")[2]
    return (*secrets.all(), Secret(credentials)) if credentials else secrets.all()


def chosen_method(config: OIDCConfig, auth: Credentials) -> str:
    """Say which client authentication method a request uses.

    Args:
        config: The provider's metadata.
        auth: The credentials.

    Returns:
        One of RFC 8414's names.
    """
    if auth.client_auth is None and not auth.has_key:
        config.require("token_endpoint_auth_methods_supported")
    return auth.choose_client_auth(config.token_endpoint_auth_methods_supported)


def build_token_request(
    config: OIDCConfig,
    auth: Credentials,
    secrets: SentSecrets,
    *,
    refreshing: bool = False,
    timeout_s: float,
) -> Request:
    """Build a token request (RFC 6749 sections 4.3, 4.4 and 6; RFC 7523 section 2; RFC 8693 section 2.1).

    Args:
        config: The provider's metadata, with a token endpoint.
        auth: The credentials.
        secrets: Their secrets as they are now.
        refreshing: Whether to redeem ``secrets.grant_secret`` as a refresh token in place of the full grant.
        timeout_s: Seconds for the whole request, until its response is there.

    Returns:
        The request. It may be shown; its headers and body may not.
    """
    grant = auth.grant_parameters(secrets.grant_secret, secrets.actor_token)
    if refreshing and secrets.grant_secret is not None:
        grant = [("grant_type", "refresh_token"), ("refresh_token", secrets.grant_secret.reveal())]
    return _post(config, auth, secrets, "token_endpoint", [*grant, *_chosen_parameters(config, auth)], timeout_s)


def build_device_request(config: OIDCConfig, auth: Credentials, secrets: SentSecrets, *, timeout_s: float) -> Request:
    """Build the request that begins a device flow (RFC 8628 section 3.1).

    Args:
        config: The provider's metadata, with a device authorization endpoint.
        auth: The client's credentials; a grant of their own is not used.
        secrets: Their secrets as they are now.
        timeout_s: Seconds for the whole request, until its response is there.

    Returns:
        The request. It may be shown; its headers and body may not.
    """
    chosen = _chosen_parameters(config, auth)
    return _post(config, auth, secrets, "device_authorization_endpoint", chosen, timeout_s)


def build_revocation_request(
    config: OIDCConfig, auth: Credentials, secrets: SentSecrets, hint: TokenTypeHint | None, *, timeout_s: float
) -> Request:
    """Build the request that revokes a token (RFC 7009 section 2.1). The client authenticates as at the token endpoint.

    Args:
        config: The provider's metadata, with a revocation endpoint.
        auth: The client's credentials; a grant of their own is not used.
        secrets: Their secrets as they are now; ``grant_secret`` is the token.
        hint: What kind of token it is; ``None`` leaves it to the provider to find out.
        timeout_s: Seconds for the whole request, until its response is there.

    Returns:
        The request. It may be shown; its headers and body may not.
    """
    assert secrets.grant_secret is not None
    parameters = [("token", secrets.grant_secret.reveal())]
    if hint is not None:
        parameters.append(("token_type_hint", hint))
    return _post(config, auth, secrets, "revocation_endpoint", parameters, timeout_s)


def _post(
    config: OIDCConfig,
    auth: Credentials,
    secrets: SentSecrets,
    endpoint: str,
    parameters: list[tuple[str, str]],
    timeout_s: float,
) -> Request:
    method = chosen_method(config, auth)
    parameters = [*parameters, *_client_parameters(method, auth, secrets)]
    further = {name: value.reveal() for name, value in secrets.headers}
    names = {name.lower() for name in further}
    headers = {"Content-Type": _CONTENT_TYPES[auth.body], **further}
    if "accept" not in names:
        headers["Accept"] = "application/json"
    if method == "client_secret_basic":
        headers["Authorization"] = _basic(auth.client_id or "", secrets.client_secret)
    if secrets.dpop_proof is not None and endpoint == "token_endpoint":
        headers["DPoP"] = secrets.dpop_proof.reveal()
    body = urlencode(parameters) if auth.body == "form" else json.dumps(_members(parameters))
    url = address_of(config, auth, endpoint)
    return Request("POST", url, headers, body.encode("ascii"), timeout_s, auth.client_certificate)


_CONTENT_TYPES = {"form": "application/x-www-form-urlencoded", "json": "application/json"}


def _members(parameters: list[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Parameters as the members of a JSON object; one that comes more than once is a list."""
    found: dict[str, list[str]] = {}
    for name, value in parameters:
        found.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def secrets_in(auth: Credentials) -> tuple[Secret, ...]:
    """Find what a response must not repeat into a log, also where this request does not send it.

    Args:
        auth: The credentials.

    Returns:
        Secrets that are given as texts, and further parameters and header fields that may be one: to redact ``"yes"`` or
        ``"production"`` would only make texts unreadable.
    """
    fields = () if auth.request_headers is None else auth.request_headers.texts
    values = (*(auth.extra or {}).values(), *(field.reveal() for field in fields))
    given = tuple(source for source in auth.sources if isinstance(source, Secret))
    if isinstance(auth.client_secret, Overlap):
        given += auth.client_secret.texts
    return (
        *given,
        *(Secret(value) for value in values if len(value) >= _SHORTEST_SECRET_IN_EXTRA and not is_guessable(value)),
    )


def _chosen_parameters(config: OIDCConfig, auth: Credentials) -> list[tuple[str, str]]:
    assert config.token_endpoint is not None
    chosen = {} if auth.scopes else default_parameters(config.token_endpoint, auth.client_id)
    if auth.scopes:
        chosen["scope"] = " ".join(auth.scopes)
    if auth.resource is not None:
        chosen.pop("resource", None)
    repeated = [("audience", one) for one in _each(auth.sent_audience)] + [
        ("resource", one) for one in _each(auth.resource)
    ]
    return [*chosen.items(), *repeated, *(auth.extra or {}).items()]


def _client_parameters(method: str, auth: Credentials, secrets: SentSecrets) -> list[tuple[str, str]]:
    if auth.client_id is None or method == "client_secret_basic":
        return []
    client = [("client_id", auth.client_id)]
    if method == "client_secret_post" and secrets.client_secret is not None:
        client.append(("client_secret", secrets.client_secret.reveal()))
    if method in ASSERTING and secrets.client_assertion is not None:
        source = auth.client_assertion
        kind = source.assertion_type if isinstance(source, SecretSource) else "jwt-bearer"
        client += [("client_assertion_type", f"{ASSERTION_TYPE}{kind}")]
        client += [("client_assertion", secrets.client_assertion.reveal())]
    return client


def address_of(config: OIDCConfig, auth: Credentials, endpoint: str = "token_endpoint") -> str:
    """Say where a request goes.

    Args:
        config: The provider's metadata.
        auth: The credentials; those with a certificate may have an address of their own (RFC 8705 section 5), because a server
            that asks for certificates at the usual one would make every browser ask its user for one.
        endpoint: The endpoint's name in the metadata.

    Returns:
        The address; empty where there is none.
    """
    aliases: Mapping[str, str] = {}
    if auth.client_certificate is not None:
        config.require("mtls_endpoint_aliases")
        config.require(alias_name(endpoint))
        aliases = config.mtls_endpoint_aliases or {}
    if endpoint not in aliases:
        config.require(endpoint)
    return aliases.get(endpoint) or getattr(config, endpoint) or ""


def _basic(client_id: str, client_secret: Secret | None) -> str:
    # RFC 6749 section 2.3.1: both halves are form-encoded first. A space goes as %20, which form decoders and plain
    # percent decoders read alike.
    secret = "" if client_secret is None else quote(client_secret.reveal(), safe="")
    return "Basic " + base64.b64encode(f"{quote(client_id, safe='')}:{secret}".encode("ascii")).decode("ascii")


def _each(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return () if value is None else (value,) if isinstance(value, str) else value


# --- what only Microsoft Entra ID wants -------------------------------------------------------------------------------

_HOSTS = frozenset(
    {
        "login.microsoftonline.com", "login.microsoftonline.us", "login.microsoftonline.de",
        "login-us.microsoftonline.com", "login.partner.microsoftonline.cn", "login.chinacloudapi.cn",
        "login.microsoft.com", "login.windows.net", "sts.windows.net",
    }
)  # fmt: skip
"""Of Microsoft Entra ID (Azure), with its national clouds."""


def is_entra(token_endpoint: str) -> bool:
    """Tell whether a token endpoint is Microsoft's, a national cloud's or a region's included.

    Args:
        token_endpoint: The address.

    Returns:
        Whether its host is one of theirs; a look-alike in the path or as part of another name does not count.
    """
    host = (urlsplit(token_endpoint).hostname or "").rstrip(".")
    return host in _HOSTS or host.endswith((".login.microsoft.com", ".ciamlogin.com"))


def default_parameters(token_endpoint: str, client_id: str | None) -> dict[str, str]:
    """Give the parameters that Entra needs where the user named no scopes.

    Args:
        token_endpoint: The address.
        client_id: The client's identifier; ``None`` where there is none to build them from.

    Returns:
        ``resource`` for a version 1 endpoint, ``scope`` for any other of Microsoft's, nothing for other providers.
    """
    if client_id is None or not is_entra(token_endpoint):
        return {}
    if urlsplit(token_endpoint).path.rstrip("/").endswith("/oauth2/token"):
        return {"resource": client_id}
    return {"scope": f"{client_id}/.default"}


# --- signed statements ------------------------------------------------------------------------------------------------

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:"
"""What the names begin with by which a signed client assertion is called in a request (RFC 7523 section 2.2)."""

ASSERTION_LIFE_S = 60
"""Seconds that a client assertion lives: it is used at once, and some providers refuse any that lives longer."""

FORGIVEN_S = 5.0
"""Seconds by which a statement may be from the future: hardly any provider refuses it for that."""


def client_claims(auth: Credentials, config: OIDCConfig, *, now_wall: float, jti: str) -> dict[str, Any]:
    """Say what a client assertion claims (RFC 7523 section 3).

    Args:
        auth: The credentials.
        config: The provider's metadata.
        now_wall: Seconds since the epoch.
        jti: A text that no other assertion has.

    Returns:
        The claims.
    """
    now = int(now_wall)
    return {
        "iss": auth.client_id,
        "sub": auth.client_id,
        "aud": assertion_audience(auth, config),
        "jti": jti,
        "iat": now,
        "exp": now + ASSERTION_LIFE_S,
    }


def assertion_audience(auth: Credentials, config: OIDCConfig) -> str:
    """Choose whom a client assertion names. Naming the issuer keeps it from being used anywhere else.

    Args:
        auth: The credentials, whose own choice wins.
        config: The provider's metadata, with a token endpoint.

    Returns:
        The issuer's identifier or the token endpoint's address; with a certificate for mutual TLS that is still the plain one,
        which every provider knows itself by.
    """
    assert config.token_endpoint is not None
    chosen = auth.assertion_audience
    if chosen is not None and chosen not in ("issuer", "token_endpoint"):
        return chosen
    if chosen == "token_endpoint" or config.issuer is None:
        return config.token_endpoint
    if chosen is None and is_entra(config.token_endpoint):
        return config.token_endpoint
    return config.issuer


def is_timely(statement: Secret, *, at: float) -> bool:
    """Tell whether a statement, read at that time, has neither expired nor been made in the future.

    Args:
        statement: A client assertion, a foreign token or a DPoP proof; nothing of it is verified here. Other texts are timely.
        at: Seconds since the epoch by the reader's clock.
    """
    claims = read_claims(statement.reveal())
    ends, begins = read_number(claims.get("exp")), read_number(claims.get("nbf", claims.get("iat")))
    if ends is None and begins is not None:  # a proof is judged by when it was made (RFC 9449 section 11.1)
        ends = begins + ASSERTION_LIFE_S
    return (ends is None or ends > at) and (begins is None or begins <= at + FORGIVEN_S)


def staleness(assertion: Secret, *, now_wall: float) -> str | None:
    """Say how long an assertion has been of no use, where it is a JWT that says when it ends.

    Args:
        assertion: The text, which another party has signed; nothing of it is verified here.
        now_wall: Seconds since the epoch.

    Returns:
        A phrase, or ``None`` where it lives or does not say.
    """
    ends = read_number(read_claims(assertion.reveal()).get("exp"))
    if ends is None or ends > now_wall:
        return None
    return f"expected a token that is still valid, got one that expired {now_wall - ends:.0f} s ago"
