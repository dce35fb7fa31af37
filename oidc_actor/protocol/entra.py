"""What Microsoft Entra ID (Azure) wants that the standard does not say."""

from __future__ import annotations

from urllib.parse import urlsplit

_HOSTS = frozenset(
    {
        "login.microsoftonline.com",
        "login.microsoftonline.us",
        "login.microsoftonline.de",
        "login-us.microsoftonline.com",
        "login.partner.microsoftonline.cn",
        "login.chinacloudapi.cn",
        "login.microsoft.com",
        "login.windows.net",
        "sts.windows.net",
    }
)


def is_entra(token_endpoint: str) -> bool:
    """Tell whether a token endpoint is Microsoft's, a national cloud's or a region's included.

    Args:
        token_endpoint: The address.

    Returns:
        Whether its host is one of theirs; a look-alike in the path or as part of another name does not count.
    """
    host = (urlsplit(token_endpoint).hostname or "").rstrip(".")
    return host in _HOSTS or host.endswith((".login.microsoft.com", ".ciamlogin.com"))


def default_parameters(token_endpoint: str, client_id: str | None) -> dict[str, str]:
    """Give the parameters that Entra needs where the user named no scopes.

    Args:
        token_endpoint: The address.
        client_id: The client's identifier; ``None`` where there is none to build them from.

    Returns:
        ``resource`` for a version 1 endpoint, ``scope`` for any other of Microsoft's, nothing for other providers.
    """
    if client_id is None or not is_entra(token_endpoint):
        return {}
    if urlsplit(token_endpoint).path.rstrip("/").endswith("/oauth2/token"):
        return {"resource": client_id}
    return {"scope": f"{client_id}/.default"}
