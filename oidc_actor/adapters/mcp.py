"""`mcp_auth` for MCP's Python SDK: ``httpx2.AsyncClient(auth=mcp_auth("name", server_url))``, for its streamable HTTP client.

The SDK 2 sends by httpx2, and the SDK 1 by httpx: the one that the installed SDK uses is taken.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from oidc_actor.adapters.presenter import StepUpChoice
from oidc_actor.reading.waiting_reads import ServerRef
from oidc_actor.values.lazy_imports import not_installed
from oidc_actor.values.urls import check_url

if TYPE_CHECKING:
    from oidc_actor.adapters.httpx2 import OIDCAuth
elif find_spec("mcp") is None:
    raise not_installed(__name__, "mcp", ModuleNotFoundError("no module", name="mcp"))
else:
    try:
        _is_first = version("mcp").startswith(("0.", "1."))
    except PackageNotFoundError:  # it was put there without pip
        _is_first = find_spec("httpx2") is None
    if _is_first:
        from oidc_actor.adapters.httpx import OIDCAuth
    else:
        from oidc_actor.adapters.httpx2 import OIDCAuth

__all__ = ["mcp_auth"]
__dir__ = __all__.copy


def mcp_auth(
    server: ServerRef,
    server_url: str,
    *,
    timeout: float = 5.0,
    allow_insecure_http: bool = False,
    step_up: StepUpChoice = True,
) -> OIDCAuth:
    """Make what authenticates an MCP client's HTTP client, for one MCP server.

    The manager decides who gives the tokens, and no answer of the MCP server changes that. Requests do not wait for each other:
    while one is under way the others are sent. A 401, and a challenge that wants more scopes, are answered as by every adapter.

    Args:
        server: The manager, as for every adapter. It need not be there yet.
        server_url: The MCP server's address; no other origin gets the token.
        timeout: Seconds a request waits for a token where there is none.
        allow_insecure_http: Whether plain http is acceptable beyond loopback.
        step_up: Whether a challenge may have a token asked for that is allowed more, or a function that decides; as for every
            adapter.

    Returns:
        An ``Auth`` of httpx2, or for the SDK 1 of httpx.

    Raises:
        ConfigError: The address will not do, or an option is wrong.
        TypeError: ``server`` names no manager.
    """
    check_url(server_url, "server_url", allow_insecure_http=allow_insecure_http)
    return OIDCAuth(
        server, timeout=timeout, origins=[server_url], allow_insecure_http=allow_insecure_http, step_up=step_up
    )
