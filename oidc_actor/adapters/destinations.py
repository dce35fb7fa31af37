"""Where a token may go: what an origin is, and which connections nobody can listen to. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from oidc_actor.values.errors import ConfigError
from oidc_actor.values.urls import SCHEMES, is_loopback, origin_of, public_url


def check_destination(url: str, *, allow_insecure_http: bool) -> None:
    """Check that nobody between here and there can read the token.

    Args:
        url: Where a request is about to go.
        allow_insecure_http: Whether plain http is acceptable beyond this machine.

    Raises:
        ConfigError: It is not https, and beyond loopback.
    """
    parts = urlsplit(url)
    if SCHEMES.get(parts.scheme) == "https" or allow_insecure_http or is_loopback(parts.hostname or ""):
        return
    raise ConfigError(
        f"expected an https address for a request with a token, got {public_url(url)!r}, where the token could be read "
        "on the network; use https, or allow_insecure_http=True in a test setup"
    )


def check_no_proxy(url: str, proxy: object) -> None:
    """Check that plain http, which is good as long as it stays on this machine, does not leave it through a proxy.

    Args:
        url: Where a request is about to go; not https, and `check_destination` has passed it.
        proxy: What it would go through, which is not shown: it may have a password. ``None`` for nothing.

    Raises:
        ConfigError: There is one.
    """
    if proxy is None:
        return
    raise ConfigError(
        f"expected a direct connection for plain http with a token, got {public_url(url)!r} through a proxy, where the token "
        f"could be read; put {urlsplit(url).hostname} in the variable NO_PROXY, or use allow_insecure_http=True in a test setup"
    )


def is_plain(url: str) -> bool:
    """Tell whether who carries a request to an address can read it."""
    return SCHEMES.get(urlsplit(url).scheme) != "https"


def read_origins(origins: object) -> frozenset[str] | None:
    """Check the ``origins`` of an adapter.

    Args:
        origins: Addresses, or ``None``.

    Returns:
        Their origins, or ``None``.

    Raises:
        ConfigError: That is neither.
    """
    if origins is None:
        return None
    if isinstance(origins, str) or not isinstance(origins, Iterable):
        raise ConfigError(
            f"origins: expected a list of addresses such as ['https://api.example.com'] or None, got {origins!r}"
        )
    return frozenset(_read_origin(one) for one in origins)


def _read_origin(address: object) -> str:
    try:
        parts = urlsplit(address if isinstance(address, str) else "")
        # Libraries send the name of such a host in its other form, which would never be this one.
        if parts.scheme in SCHEMES and parts.hostname and parts.netloc.isascii():
            return origin_of(parts.geturl())
    except ValueError:
        pass
    raise ConfigError(
        f"origins: expected addresses such as 'https://api.example.com', got {address!r}; other letters go in as xn--..."
    )
