"""Discovery: where metadata may be, and what came back from there.

Of an issuer (OpenID Connect Discovery 1.0, RFC 8414) and of a protected resource (RFC 9728).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from urllib.parse import urlsplit

from oidc_actor.protocol.redaction import presentable
from oidc_actor.protocol.response_fields import Pairs, read_pairs, retry_after_s, status_problem
from oidc_actor.transport import Request, Response
from oidc_actor.values.errors import DiscoveryError
from oidc_actor.values.oidc_config import ENDPOINTS, MEMBERS, OIDCConfig, alias_name, metadata_problem
from oidc_actor.values.resource_metadata import ResourceMetadata, names_issuer, read_members
from oidc_actor.values.secrets import FrozenMapping, put
from oidc_actor.values.urls import (
    WELL_KNOWN,
    WELL_KNOWN_OAUTH,
    WELL_KNOWN_RESOURCE,
    is_loopback,
    public_url,
    url_problem,
)
from supervision.frozen import dataclass

_ABSENT = frozenset({401, 403, 404, 405, 410})
_BUSY = frozenset({408, 425, 429})


def discovery_url(issuer_url: str) -> str:
    """Build the address of an OpenID provider's metadata (OpenID Connect Discovery 1.0, section 4).

    Args:
        issuer_url: The issuer identifier.

    Returns:
        The address; one trailing slash of the issuer is not repeated.
    """
    return issuer_url.removesuffix("/") + WELL_KNOWN


def discovery_urls(issuer_url: str, first: str | None = None) -> list[str]:
    """List where an issuer's metadata may be, in the order in which they are looked for.

    Args:
        issuer_url: The issuer identifier.
        first: The one of these addresses where they were found before; ``None`` where that is not known.

    Returns:
        OpenID's, then RFC 8414's: with the issuer's path behind the well-known one (section 3.1), and before it, as many servers
        have it that know OpenID's only.
    """
    issuer = issuer_url.removesuffix("/")
    path = urlsplit(issuer).path
    inserted = f"{issuer.removesuffix(path)}{WELL_KNOWN_OAUTH}{path}"
    found = list(dict.fromkeys([discovery_url(issuer_url), inserted, issuer + WELL_KNOWN_OAUTH]))
    return sorted(found, key=lambda url: url != first)


def resource_metadata_urls(resource_url: str) -> list[str]:
    """List where a resource's metadata may be, in the order in which they are looked for.

    Args:
        resource_url: The resource identifier.

    Returns:
        The well-known address before the resource's path (RFC 9728 section 3.1); without the slash that ends the path; and
        without the path, where servers with one resource have it.
    """
    parts = urlsplit(resource_url)
    query = f"?{parts.query}" if parts.query else ""
    root = resource_url.removesuffix(query).removesuffix(parts.path) + WELL_KNOWN_RESOURCE
    path = "" if parts.path == "/" else parts.path
    return list(dict.fromkeys([f"{root}{path}{query}", f"{root}{path.removesuffix('/')}{query}", root]))


def build_metadata_request(url: str, *, timeout_s: float) -> Request:
    """Build the request for a metadata document.

    Args:
        url: Its address.
        timeout_s: Seconds for the whole request, until its response is there.

    Returns:
        The request.
    """
    return Request("GET", url, {"Accept": "application/json"}, b"", timeout_s)


@dataclass(frozen=True, slots=True)
class Tried:
    """An address that has no metadata to be used, and what it answered.

    Attributes:
        url: The address.
        response: The answer.
        problem: What is wrong with it.
    """

    url: str
    response: Response
    problem: str

    def is_absent(self, *, now_wall: float) -> bool:
        """Whether no document is there, and the next address is worth a request; not in an outage, nor with a ``Retry-After``.

        Args:
            now_wall: Seconds since the epoch.
        """
        status = self.response.status
        if retry_after_s(self.response, now_wall=now_wall):
            return False
        no_json = status < 500 and status not in _BUSY and isinstance(read_pairs(self.response.body), str)
        return no_json or status in _ABSENT


def discovery_error(tried: Sequence[Tried], *, now_wall: float, of: str = "") -> DiscoveryError:
    """Say that none of the addresses that were asked has metadata that can be used.

    Args:
        tried: The addresses, in their order.
        now_wall: Seconds since the epoch, for a ``Retry-After`` that is a date.
        of: Whose metadata were looked for; empty for an issuer's.

    Returns:
        The error. Its status is the last answer's if that ended the search, else the first one's.
    """
    last = tried[-1]
    told = "; ".join(f"at {public_url(one.url)}: HTTP {one.response.status}: {one.problem}" for one in tried[1:])
    first = f"discovery{of} at {public_url(tried[0].url)} failed: HTTP {tried[0].response.status}: {tried[0].problem}"
    return DiscoveryError(
        f"{first}; {told}" if told else first,
        status=tried[0].response.status if last.is_absent(now_wall=now_wall) else last.response.status,
        retry_after_s=retry_after_s(last.response, now_wall=now_wall),
    )


def parse_discovery(
    response: Response, issuer_url: str, *, now_wall: float, allow_insecure_http: bool = False
) -> OIDCConfig:
    """Read an OpenID provider's metadata.

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
    found = read_metadata(response, issuer_url, allow_insecure_http=allow_insecure_http)
    if isinstance(found, str):
        raise discovery_error([Tried(discovery_url(issuer_url), response, found)], now_wall=now_wall)
    return found


def read_metadata(response: Response, issuer_url: str, *, allow_insecure_http: bool = False) -> OIDCConfig | str:
    """Read an issuer's metadata, of either kind: RFC 8414's have the same members as OpenID's, as far as they are used here.

    Args:
        response: What came back.
        issuer_url: The issuer identifier, which the document must repeat byte for byte (RFC 8414 section 3.3).
        allow_insecure_http: Whether plain http is acceptable beyond loopback.

    Returns:
        The metadata, or what is wrong with the response.
    """
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


def read_resource_metadata(
    response: Response, resource_url: str, *, issuer_url: str | None = None
) -> ResourceMetadata | str:
    """Read a resource's metadata.

    Args:
        response: What came back.
        resource_url: The resource identifier, which the document must repeat byte for byte (RFC 9728 section 3.3).
        issuer_url: An issuer whose tokens the resource has to take; ``None`` where it may be any.

    Returns:
        The metadata, or what is wrong with the response.
    """
    if response.status != 200:
        return status_problem(response.status, "the resource's metadata")
    document = read_pairs(response.body)
    if isinstance(document, str):
        return presentable(document, ())
    usable, _ = _judged(document, lambda name, value: None)
    found = read_members(usable)
    if isinstance(found, str):
        return found
    if found.resource != resource_url:
        shown, got = public_url(resource_url), presentable(found.resource, ())
        return f"expected the resource {shown!r}, byte for byte (a trailing slash counts), got {got!r}"
    if issuer_url is not None and not names_issuer(found, issuer_url):
        servers = found.authorization_servers
        got = "none" if not servers else presentable(", ".join(servers), ())
        return f"authorization_servers: expected the issuer {issuer_url!r} among them, got {got}"
    return found


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
