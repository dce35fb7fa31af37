"""The proxy that the environment names for an address, by requests' rules, and for IPv6 addresses by rules of our own.

Requests goes through all variables at each question. Here an answer is kept for as long as the variables that count have the
values that they had: a program may set them while it runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies

from requests.utils import get_environ_proxies, select_proxy

from oidc_actor.values.urls import is_exempt_address

_NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_VARIABLES = (*_NAMES, *map(str.upper, _NAMES), "REQUEST_METHOD")  # in a CGI program HTTP_PROXY is a client's header
_SYSTEM_NAMES_PROXIES = sys.platform in ("darwin", "win32")  # where no variable does
_MOST_KEPT = 512

_Values: TypeAlias = tuple[str | bytes | None, ...]


def environ_proxy(url: str) -> str | None:
    """Find the proxy that the environment names for an address (``http_proxy``, ``no_proxy``), as most HTTP clients do.

    Args:
        url: An absolute address; WebSocket's schemes count as http's.

    Returns:
        The proxy's address; ``None`` where there is none, or the host is exempt.
    """
    parts, values = urlsplit(url), _values()
    scheme = f"http{parts.scheme.removeprefix('ws')}" if parts.scheme in ("ws", "wss") else parts.scheme
    find = _look_up if _SYSTEM_NAMES_PROXIES and not any(values) else _kept
    return find(scheme, parts.netloc.rpartition("@")[2], values)


def _look_up(scheme: str, authority: str, _values: _Values) -> str | None:
    url = f"{scheme}://{authority}"
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" not in host:
        proxies = get_environ_proxies(url)
    else:  # an IPv6 address: to requests "::1" is also the end of others, and "[::1]" and networks are none
        proxies = getproxies()
        proxies = {} if is_exempt_address(host, parts.port, proxies.get("no", "")) else proxies
    found: str | None = select_proxy(url, proxies)
    return found


_kept = lru_cache(_MOST_KEPT)(_look_up)


def _reader() -> tuple[Callable[[Any], str | bytes | None], tuple[Any, ...]]:
    """What looks a variable up, and how each of those that count is called there.

    ``os.environ.get`` raises, and catches, an error for each variable that is not set: ten of them cost more than a request's
    whole authentication does. Where CPython's environment has the dictionary that it has always had, it is asked.
    """
    encode, data = getattr(os.environ, "encodekey", None), getattr(os.environ, "_data", None)
    if encode is None or not isinstance(data, dict):
        return os.environ.get, _VARIABLES
    return data.get, tuple(map(encode, _VARIABLES))


_read, _keys = _reader()


def _values() -> _Values:
    return tuple(map(_read, _keys))
