"""Which requests are refused before anything is looked up. Pure.

A web page can make a browser on this machine send requests to loopback: forged ones (it cannot read the answer, and cannot
set a header of its own without being asked for permission first, which is never given), and, by giving its own name this
machine's address, ones whose answers it can read (DNS rebinding), which then have its name in ``Host``.

A browser names the page in ``Origin`` (RFC 6454, section 7), or says in ``Sec-Fetch-Site`` how far from it the request goes; a
page can remove neither. A program's HTTP client sends neither. ``Sec-Fetch-Mode`` alone is no sign: Node's ``fetch`` sends it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

REQUIRED_HEADER = "X-OIDC-Actor"
"""The header that a request for a token has to have on TCP, with any value."""

_REQUIRED = REQUIRED_HEADER.lower().encode()


@dataclass(frozen=True, slots=True)
class Heard:
    """The headers of a request that matter here.

    Attributes:
        host: The only ``Host``, lower case; ``None`` where there is none, or more than one.
        from_a_page: Whether a browser sent it on behalf of a page.
        has_header: Whether the required header is there.
        accept: What ``Accept`` says; empty where there is none.
    """

    host: bytes | None
    from_a_page: bool
    has_header: bool
    accept: bytes


def heard(headers: Iterable[tuple[bytes, bytes]]) -> Heard:
    """Read a request's headers.

    Args:
        headers: Their names, in lower case, and values.
    """
    hosts, from_a_page, has_header, accept = [], False, False, b""
    for name, value in headers:
        if name == b"host":
            hosts.append(value.strip().lower())
        elif name == b"accept":
            accept = value
        elif name == _REQUIRED:
            has_header = True
        elif name in (b"origin", b"sec-fetch-site"):
            from_a_page = True
    return Heard(hosts[0] if len(hosts) == 1 else None, from_a_page, has_header, accept)


def local_hosts(host: str, port: int) -> frozenset[bytes]:
    """What ``Host`` may say of a listener on loopback: its own address, or a name that is this machine everywhere."""
    shown = f"[{host}]" if ":" in host else host
    names = {shown.lower(), "localhost", "127.0.0.1", "[::1]"}
    return frozenset(
        f"{name}{end}".encode() for name in names for end in {f":{port}", "" if port == 80 else f":{port}"}
    )


def refusal(request: Heard, hosts: frozenset[bytes] | None, *, for_a_token: bool) -> str | None:
    """Say why a request is refused.

    Args:
        request: Its headers.
        hosts: What ``Host`` may say; ``None`` on a Unix socket, which no page can reach and whose mode is the guard.
        for_a_token: Whether its answer would be secret.

    Returns:
        The reason, or ``None`` where it is not refused.
    """
    if request.from_a_page:
        return "requests of web pages are refused"
    if hosts is None:
        return None
    if request.host not in hosts:
        return "the Host header names another machine"
    if for_a_token and not request.has_header:
        return f"the header {REQUIRED_HEADER} is required, with any value"
    return None
