"""The proxy that the environment names for an address, by requests' rules, and for IPv6 addresses by rules of our own.

Requests reads all variables at each question, which takes longer than all else that an adapter does for a request. Here an
answer holds for as long as no variable changes; a program may set them while it runs.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from oidc_actor.values.urls import is_exempt_address, place_of
from supervision.runtime.lazy_imports import fork_waits

_MOST_KEPT = 512
_SYSTEM_NAMES_PROXIES = sys.platform in ("darwin", "win32")  # elsewhere than in the environment, too
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
    if variables is None or _SYSTEM_NAMES_PROXIES:
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
    if not _is_any_named():
        return None
    url = f"http{place.removeprefix('ws')}" if place.startswith("ws") else place
    parts = urlsplit(url)
    host = parts.hostname or ""
    rules = _rules()
    if ":" not in host:
        proxies = rules.get_environ_proxies(url)
    else:  # an IPv6 address: to requests "::1" is also the end of others, and "[::1]" and networks are none
        proxies = rules.getproxies()
        proxies = {} if is_exempt_address(host, parts.port, proxies.get("no", "")) else proxies
    found: str | None = rules.select_proxy(url, proxies)
    return found


def _is_any_named() -> bool:
    """Whether there may be a proxy, as urllib looks for one: by a variable's name in any letters."""
    return _SYSTEM_NAMES_PROXIES or any(name.lower().endswith("_proxy") for name in os.environ)


def _rules() -> Any:
    """Requests' functions. Where no proxy is named nothing else of ours needs it, and its import takes a tenth of a start."""
    with fork_waits():
        return importlib.import_module("requests.utils")


if _is_any_named():
    _rules()  # now, and not on the first thread that asks
