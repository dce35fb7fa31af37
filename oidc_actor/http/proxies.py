"""The proxy that the environment names for an address, by requests' rules, and for IPv6 addresses by rules of our own.

Requests reads all variables at each question, which takes longer than all else that an adapter does for a request. Here an
answer holds for as long as no variable changes; a program may set them while it runs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, getproxies_environment

from requests.utils import get_environ_proxies, select_proxy

from oidc_actor.values.urls import is_exempt_address, place_of

_MOST_KEPT = 512
_UNKNOWN = ""

_said: tuple[Mapping[Any, Any], dict[str, str | None]] = ({}, {})
"""All variables as they were, and by scheme and authority the proxy that they named then; replaced as a whole."""


def environ_proxy(url: str) -> str | None:
    """Find the proxy that the environment names for an address (``http_proxy``, ``no_proxy``), as most HTTP clients do.

    Args:
        url: An absolute address; WebSocket's schemes count as http's.

    Returns:
        The proxy's address; ``None`` where there is none, or the host is exempt.
    """
    global _said  # noqa: PLW0603 - one for the process, as the environment is
    place = place_of(url).text
    variables = getattr(os.environ, "_data", None)  # as CPython keeps them, which takes least to compare
    if variables is None or getproxies is not getproxies_environment:  # macOS and Windows name proxies elsewhere, too
        return _find(place)
    seen, found = _said
    if variables != seen:
        _said = seen, found = dict(variables), {}
    proxy = found.get(place, _UNKNOWN)
    if proxy == _UNKNOWN:
        proxy = _find(place)
        if len(found) >= _MOST_KEPT:
            found.clear()
        if variables == seen:  # else another thread has changed them meanwhile
            found[place] = proxy
    return proxy


def _find(place: str) -> str | None:
    url = f"http{place.removeprefix('ws')}" if place.startswith("ws") else place
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" not in host:
        proxies = get_environ_proxies(url)
    else:  # an IPv6 address: to requests "::1" is also the end of others, and "[::1]" and networks are none
        proxies = getproxies()
        proxies = {} if is_exempt_address(host, parts.port, proxies.get("no", "")) else proxies
    found: str | None = select_proxy(url, proxies)
    return found
