"""Which addresses a secret may be sent to: https, and plain http only where it never leaves the machine."""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from oidc_actor.values.errors import ConfigError
from supervision.frozen import dataclass

WELL_KNOWN = "/.well-known/openid-configuration"
"""Where an issuer's metadata are (OpenID Connect Discovery 1.0, section 4)."""

WELL_KNOWN_OAUTH = "/.well-known/oauth-authorization-server"
"""Where those of a server are that is no OpenID provider (RFC 8414 section 3)."""

WELL_KNOWN_RESOURCE = "/.well-known/oauth-protected-resource"
"""Where a protected resource's are (RFC 9728 section 3)."""

SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
"""What counts as the scheme of an origin: a WebSocket begins as a request to the same server (RFC 6455 section 1.7)."""

_PORTS = {"http": 80, "https": 443}
_ILLEGAL = re.compile(r"[\x00- \\\x7f]")


def check_url(value: object, name: str, *, allow_insecure_http: bool = False) -> str:
    """Check an address given as an option.

    Args:
        value: The candidate.
        name: What it is, for the error's message.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.

    Returns:
        The address, unchanged.

    Raises:
        ConfigError: Where it is none that a secret may be sent to.
    """
    problem = url_problem(value, allow_insecure_http=allow_insecure_http)
    if problem is not None:
        raise ConfigError(problem, (name,))
    return str(value)


def check_issuer_url(value: object, *, allow_insecure_http: bool = False) -> str:
    """Check an issuer identifier (OpenID Connect Discovery 1.0, section 3).

    Args:
        value: The candidate.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.

    Returns:
        The identifier, unchanged: it is compared byte for byte with what the provider says.

    Raises:
        ConfigError: Where it cannot be one.
    """
    issuer_url = check_url(value, "issuer_url", allow_insecure_http=allow_insecure_http)
    if "?" in issuer_url:
        problem = f"expected an address without a query, got {public_url(issuer_url)!r} with one"
        raise ConfigError(problem, ("issuer_url",))
    for name in (WELL_KNOWN, WELL_KNOWN_OAUTH, WELL_KNOWN_RESOURCE):
        if name in issuer_url:
            what = "a resource's" if name == WELL_KNOWN_RESOURCE else "its"
            problem = f"expected the issuer, got the address of {what} metadata {issuer_url!r}; leave {name!r} out"
            raise ConfigError(problem, ("issuer_url",))
    return issuer_url


def check_resource_url(value: object, *, allow_insecure_http: bool = False) -> str:
    """Check a resource identifier (RFC 8707 section 2, RFC 9728 section 1.2).

    Args:
        value: The candidate.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.

    Returns:
        The identifier, unchanged: it is compared byte for byte with what the resource says.

    Raises:
        ConfigError: Where it cannot be one.
    """
    resource_url = check_url(value, "resource_url", allow_insecure_http=allow_insecure_http)
    if WELL_KNOWN_RESOURCE in resource_url:
        shown = public_url(resource_url)
        problem = f"expected the resource, got the address of its metadata {shown!r}; leave {WELL_KNOWN_RESOURCE!r} out"
        raise ConfigError(problem, ("resource_url",))
    return resource_url


def url_problem(value: object, *, allow_insecure_http: bool = False) -> str | None:
    """Say what is wrong with an address, without showing what may be secret in it.

    Args:
        value: The candidate.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.

    Returns:
        A phrase of the form "expected ..., got ...", or ``None`` where nothing is wrong.
    """
    if not isinstance(value, str):
        return f"expected an https URL, got {type(value).__name__}"
    if not value.isascii():
        return (
            "expected an https URL, got one with non-ASCII characters; write a host's name as xn--... and the rest in percent "
            "escapes, exactly as the server's own metadata have it"
        )
    if _ILLEGAL.search(value):
        return "expected an https URL, got one with spaces, backslashes or control characters"
    return _parts_problem(value, allow_insecure_http=allow_insecure_http)


def _parts_problem(url: str, *, allow_insecure_http: bool) -> str | None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "expected an https URL, got one whose host or port cannot be read"
    if "@" in parts.netloc:
        return "expected a URL without user information, got one with it; pass credentials as such"
    shown = repr(public_url(url)) if host else "one without a scheme or a host"
    if parts.scheme not in {"https", "http"} or not host:
        return f"expected an https URL such as 'https://auth.example.com', got {shown}"
    if "#" in url:
        return f"expected a URL without a fragment, got {shown} with one"
    if parts.scheme == "http" and not allow_insecure_http and not is_loopback(host):
        return (
            f"expected https, got plain http {shown}, which would send secrets readable over the network; "
            "use https, or set allow_insecure_http in a test setup"
        )
    return None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a request goes, as far as its scheme and authority say.

    Attributes:
        text: The address, without user information, path and what follows.
        origin: As `origin_of` names it.
        scheme: The origin's.
        host: The host; empty where there is none.
        is_loopback: Whether that is this machine, as `is_loopback` tells.
    """

    text: str
    origin: str
    scheme: str
    host: str
    is_loopback: bool


def place_of(url: str) -> Place:
    """Read scheme and authority of an address; once for all addresses that begin with the same.

    Args:
        url: An absolute address.

    Raises:
        ValueError: Where the address cannot be read.
    """
    # A "/" from here on ends the authority of all schemes that a token is sent by. Where another address was cut too early, it
    # has no host.
    cut = url.find("/", len("https://"))
    place = read_place(url[:cut] if cut > 0 else url)
    return place if place.host else read_place.__wrapped__(url)


@lru_cache(maxsize=1024)
def read_place(url: str) -> Place:
    """Do what `place_of` does for an address that is nothing but scheme and authority."""
    parts = urlsplit(url)
    scheme, host = SCHEMES.get(parts.scheme, parts.scheme), parts.hostname or ""
    origin = f"{scheme}://{host}:{parts.port or _PORTS.get(scheme, 0)}"
    return Place(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", origin, scheme, host, is_loopback(host))


def origin_of(url: str) -> str:
    """Name the origin of an address (RFC 6454 section 4), WebSocket's schemes counting as http's.

    Args:
        url: An absolute address.

    Returns:
        Such as ``"https://api.example.com:443"``.

    Raises:
        ValueError: Where the address cannot be read.
    """
    return place_of(url).origin


def is_exempt_address(host: str, port: int | None, no_proxy: str) -> bool:
    """Tell whether ``NO_PROXY`` exempts an IPv6 address; most libraries' rules know names and IPv4 only.

    Args:
        host: The address, as `urllib.parse.urlsplit` gives it.
        port: The port, or ``None`` where it is the scheme's.
        no_proxy: The variable: ``*``, and ``::1``, ``[::1]``, ``[::1]:8443`` or ``fd00::/8`` between commas or spaces, however
            an address is abbreviated.

    Returns:
        Whether one of its entries is the address, or a network that holds it.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return any(entry == "*" or _holds(entry, address, port) for entry in no_proxy.replace(",", " ").split())


def _holds(entry: str, address: IPv4Address | IPv6Address, port: int | None) -> bool:
    if entry.startswith("["):
        entry, _, of_port = entry[1:].partition("]")
        if of_port.startswith("/"):  # [fd00::]/8
            entry += of_port
        elif of_port and of_port != f":{port}":
            return False
    try:
        return address in ip_network(entry.partition("%")[0], strict=False)
    except ValueError:
        return False


def proxy_shown(proxy: str) -> str:
    """Name a proxy without its user and password, however they are written.

    Args:
        proxy: The proxy's address, from the environment.

    Returns:
        Its scheme where it has one, host and port.
    """
    scheme, separator, rest = proxy.rpartition("://")
    return "".join(one for one in scheme + separator + rest.rpartition("@")[2].partition("/")[0] if one.isprintable())


@lru_cache(maxsize=512)
def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, so that nothing sent to it can be seen on a network.

    Args:
        host: A name or an address, as `urllib.parse.urlsplit` gives it.

    Returns:
        ``True`` for ``localhost``, 127.0.0.0/8 and ::1. Names below ``localhost`` may be asked of a name server, so
        they do not count.
    """
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def public_url(url: str) -> str:
    """Reduce a URL to what may be shown: no user information, no query, no fragment.

    Args:
        url: Any text.

    Returns:
        Scheme, host, port and path; a placeholder where the text is no URL.
    """
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - what stands in its place may be the beginning of a password that has a slash
    except ValueError:
        return "<not a URL>"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" if host else "<not a URL>"
