"""The plain header, for every client that takes one. It knows nothing of where the request goes, or of its answer."""

from __future__ import annotations

from oidc_actor.adapters.authorization import Authorization
from oidc_actor.manager import TokenManager
from oidc_actor.reading.reads import Server


def headers(server: Server, *, timeout: float = 5.0) -> dict[str, str]:
    """Return the header for one request, with the token as it is now; ask again for each request.

    Args:
        server: The manager's ref or name.
        timeout: Seconds to wait for a token where there is none.

    Returns:
        ``{"Authorization": "Bearer ..."}`` (RFC 6750 section 2.1); the ``repr`` of the value does not show the token. After a
        401 tell the manager: ``TokenManager.force_refresh(server, rejected=token)``.

    Raises:
        NoTokenError: None came in time, or none can.
        NoProcess: The manager is not there.
    """
    return {"Authorization": Authorization.bearer(TokenManager.get_access_token(server, timeout=timeout))}


async def aheaders(server: Server, *, timeout: float = 5.0) -> dict[str, str]:
    """Do what `headers` does, without blocking the event loop."""
    return {"Authorization": Authorization.bearer(await TokenManager.aget_access_token(server, timeout=timeout))}
