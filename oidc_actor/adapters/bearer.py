"""What every adapter does with a manager: present its token, and have it replaced when it is refused."""

from __future__ import annotations

from collections.abc import Iterable

import pykka

from oidc_actor.adapters.authorization import Authorization
from oidc_actor.adapters.challenges import refuses_token
from oidc_actor.adapters.complaints import Complaints
from oidc_actor.adapters.destinations import check_destination, origin_of, read_origins
from oidc_actor.errors import NoTokenError
from oidc_actor.manager import TokenManager
from oidc_actor.reading.reads import Server, check_wait
from supervision import NoProcess


class Bearer:
    """A manager as an adapter uses it. One object serves any number of threads and event loops.

    What it is told of requests is told by header values, so that no adapter has a token's text in a variable.
    """

    __slots__ = ("_allow_insecure_http", "_complaints", "_origins", "_server", "_timeout_s")

    def __init__(
        self,
        server: Server,
        *,
        timeout: float = 5.0,
        origins: Iterable[str] | None = None,
        allow_insecure_http: bool = False,
    ) -> None:
        """Check and keep; the manager need not be there yet.

        Args:
            server: The manager's ref or name.
            timeout: Seconds to wait for a token where there is none.
            origins: The only origins that get the token; ``None`` for wherever the caller sends a request.
            allow_insecure_http: Whether plain http is acceptable beyond loopback.

        Raises:
            ConfigError: One of them is wrong.
            TypeError: ``server`` is neither a ref nor a name.
        """
        named: object = server
        if not isinstance(named, str | pykka.ActorRef):
            raise TypeError(f"server: expected the ref or the name of a TokenManager, got {type(named).__name__}")
        check_wait(timeout, 0.0)
        self._server = server
        self._timeout_s = timeout
        self._origins = read_origins(origins)
        self._allow_insecure_http = allow_insecure_http
        self._complaints = Complaints()

    def __repr__(self) -> str:
        return f"Bearer({self._server!s})"

    def settle_on(self, origin: str) -> None:
        """Give the token to one origin only from now on, unless others were named."""
        if self._origins is None:
            self._origins = frozenset((origin,))

    def destination(self, url: str) -> str | None:
        """Say where a request goes.

        Args:
            url: Its address.

        Returns:
            The origin; ``None`` where it is not one of those that get the token.

        Raises:
            ConfigError: The token could be read on the way there.
        """
        origin = origin_of(url)
        if self._origins is not None and origin not in self._origins:
            return None
        check_destination(url, allow_insecure_http=self._allow_insecure_http)
        return origin

    # --- the token ----------------------------------------------------------------------------------------------------

    def header(self, timeout_s: float | None = None) -> Authorization:
        """Return the value of the header, waiting for a token if need be.

        Args:
            timeout_s: Seconds to wait; ``None`` for those of the adapter.

        Raises:
            NoTokenError: None came in time, or none can.
            NoProcess: The manager is not there.
        """
        return Authorization.bearer(TokenManager.get_access_token(self._server, timeout=self._patience(timeout_s)))

    async def aheader(self, timeout_s: float | None = None) -> Authorization:
        """Do what `header` does, without blocking the event loop."""
        timeout = self._patience(timeout_s)
        return Authorization.bearer(await TokenManager.aget_access_token(self._server, timeout=timeout))

    def present(self) -> Authorization | None:
        """Return the value of the header as it is now, or ``None`` where there is no token; never waits."""
        try:
            return self.header(0.0)
        except (NoTokenError, NoProcess):
            return None

    # --- its refusal --------------------------------------------------------------------------------------------------

    def is_refused(self, origin: str, status: int, fields: Iterable[str]) -> bool:
        """Tell whether an answer refuses the token, and note it where it shows that the token was accepted.

        Args:
            origin: Whose answer.
            status: Its HTTP status.
            fields: The values of its ``WWW-Authenticate`` fields.
        """
        if status == 401:
            return refuses_token(fields)
        if 200 <= status < 300:
            self._complaints.accepted(origin)
        return False

    def complain(self, origin: str, sent: object) -> bool:
        """Report that a token was refused, so that it is replaced; never waits.

        Args:
            origin: Who refused it.
            sent: The value of the header that was refused.

        Returns:
            Whether another token has come or may come; ``False`` for what is no token of ours, and where the origin has
            refused a replacement before.
        """
        if not isinstance(sent, str) or not Authorization.is_bearer(sent):
            return False
        if self.present() != sent:
            return True  # somebody else has complained already, or it was about to be replaced anyway
        if not self._complaints.admit(origin, sent):
            return False
        TokenManager.force_refresh(self._server, rejected=Authorization(sent).token)
        return True

    def successor(self, origin: str, sent: object, timeout_s: float | None = None) -> Authorization | None:
        """Complain, and wait for what replaces the token.

        Args:
            origin: Who refused it.
            sent: The value of the header that was refused.
            timeout_s: Seconds to wait; ``None`` for those of the adapter.

        Returns:
            The value to try again with; ``None`` where there is none, so that the refusal is the caller's answer.
        """
        if not self.complain(origin, sent):
            return None
        try:
            header = self.header(timeout_s)
        except (NoTokenError, NoProcess):
            return None
        return None if header == sent else header

    async def asuccessor(self, origin: str, sent: object, timeout_s: float | None = None) -> Authorization | None:
        """Do what `successor` does, without blocking the event loop."""
        if not self.complain(origin, sent):
            return None
        try:
            header = await self.aheader(timeout_s)
        except (NoTokenError, NoProcess):
            return None
        return None if header == sent else header

    def _patience(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s
