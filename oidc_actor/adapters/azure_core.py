"""A manager as a credential of the Azure SDK: ``BlobServiceClient(url, credential=OIDCCredential("name"))``.

`AsyncOIDCCredential` is that of the asynchronous clients, under asyncio and trio. What the token is for is said in the manager's
own credentials: the scopes and the tenant that a client names are not looked at.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Self

from oidc_actor.adapters.authorization import Authorization, Unprintable
from oidc_actor.adapters.last_sent import note_sent, take_sent
from oidc_actor.adapters.presenter import Presenter
from oidc_actor.credentials.parameters import StepUp, read_claims_parameter
from oidc_actor.reading.token_source import ServerOrSource
from oidc_actor.values.lazy_imports import not_installed
from oidc_actor.values.secrets import fingerprint
from oidc_actor.values.tokens import TokenResponse

try:
    from azure.core.credentials import AccessToken, AccessTokenInfo
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "azure", missing) from None

__all__ = ["AsyncOIDCCredential", "OIDCCredential"]
__dir__ = __all__.copy

_ASK_AGAIN = 1
"""``refresh_on``, in Unix time: long past, so that a client asks for each request, and always sends the manager's token."""


class _Credential:
    def __init__(self, server: ServerOrSource, *, timeout: float = 5.0) -> None:
        """Choose the manager, which need not be there yet.

        Args:
            server: Its ref or name.
            timeout: Seconds a request waits for a token where there is none.

        Raises:
            ConfigError: The timeout is wrong.
            TypeError: ``server`` is neither a ref nor a name.
        """
        self._presenter = Presenter(server, timeout=timeout)

    def __repr__(self) -> str:
        return self._presenter.shown_as(type(self).__name__)

    def _challenged(self, options: Mapping[str, Any] | None) -> tuple[str, str, StepUp | None] | None:
        """Of a challenge that asks for claims: origin and value that this thread or task has sent last, and the wish."""
        claims = (options or {}).get("claims")
        sent = take_sent(self._presenter) if claims else None  # without any it is no challenge
        if sent is None:
            return None
        read = read_claims_parameter(str(claims))
        return *sent, None if read is None else StepUp(claims=read)

    def _refused_one(self, value: str) -> AccessTokenInfo:
        """That token again, where there is no better: the client sends it, and hands the second 401 on."""
        return _TokenInfo(Unprintable(Authorization(value).token), int(time.time()), refresh_on=_ASK_AGAIN)

    def _info(self, token: TokenResponse, scopes: tuple[str, ...]) -> AccessTokenInfo:
        note_sent(self._presenter, " ".join(scopes), Authorization.bearer(token.access_token))
        return _TokenInfo(Unprintable(token.access_token), _expires_on(token), refresh_on=_ASK_AGAIN)


class OIDCCredential(_Credential):
    """A `TokenCredential` whose token is a manager's; see `oidc_actor.adapters`.

    Clients ask for each request, so a token that was replaced is not sent again. After a 401 whose challenge asks for claims
    (``insufficient_claims``, as a revoked session gets) a token with those claims is asked for and the client sends the request
    again; any other 401 is the program's.
    """

    def get_token(self, *scopes: str, claims: str | None = None, **options: Any) -> AccessToken:
        """Return the token, as older clients ask for it; they keep it until five minutes before its end.

        Args:
            *scopes: Not looked at.
            claims: What a challenge asked for: then a token with those is asked for first.
            **options: Not looked at.

        Raises:
            NoTokenError: There is none.
            ManagerNotRunning: The manager is not there.
            ConfigError: It is bound to a key (DPoP), or no access token.
        """
        info = self.get_token_info(*scopes, options={"claims": claims})
        return AccessToken(info.token, info.expires_on)

    def get_token_info(self, *scopes: str, options: Mapping[str, Any] | None = None) -> AccessTokenInfo:
        """Return the token, as clients ask for it at each request.

        Args:
            *scopes: Not looked at.
            options: ``claims`` as for `get_token`; the others are not looked at.

        Raises:
            NoTokenError: As for `get_token`, and so are the others.
            ManagerNotRunning: The manager is not there.
            ConfigError: It is no bearer token.
        """
        challenged = self._challenged(options)
        if challenged is not None:
            origin, value, wanted = challenged
            if self._presenter.successor(origin, value, step_up=wanted) is None:
                return self._refused_one(value)
        return self._info(self._presenter.bearer_token(), scopes)

    def close(self) -> None:
        """There is nothing to close: the manager goes on."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()


class AsyncOIDCCredential(_Credential):
    """An `AsyncTokenCredential`: does what `OIDCCredential` does, without blocking the event loop."""

    async def get_token(self, *scopes: str, claims: str | None = None, **options: Any) -> AccessToken:
        """Do what `OIDCCredential.get_token` does.

        Args:
            *scopes: Not looked at.
            claims: What a challenge asked for: then a token with those is asked for first.
            **options: Not looked at.

        Raises:
            NoTokenError: There is none.
            ManagerNotRunning: The manager is not there.
            ConfigError: It is no bearer token.
        """
        info = await self.get_token_info(*scopes, options={"claims": claims})
        return AccessToken(info.token, info.expires_on)

    async def get_token_info(self, *scopes: str, options: Mapping[str, Any] | None = None) -> AccessTokenInfo:
        """Do what `OIDCCredential.get_token_info` does.

        Args:
            *scopes: Not looked at.
            options: ``claims`` as for `get_token`; the others are not looked at.

        Raises:
            NoTokenError: There is none.
            ManagerNotRunning: The manager is not there.
            ConfigError: It is no bearer token.
        """
        challenged = self._challenged(options)
        if challenged is not None:
            origin, value, wanted = challenged
            if await self._presenter.asuccessor(origin, value, step_up=wanted) is None:
                return self._refused_one(value)
        return self._info(await self._presenter.abearer_token(), scopes)

    async def close(self) -> None:
        """There is nothing to close: the manager goes on."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.close()


class _TokenInfo(AccessTokenInfo):
    def __repr__(self) -> str:  # the library's shows the text
        return f"AccessTokenInfo(<Bearer {fingerprint(self.token)}>, expires_on={self.expires_on})"


def _expires_on(token: TokenResponse) -> int:
    """The token's end in Unix time; where it is not known, it has to be asked for again in a minute."""
    return int(time.time() + 60 if token.expires_at is None else token.expires_at.timestamp())
