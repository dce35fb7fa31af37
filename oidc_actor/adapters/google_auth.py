"""A manager for google-auth: `OIDCCredentials` for what takes credentials, `SubjectToken` for workload identity federation.

```python
session = google.auth.transport.requests.AuthorizedSession(OIDCCredentials("name"))  # and every client that takes credentials

google.auth.identity_pool.Credentials(..., subject_token_supplier=SubjectToken("name"))  # Google trades the manager's token
```
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from oidc_actor.adapters.authorization import Unprintable
from oidc_actor.adapters.last_sent import note_sent, take_sent
from oidc_actor.adapters.presenter import Presenter
from oidc_actor.reading.token_source import ServerOrSource
from oidc_actor.values.errors import ConfigError, NoTokenError
from oidc_actor.values.lazy_imports import not_installed
from oidc_actor.values.tokens import TokenResponse
from supervision import NoProcess

try:
    from google.auth.credentials import Credentials, TokenState
    from google.auth.identity_pool import SubjectTokenSupplier
except ModuleNotFoundError as missing:
    raise not_installed(__name__, "google", missing) from None

__all__ = ["OIDCCredentials", "SubjectToken"]
__dir__ = __all__.copy

_without_successor: ContextVar[tuple[OIDCCredentials, str] | None] = ContextVar("oidc_actor_google", default=None)


class OIDCCredentials(Credentials):
    """Credentials that are a manager's; see `oidc_actor.adapters`. google-auth keeps no token of its own.

    `AuthorizedSession` and `AuthorizedHttp` call `refresh` after each 401, whatever it is about, and then send the request again,
    twice at most (``max_refresh_attempts=``). Where no other token comes in time, they send the present one, and the program
    gets the 401. Google's own libraries may add headers of theirs; this adds the token only.
    """

    def __init__(
        self,
        server: ServerOrSource,
        *,
        timeout: float = 5.0,
        origins: Iterable[str] | None = None,
        allow_insecure_http: bool = False,
    ) -> None:
        """Choose the manager, which need not be there yet.

        Args:
            server: Its ref or name.
            timeout: Seconds a request waits for a token where there is none.
            origins: The only origins that get the token; ``None`` for wherever a request is sent.
            allow_insecure_http: Whether plain http is acceptable beyond loopback.

        Raises:
            ConfigError: An argument is wrong.
            TypeError: ``server`` is neither a ref nor a name.
        """
        self._presenter = Presenter(server, timeout=timeout, origins=origins, allow_insecure_http=allow_insecure_http)
        super().__init__()  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return self._presenter.shown_as("OIDCCredentials")

    def before_request(self, request: Any, method: str, url: str, headers: MutableMapping[str, str]) -> None:
        """Put the token on a request; runs on the thread that sends it.

        Args:
            request: google-auth's transport; not used.
            method: The request's method.
            url: Its address.
            headers: Its header fields, which get ``authorization``; lower-case, as gRPC wants it.

        Raises:
            ConfigError: The token could be read on the way.
            NoTokenError: There is none.
            ManagerNotRunning: The manager is not there.
            SecretUnavailable: The token's DPoP key cannot be read now.
        """
        origin = self._presenter.destination(url)
        if origin is None:
            return
        fields = self._unmended() or self._presenter.fields(method, url)
        note_sent(self._presenter, origin, fields["Authorization"])
        headers.update({name.lower(): value for name, value in fields.items()})

    def refresh(self, request: Any) -> None:
        """Have the token replaced that this thread has sent last; without one, wait until there is a token.

        Args:
            request: google-auth's transport; not used.

        Raises:
            NoTokenError: There is none, and this thread has sent none.
            ManagerNotRunning: The manager is not there.
        """
        sent = take_sent(self._presenter)
        if sent is None:
            self._presenter.bearer_token()
        elif self._presenter.successor(*sent) is None:
            _without_successor.set(
                (self, sent[1])
            )  # google-auth sends the request again in any case, and hands its answer on

    @property
    def token(self) -> str | None:
        """The text of the present token; ``None`` where there is none. Its ``repr`` shows a fingerprint."""
        found = self._present()
        return None if found is None else Unprintable(found.access_token)

    @token.setter
    def token(self, value: object) -> None:
        """google-auth's constructor sets it; it is the manager's."""

    @property
    def expiry(self) -> datetime | None:
        """When the present token ends, in UTC without a time zone, as google-auth has it."""
        found = self._present()
        ends_at = None if found is None else found.expires_at
        return None if ends_at is None else ends_at.astimezone(UTC).replace(tzinfo=None)

    @expiry.setter
    def expiry(self, value: object) -> None:
        """google-auth's constructor sets it; it is the manager's."""

    @property
    def expired(self) -> bool:
        """Whether there is no valid token now; google-auth's own margin is left out, because the manager refreshes in time."""
        return self._present() is None

    @property
    def valid(self) -> bool:
        """Whether there is a valid token now."""
        return not self.expired

    @property
    def token_state(self) -> TokenState:
        """``FRESH`` with a valid token, otherwise ``INVALID``."""
        return TokenState.FRESH if self.valid else TokenState.INVALID

    def _unmended(self) -> dict[str, str] | None:
        """What to send again where `refresh` on this thread has just found nothing better."""
        found = _without_successor.get()
        _without_successor.set(None)
        return None if found is None or found[0] is not self else {"Authorization": found[1]}

    def _present(self) -> TokenResponse | None:
        with suppress(NoTokenError, NoProcess, ConfigError):
            return self._presenter.bearer_token(0.0)
        return None


class SubjectToken(SubjectTokenSupplier):
    """Gives Google's security token service a manager's token, which it trades for one of its own; asked at every trade."""

    def __init__(self, server: ServerOrSource, *, timeout: float = 5.0) -> None:
        """Choose the manager, which need not be there yet.

        Args:
            server: Its ref or name. Its token has to be a JWT that the workload identity pool accepts.
            timeout: Seconds a trade waits for a token where there is none.

        Raises:
            ConfigError: The timeout is wrong.
            TypeError: ``server`` is neither a ref nor a name.
        """
        self._presenter = Presenter(server, timeout=timeout)

    def __repr__(self) -> str:
        return self._presenter.shown_as("SubjectToken")

    def get_subject_token(self, context: Any, request: Any) -> str:
        """Return the token as it is now; its ``repr`` shows a fingerprint.

        Args:
            context: Audience and type that are asked for; not looked at.
            request: google-auth's transport; not used.

        Raises:
            NoTokenError: There is none.
            ManagerNotRunning: The manager is not there.
            ConfigError: It is bound to a key (DPoP), or no access token.
        """
        return Unprintable(self._presenter.bearer_token().access_token)
