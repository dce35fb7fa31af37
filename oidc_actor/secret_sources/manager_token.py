"""The token of one manager as what another one trades: the subject of a token exchange, or an assertion."""

from __future__ import annotations

from typing import Literal

import pykka

from oidc_actor.reading.waiting_reads import ServerRef, wait_for_token
from oidc_actor.values.errors import ConfigError, NoTokenError
from oidc_actor.values.secrets import Secret, SecretSource
from supervision import NoProcess


class ManagerToken(SecretSource):
    """What a manager holds when it is asked, for `TokenExchange` and `JWTBearer`. It needs no manager to be made.

    It never waits: where the other manager has no token yet, this attempt fails, and the next one comes as soon as it has. A
    thread that waited here would be one of those that the other manager's request needs.
    """

    __slots__ = ("_kind", "_server")

    def __init__(self, server: ServerRef, kind: Literal["access_token", "id_token"] = "access_token") -> None:
        """Choose the manager.

        Args:
            server: Its ref or name.
            kind: Which of its tokens.

        Raises:
            ConfigError: Where there is no such kind, or ``server`` is neither a ref nor a name.
        """
        given: object = server
        if not isinstance(given, str | pykka.ActorRef) or given == "":
            got = "''" if given == "" else type(given).__name__
            raise ConfigError(f"expected the ref or the name of a TokenManager, got {got}", ("server",))
        if kind not in ("access_token", "id_token"):
            raise ConfigError(f"expected 'access_token' or 'id_token', got {kind!r}", ("kind",))
        self._server = server
        self._kind = kind

    @property
    def managers(self) -> tuple[ServerRef, ...]:
        """The other manager."""
        return (self._server,)

    def fetch(self) -> Secret | str:
        """Return the token, or why there is none."""
        try:
            token = wait_for_token(self._server, 0.0, 0.0)
        except NoTokenError as error:
            return f"the manager {self._server!s} has no valid token yet: {error}"
        except (NoProcess, TypeError):
            return f"there is no manager {self._server!s}"
        text = token.access_token if self._kind == "access_token" else token.id_token
        return Secret(text) if text else f"the manager {self._server!s} got no {self._kind} from its provider"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ManagerToken) and (self._server, self._kind) == (other._server, other._kind)

    def __hash__(self) -> int:
        return hash((ManagerToken, self._server, self._kind))

    def __repr__(self) -> str:
        return f"ManagerToken({self._server!r}, {self._kind!r})"
