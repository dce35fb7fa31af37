"""What every adapter does with a manager: present its token, and have it replaced when it is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self, TypeAlias
from urllib.parse import urlsplit

import pykka

from oidc_actor.adapters.authorization import Authorization, authorization_of, key_of, note_nonce, present
from oidc_actor.adapters.challenges import Remedy, Tries, Unauthorized, refuses_token
from oidc_actor.credentials.parameters import StepUp
from oidc_actor.http.proxies import environ_proxy
from oidc_actor.machine.events import Accepted, Rejected
from oidc_actor.manager.token_manager import TokenManager
from oidc_actor.reading.token_source import ServerOrSource, TokenSource, live_token, server_of, token_of, token_of_async
from oidc_actor.reading.waiters import Subscription
from oidc_actor.reading.waiting_reads import ServerRef, check_wait, tell_soon, wait_for_token, wait_for_token_async
from oidc_actor.values.errors import ConfigError, NoTokenError
from oidc_actor.values.secrets import Secret, secret_problem
from oidc_actor.values.tokens import TokenResponse
from oidc_actor.values.urls import SCHEMES, Place, origin_of, place_of, public_url
from supervision import NoProcess

_MOST_ORIGINS = 256
_OF_ANOTHER_TOKEN = frozenset({Remedy.TOKEN, Remedy.STEP_UP})

StepUpChoice: TypeAlias = bool | Callable[[str, StepUp], bool]
"""Whether a resource server may have a token asked for that is allowed more, or a function that decides from origin and wish."""


class Presenter:
    """A manager as an adapter uses it. One object serves any number of threads and event loops.

    Adapters hand it the values of header fields, so that none of them has a token's text in a variable. For each request an
    adapter calls `destination` (may the token go there?), `fields` (which waits for a token where there is none), then for each
    answer `hear` (which never waits) and `again` (which rejects a refused token, and waits for its successor). The methods that
    begin with ``a`` do the same on an event loop. gRPC has no header fields to hand over: it uses `bearer`, `is_refused`,
    `reject` and `successor`.
    """

    __slots__ = ("_accepted", "_allow_insecure_http", "_given", "_origins", "_step_up", "_timeout_s")

    def __init__(
        self,
        server: ServerOrSource,
        *,
        timeout: float = 5.0,
        origins: Iterable[str] | None = None,
        allow_insecure_http: bool = False,
        step_up: StepUpChoice = True,
    ) -> None:
        """Check and keep; the manager need not be there yet.

        Args:
            server: The manager's ref or name, or a `TokenSource`.
            timeout: Seconds to wait for a token where there is none.
            origins: The only origins that get the token; ``None`` for wherever the caller sends a request.
            allow_insecure_http: Whether plain http is acceptable beyond loopback.
            step_up: Whether a challenge may have a token asked for that is allowed more; see `Authenticator`.

        Raises:
            ConfigError: One of them is wrong.
            TypeError: ``server`` is neither a ref nor a name.
        """
        named: object = server
        if not isinstance(named, str | pykka.ActorRef | TokenSource) or named == "":
            got = "''" if named == "" else type(named).__name__
            raise TypeError(f"server: expected the ref or the name of a TokenManager, or a TokenSource, got {got}")
        check_wait(timeout, 0.0)
        self._given = server
        self._timeout_s = timeout
        self._origins = read_origins(origins)
        self._allow_insecure_http = allow_insecure_http
        self._step_up = _read_step_up(step_up)
        self._accepted: dict[str, int] = {}  # by origin, the hash of what it has accepted last

    def __repr__(self) -> str:
        return self.shown_as("Presenter")

    def shown_as(self, kind: str) -> str:
        """Show the manager, as that of an object of a class with that name."""
        return f"{kind}({self._given!s})"

    @property
    def _server(self) -> ServerRef:
        return server_of(self._given)

    def destination(
        self,
        url: object,
        find_proxy: Callable[[str], object] = environ_proxy,
        *,
        place: Place | None = None,
        settles: bool = False,
    ) -> str | None:
        """Say where a request goes.

        Args:
            url: Its address: a text, or a library's object that ``str`` makes one of.
            find_proxy: Tells the proxy that a request to an address goes through, or ``None``.
            place: What ``url`` says of it, where the library tells that faster than the whole text; ``None`` where it does not.
            settles: Whether this origin alone gets the token from now on, unless others were named.

        Returns:
            The origin; ``None`` where it is not one of those that get the token.

        Raises:
            ConfigError: The token could be read on the way there.
        """
        if place is None:
            place = place_of(str(url))
        if self._origins is not None and place.origin not in self._origins:
            return None
        if place.scheme != "https" and not self._allow_insecure_http:
            _check_plain(place, url, find_proxy)
        if settles and self._origins is None:
            self._origins = frozenset((place.origin,))
        return place.origin

    # --- the token ----------------------------------------------------------------------------------------------------

    def fields(self, method: str, url: object, *, nonce: str | None = None) -> dict[str, str]:
        """Make the header fields for one request, waiting for a token if need be.

        Args:
            method: The request's method.
            url: Its address, as for `destination`.
            nonce: What a proof has to carry; ``None``, or what none can carry, for the newest that the origin gave.

        Returns:
            ``Authorization``, and ``DPoP`` where the token is bound to a key.

        Raises:
            NoTokenError: None came in time, or none can.
            ManagerNotRunning: The manager is not there.
            ConfigError: What it has is no access token.
            SecretUnavailable: Its DPoP key cannot be read now.
        """
        token = token_of(self._given, self._timeout_s)
        return present(self._given, token, method, url, nonce=nonce)

    async def afields(self, method: str, url: object, *, nonce: str | None = None) -> dict[str, str]:
        """Do what `fields` does, without blocking the event loop."""
        token = live_token(self._given) or await token_of_async(self._given, self._timeout_s)
        return present(self._given, token, method, url, nonce=nonce)

    def bearer_token(self, timeout_s: float | None = None) -> TokenResponse:
        """Return the token for a protocol that has no proofs, waiting for one if need be.

        Args:
            timeout_s: Seconds to wait; ``None`` for those of the adapter.

        Raises:
            NoTokenError: None came in time, or none can.
            ManagerNotRunning: The manager is not there.
            ConfigError: The token is bound to a key, or no access token.
        """
        return self._unbound(token_of(self._given, self._patience(timeout_s)))

    async def abearer_token(self) -> TokenResponse:
        """Do what `bearer_token` does, without blocking the event loop."""
        return self._unbound(live_token(self._given) or await token_of_async(self._given, self._timeout_s))

    def bearer(self, timeout_s: float | None = None) -> Authorization:
        """Return the value of ``Authorization`` with that token; arguments and errors as for `bearer_token`."""
        return Authorization.bearer(self.bearer_token(timeout_s).access_token)

    def subscribe(self, listener: Callable[[TokenResponse], object]) -> Subscription:
        """Have a listener told of every new token; see `TokenManager.subscribe`."""
        return TokenManager.subscribe(self._server, listener)

    def present(self) -> Authorization | None:
        """Return the value of ``Authorization`` as it is now, or ``None`` where there is no token to present; never waits."""
        with suppress(NoTokenError, NoProcess, ConfigError):
            return authorization_of(self._given, token_of(self._given, 0.0))
        return None

    # --- what is answered --------------------------------------------------------------------------------------------

    def has_accepted(self, origin: str, status: int, fields: Mapping[str, str]) -> bool:
        """Tell whether an answer is the usual one, of which there is nothing to `hear`: the token was accepted, as before.

        Args:
            origin: Whose answer.
            status: Its HTTP status.
            fields: What `fields` has made for the request.
        """
        return (
            200 <= status < 300 and "DPoP" not in fields and self._accepted.get(origin) == hash(fields["Authorization"])
        )

    def hear(
        self,
        method: str,
        url: str,
        sent: Mapping[str, str],
        status: int,
        headers: Mapping[str, str],
        challenges: Callable[[str], Sequence[str]],
    ) -> Unauthorized | None:
        """Note what an answer shows: that the token was accepted, and the nonce to come.

        Args:
            method: The request's method.
            url: Its address.
            sent: The header fields that went with it.
            status: The answer's HTTP status.
            headers: Its header fields, in upper or lower case.
            challenges: Gives all values of a field of the answer, by the field's name.

        Returns:
            The refusal, where it is a 401 to a token of ours, from an origin that gets the token.
        """
        value = Authorization.read(sent)
        if value is None or not Authorization.is_ours(value):
            return None
        if 200 <= status < 300:
            self.accept(origin_of(url), value)
        nonce = headers.get("DPoP-Nonce")
        if Authorization.needs_proof(value):
            with suppress(NoProcess):
                note_nonce(self._server, url, nonce)
        if status not in {401, 403} or (self._origins is not None and origin_of(url) not in self._origins):
            return None
        refused = Unauthorized.read(status, method, url, sent, challenges("WWW-Authenticate"), nonce)
        if refused.step_up is None or self._may_step_up(origin_of(url), refused.step_up):
            return refused
        return replace(refused, step_up=None)

    def _may_step_up(self, origin: str, wanted: StepUp) -> bool:
        return self._step_up if isinstance(self._step_up, bool) else bool(self._step_up(origin, wanted))

    def again(
        self, refused: Unauthorized | None, tries: Tries, can_repeat: Callable[[], bool]
    ) -> dict[str, str] | None:
        """Make the fields for another try, waiting for another token if that is what it takes.

        Args:
            refused: What the last try got; ``None`` where that is no refusal.
            tries: Those of this request.
            can_repeat: Whether the request can be sent again; asked only where that would mend it.

        Returns:
            The fields; ``None`` where nothing better can be had, so that the answer is the caller's. A refused token is replaced
            for the next request all the same.
        """
        remedy = self._remedy(refused, tries, can_repeat)
        if refused is None or remedy is None:
            return None
        if remedy in _OF_ANOTHER_TOKEN:
            origin, step_up = origin_of(refused.url), refused.step_up
            if self.successor(origin, refused.authorization, step_up=step_up) is None:
                return None
        with suppress(NoTokenError, NoProcess):
            return self.fields(refused.method, refused.url, nonce=refused.nonce)
        return None

    async def aagain(
        self, refused: Unauthorized | None, tries: Tries, can_repeat: Callable[[], bool]
    ) -> dict[str, str] | None:
        """Do what `again` does, without blocking the event loop."""
        remedy = self._remedy(refused, tries, can_repeat)
        if refused is None or remedy is None:
            return None
        if remedy in _OF_ANOTHER_TOKEN:
            origin, step_up = origin_of(refused.url), refused.step_up
            if await self.asuccessor(origin, refused.authorization, step_up=step_up) is None:
                return None
        with suppress(NoTokenError, NoProcess):
            return await self.afields(refused.method, refused.url, nonce=refused.nonce)
        return None

    def is_refused(self, origin: str, status: int, fields: Iterable[str], sent: str | None) -> bool:
        """Tell whether an answer refuses a bearer token, and note it where it shows that the token was accepted.

        Args:
            origin: Whose answer.
            status: Its HTTP status.
            fields: The values of its ``WWW-Authenticate`` fields.
            sent: The value of ``Authorization`` that it answers; ``None`` where that is not known.
        """
        if status == 401:
            return refuses_token(fields)
        if 200 <= status < 300 and sent is not None:
            self.accept(origin, sent)
        return False

    def accept(self, origin: str, sent: str) -> None:
        """Note that an origin has accepted a token, and tell the manager at the first success with each; never waits."""
        # Without a lock: two threads that have the first success at once both tell the manager, which is told the same twice.
        mark = hash(sent)
        if self._accepted.get(origin) == mark:
            return
        if len(self._accepted) >= _MOST_ORIGINS:
            self._accepted.clear()
        self._accepted[origin] = mark
        token = _secret(sent)
        if token is not None:
            tell_soon(self._server, Accepted(origin, token))

    def reject(self, origin: str, sent: object, step_up: StepUp | None = None) -> None:
        """Report that a token was refused, so that it is replaced in its time; never waits.

        Args:
            origin: The server that refused it.
            sent: The value of the header that was refused; what is no token of ours is left alone.
            step_up: What it lacks, where it is good as such; ``None`` where it is not.
        """
        token = _secret(sent)
        if token is not None:
            tell_soon(self._server, Rejected(origin, token, step_up))

    def successor(
        self, origin: str, sent: object, timeout_s: float | None = None, *, step_up: StepUp | None = None
    ) -> Authorization | None:
        """Reject a token, and wait for what replaces it; other readers keep it where the manager says so.

        Args:
            origin: The server that refused it.
            sent: The value of the header that was refused.
            timeout_s: Seconds to wait; ``None`` for those of the adapter.
            step_up: What the next token is to be allowed, or to say, besides; ``None`` where this one is refused.

        Returns:
            The value to try again with; ``None`` where there is none in time, so that the refusal is the caller's answer.
        """
        token = _secret(sent)
        if token is None:
            return None
        with suppress(NoTokenError, NoProcess):
            found = wait_for_token(self._server, self._patience(timeout_s), 0.0, Rejected(origin, token, step_up))
            return authorization_of(self._given, found)
        return None

    async def asuccessor(
        self, origin: str, sent: object, timeout_s: float | None = None, *, step_up: StepUp | None = None
    ) -> Authorization | None:
        """Do what `successor` does, without blocking the event loop."""
        token = _secret(sent)
        if token is None:
            return None
        with suppress(NoTokenError, NoProcess):
            found = await wait_for_token_async(
                self._server, self._patience(timeout_s), 0.0, Rejected(origin, token, step_up)
            )
            return authorization_of(self._given, found)
        return None

    def _remedy(self, refused: Unauthorized | None, tries: Tries, can_repeat: Callable[[], bool]) -> Remedy | None:
        remedy = None if refused is None else tries.remedy(refused)
        if remedy is not None and can_repeat():
            return remedy
        if refused is not None and refused.remedy in _OF_ANOTHER_TOKEN:
            self.reject(origin_of(refused.url), refused.authorization, refused.step_up)
        return None

    def _unbound(self, token: TokenResponse) -> TokenResponse:
        if key_of(self._given, token) is not None:
            raise ConfigError(
                f"expected a bearer token of the manager {self._server!s}, got one that is bound to a key: DPoP (RFC 9449) is "
                "of HTTP requests, and this is none; use a manager whose credentials have no dpop="
            )
        return token

    def _patience(self, timeout_s: float | None) -> float:
        return self._timeout_s if timeout_s is None else timeout_s


def _secret(sent: object) -> Secret | None:
    """The token in a header's value; ``None`` for what is no token of ours."""
    if not isinstance(sent, str) or not Authorization.is_ours(sent):
        return None
    value = Authorization(sent)
    return None if secret_problem(value.token) is not None else Secret(value.token)


def _read_step_up(step_up: object) -> StepUpChoice:
    if not isinstance(step_up, bool) and not callable(step_up):
        raise ConfigError(f"expected True, False or a function, got {type(step_up).__name__}", ("step_up",))
    return step_up


Choice: TypeAlias = Callable[[Any], ServerOrSource]
"""Says for which manager a request goes out."""


class Authenticator:
    """What a client library calls for each request, as far as it is the same for all: it knows the manager."""

    def __init__(
        self,
        server: ServerOrSource | Choice,
        *,
        timeout: float = 5.0,
        origins: Iterable[str] | None = None,
        allow_insecure_http: bool = False,
        step_up: StepUpChoice = True,
    ) -> None:
        """Choose the manager, which need not be there yet.

        Args:
            server: Its ref or name; a `TokenSource`, such as `TokenPool.source` gives; or a function from the library's request
                to either, called for each request, for a program that calls on behalf of many. With such a function aiohttp
                needs ``origins``.
            timeout: Seconds a request waits for a token where there is none. The library's own timeouts do not count
                this wait, except the total timeout of aiohttp.
            origins: The only origins that get the token, such as ``["https://api.example.com"]``; ``None`` for wherever a
                request is sent, and for aiohttp the origin of the first request.
            allow_insecure_http: Whether plain http is acceptable beyond loopback; otherwise such a request is a `ConfigError`.
            step_up: Whether a resource server that takes the token and wants another one for a request (``insufficient_scope``,
                ``insufficient_claims``, RFC 9470) has one asked for, with all that was asked for before. Or a function that is
                called with its origin and what it wants, a `StepUp`, and decides; it runs on the thread, or in the task, that
                sends the request, and what it raises is the request's error.

        Raises:
            ConfigError: An argument is wrong.
            TypeError: ``server`` is none of these.
        """
        chosen = server if callable(server) and not isinstance(server, TokenSource) else None
        known = "chosen by the request" if chosen is not None else server
        self._choose: Choice | None = chosen
        self._how: dict[str, Any] = {
            "timeout": timeout, "origins": origins, "allow_insecure_http": allow_insecure_http, "step_up": step_up,
        }  # fmt: skip
        self._presenter = Presenter(known, **self._how)  # type: ignore[arg-type]  # it refuses anything else

    def _of(self, request: object) -> Self:
        """What serves one request: this object, or one for the manager that the request is on behalf of."""
        return self if self._choose is None else type(self)(self._choose(request), **self._how)

    def __repr__(self) -> str:
        return self._presenter.shown_as(type(self).__name__)


# --- where a token may go ---------------------------------------------------------------------------------------------


def check_destination(
    url: str, find_proxy: Callable[[str], object] = environ_proxy, *, allow_insecure_http: bool
) -> None:
    """Check that the token cannot be read between here and there.

    Args:
        url: Where a request is about to go.
        find_proxy: Tells the proxy that a request to an address goes through, or ``None``. It is asked for plain http only,
            which is good as long as it stays on this machine, and gets scheme and authority. The error does not show the proxy,
            which may have a password.
        allow_insecure_http: Whether plain http is acceptable beyond this machine.

    Raises:
        ConfigError: It is plain http, and leaves this machine.
    """
    place = place_of(url)
    if place.scheme != "https" and not allow_insecure_http:
        _check_plain(place, url, find_proxy)


def _check_plain(place: Place, url: object, find_proxy: Callable[[str], object]) -> None:
    if not place.is_loopback:
        raise ConfigError(
            f"expected an https address for a request with a token, got {public_url(str(url))!r}, where the token could be read "
            "on the network; use https, or allow_insecure_http=True in a test setup"
        )
    if find_proxy(place.text) is not None:
        raise ConfigError(
            f"expected a direct connection for plain http with a token, got {public_url(str(url))!r} through a proxy, where the "
            f"token could be read; put {place.host} in the variable NO_PROXY, or use allow_insecure_http=True in a test setup"
        )


def read_origins(origins: object) -> frozenset[str] | None:
    """Check the ``origins`` of an adapter.

    Args:
        origins: Addresses, or ``None``.

    Returns:
        Their origins, or ``None``.

    Raises:
        ConfigError: That is neither.
    """
    if origins is None:
        return None
    if isinstance(origins, str) or not isinstance(origins, Iterable):
        raise ConfigError(
            f"expected a list of addresses such as ['https://api.example.com'] or None, got {origins!r}", ("origins",)
        )
    return frozenset(_read_origin(one) for one in origins)


def _read_origin(address: object) -> str:
    try:
        parts = urlsplit(address if isinstance(address, str) else "")
        # Libraries send the name of such a host in its other form, which would never be this one.
        if parts.scheme in SCHEMES and parts.hostname and parts.netloc.isascii():
            return origin_of(parts.geturl())
    except ValueError:
        pass
    raise ConfigError(
        f"expected addresses such as 'https://api.example.com', got {address!r}; other letters go in as xn--...",
        ("origins",),
    )
