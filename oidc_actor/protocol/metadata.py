"""Discovery (RFC 8414, OpenID Connect Discovery 1.0): the request for an issuer's metadata, and what came back."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from oidc_actor.protocol.redaction import presentable
from oidc_actor.protocol.response_fields import Pairs, read_pairs, retry_after_s, status_problem
from oidc_actor.transport import Request, Response
from oidc_actor.values.errors import DiscoveryError
from oidc_actor.values.oidc_config import ENDPOINTS, MEMBERS, OIDCConfig, alias_name, metadata_problem
from oidc_actor.values.secrets import FrozenMapping, put
from oidc_actor.values.urls import WELL_KNOWN, is_loopback, public_url, url_problem


def discovery_url(issuer_url: str) -> str:
    """Build the address of an issuer's metadata (OpenID Connect Discovery 1.0, section 4).

    Args:
        issuer_url: The issuer identifier.

    Returns:
        The address; one trailing slash of the issuer is not repeated.
    """
    return issuer_url.removesuffix("/") + WELL_KNOWN


def build_metadata_request(issuer_url: str, *, timeout_s: float) -> Request:
    """Build the request for an issuer's metadata.

    Args:
        issuer_url: The issuer identifier.
        timeout_s: Seconds for the whole request, until its response is there.

    Returns:
        The request.
    """
    return Request("GET", discovery_url(issuer_url), {"Accept": "application/json"}, b"", timeout_s)


def parse_discovery(
    response: Response, issuer_url: str, *, now_wall: float, allow_insecure_http: bool = False
) -> OIDCConfig:
    """Read an issuer's metadata.

    Args:
        response: What came back.
        issuer_url: The issuer identifier, which the document must repeat byte for byte (section 4.3).
        now_wall: Seconds since the epoch, for a ``Retry-After`` that is a date.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.

    Returns:
        The metadata; every address in it is one that may be used.

    Raises:
        DiscoveryError: Where the response is anything else. Retryable.
    """
    found = _read_metadata(response, issuer_url, allow_insecure_http=allow_insecure_http)
    if isinstance(found, str):
        raise DiscoveryError(
            f"discovery at {discovery_url(issuer_url)} failed: HTTP {response.status}: {found}",
            status=response.status,
            retry_after_s=retry_after_s(response, now_wall=now_wall),
        )
    return found


def _read_metadata(response: Response, issuer_url: str, *, allow_insecure_http: bool) -> OIDCConfig | str:
    if response.status != 200:
        return status_problem(response.status, "metadata")
    document = read_pairs(response.body)
    if isinstance(document, str):
        return presentable(document, ())
    config = _read_document(document, issuer_url, allow_insecure_http=allow_insecure_http)
    if isinstance(config, str):
        return presentable(config, ())
    if config.issuer != issuer_url:
        got = "none" if config.issuer is None else repr(presentable(config.issuer, ()))
        return f"expected the issuer {issuer_url!r}, byte for byte (a trailing slash counts), got {got}"
    return config if config.token_endpoint is not None else "token_endpoint: expected an https URL, got none"


def _read_document(document: Pairs, issuer_url: str, *, allow_insecure_http: bool) -> OIDCConfig | str:
    """Read what a provider published. Only what every request needs is judged now; see `OIDCConfig.require` for the rest.

    Args:
        document: The members, as they came.
        issuer_url: Whose document it should be.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.

    Returns:
        The configuration, without what cannot be used; or what is wrong with its issuer or token endpoint.
    """
    members, unusable = _usable(document, issuer_url, allow_insecure_http=allow_insecure_http)
    for name in ("issuer", "token_endpoint"):
        if name in unusable:
            return f"{name}: {unusable[name]}"
    config = OIDCConfig(**{name: value for name, value in members.items() if value not in ("", None)})
    put(config, _unusable=FrozenMapping(unusable) if unusable else None)
    return config


def _usable(document: Pairs, issuer_url: str, *, allow_insecure_http: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """The members that can be used, and what is wrong with the others, by name."""

    def address_problem(_: str, url: object) -> str | None:
        return _address_problem(url, issuer_url, allow_insecure_http=allow_insecure_http)

    def problem_of(name: str, value: object) -> str | None:
        if value in ("", None) or (name == "mtls_endpoint_aliases" and isinstance(value, Pairs)):
            return None
        found = metadata_problem({name: value})
        if found is not None:
            return found[1]
        return address_problem(name, value) if name in ENDPOINTS else None

    members, unusable = _judged([(name, value) for name, value in document if name in MEMBERS], problem_of)
    aliases = members.get("mtls_endpoint_aliases")
    if isinstance(aliases, Pairs):
        members["mtls_endpoint_aliases"], bad = _judged(aliases, address_problem)
        unusable |= {alias_name(name): problem for name, problem in bad.items()}
    return members, unusable


def _judged(
    pairs: Iterable[tuple[str, Any]], problem_of: Callable[[str, object], str | None]
) -> tuple[dict[str, Any], dict[str, str]]:
    usable: dict[str, Any] = {}
    unusable: dict[str, str] = {}
    for name, value in pairs:
        is_repeated = name in usable or name in unusable
        problem = "expected it once, got a JSON object that repeats one" if is_repeated else problem_of(name, value)
        if problem is None:
            usable[name] = value
        else:
            usable.pop(name, None)
            unusable[name] = problem
    return usable, unusable


def _address_problem(url: object, issuer_url: str, *, allow_insecure_http: bool) -> str | None:
    """Why an issuer's address cannot be used. A remote issuer must not have requests sent to services of this machine."""
    problem = url_problem(url, allow_insecure_http=allow_insecure_http)
    if problem is not None or allow_insecure_http or not isinstance(url, str):
        return problem
    is_remote = not is_loopback(urlsplit(issuer_url).hostname or "")
    if is_remote and urlsplit(url).scheme == "http":
        return f"expected https, got plain http {public_url(url)!r} on loopback, from an issuer that is elsewhere"
    return None
