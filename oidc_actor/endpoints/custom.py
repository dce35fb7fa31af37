"""`Custom`: a token that a function of the user's brings, in place of a token endpoint; how it is called, and what it brings.

What the function raises may quote a secret. So of an exception that is not ours only its type is shown, and of the text of a
`TokenRequestError` only plain words and short numbers.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from datetime import UTC, datetime
from typing import ClassVar
from urllib.parse import parse_qsl

from oidc_actor.credentials.credentials import Credentials
from oidc_actor.credentials.parameters import StepUp, read_text
from oidc_actor.protocol.error_response import is_permanent, read_error_response
from oidc_actor.protocol.redaction import is_guessable, presentable
from oidc_actor.protocol.response_fields import LONGEST_WAIT_S, read_object
from oidc_actor.protocol.token_response import access_token_problem, decide_lifetime
from oidc_actor.transport import NoAnswer, Request, Response, Transport
from oidc_actor.values.errors import ConfigError, SecretUnavailable, TokenRequestError
from oidc_actor.values.secrets import Sealed, Secret, holds_secrets, put
from oidc_actor.values.tokens import ParsedToken, TokenResponse
from supervision.frozen import dataclass


class _Refusal(TokenRequestError):
    """Made by `FetchContext.refusal`: its text is redacted."""


@dataclass(frozen=True, slots=True)
class FetchContext:
    """What the function of `Custom` gets for one call.

    Attributes:
        timeout_s: Seconds that the call may take. After that the attempt has failed, and what the call still brings is dropped.
        previous: The token that the function brought last, or another member of a fleet; it may have expired or been rejected.
            Its `refresh_token` is the last that came, also where later tokens came without one. ``None`` before the first.
        transport: Sends a `Request` within what is left of the time, over the connections of this process, and returns the
            `Response`; raises `TransportError`. To use it is up to the function.
        attempt: Counts the attempts of this manager, from 1.
        step_up: What resource servers want of the token besides, with ``scopes``, ``claims``, ``acr_values`` and ``max_age``, as
            adapters have heard in challenges; ``None`` for nothing. To heed it is up to the function.
    """

    timeout_s: float
    previous: TokenResponse | None
    transport: Transport = field(repr=False)
    attempt: int
    step_up: StepUp | None = None

    @holds_secrets
    def refusal(
        self, response: Response, secrets: Iterable[str] = (), *, retryable: bool | None = None
    ) -> TokenRequestError:
        """Make the error to raise for an answer that brought no token: its status, its OAuth code, its ``Retry-After``.

        Args:
            response: The answer.
            secrets: What was sent, and must not be shown where the answer repeats it. What `transport` has sent in this call
                is known.
            retryable: Whether the same request may succeed later although nothing was changed; ``None`` for what the OAuth code
                says (RFC 6749 section 5.2).

        Returns:
            The error.
        """
        sent = [Secret(text) for text in secrets if text]
        if isinstance(self.transport, _Bounded):
            sent += self.transport.sent
        found = read_error_response(response, (*sent, *_texts_of(self.previous)), "a token")
        permanent = is_permanent(found.error, status=response.status, grant_type=Custom.grant_type, refreshing=False)
        made = found.as_error(
            "token request", response, now_wall=time.time(), permanent=permanent if retryable is None else not retryable
        )
        told = {name: getattr(made, name) for name in ("status", "error", "error_description", "retryable")}
        return _Refusal(str(made), **told, retry_after_s=made.retry_after_s)


class _Function(Sealed):
    """A function of the user's, without its own ``repr``, which may show its arguments."""

    __slots__ = ("_function",)
    _function: Callable[[FetchContext], TokenResponse]

    def __init__(self, function: Callable[[FetchContext], TokenResponse]) -> None:
        put(self, _function=function)

    @property
    def name(self) -> str:
        """Its module and its name, without what it is bound to."""
        function = self._function
        while isinstance(function, functools.partial):
            function = function.func
        named = function if hasattr(function, "__qualname__") else type(function)
        return f"{named.__module__}.{named.__qualname__}"

    def __call__(self, context: FetchContext) -> TokenResponse:
        return self._function(context)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Function):
            return NotImplemented
        return self._function == other._function

    def __hash__(self) -> int:
        try:
            return hash((_Function, self._function))
        except TypeError:  # a callable object that compares by value and cannot be hashed
            return hash((_Function, type(self._function)))

    def __repr__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, init=False, repr=False, eq=False)
class Custom(Credentials):
    """Credentials of any other kind: a function that brings the next token. No issuer is needed.

    Attributes:
        fetch: The function.
        identity: Says when two are the same credentials; ``None`` where the function itself does.
    """

    grant_type: ClassVar[str] = "custom"
    asks_provider: ClassVar[bool] = False
    fetch: _Function
    identity: str | None

    @holds_secrets
    def __init__(self, fetch: Callable[[FetchContext], TokenResponse], identity: str | None = None) -> None:
        """Check and keep the credentials.

        Args:
            fetch: Called with a `FetchContext` on a thread of a pool of its own, one call at a time for each manager; returns a
                `TokenResponse`. It raises `TokenRequestError` to say when, and whether, another call may help; anything else
                that it raises is a failure that may pass.
            identity: A text, no secret, that is equal for equal credentials: a restarted manager takes over the token of its
                predecessor, and members of a fleet share one. ``None`` for the function itself.

        Raises:
            ConfigError: Where that is no plain function, or the identity no text.
        """
        called = fetch if inspect.isroutine(fetch) or isinstance(fetch, functools.partial) else type(fetch).__call__
        if not callable(fetch):
            raise ConfigError(f"expected a function, got {type(fetch).__name__}", ("fetch",), label="Custom: fetch")
        if inspect.iscoroutinefunction(fetch) or inspect.iscoroutinefunction(called):
            problem = "expected a plain function, got a coroutine function; it runs on a thread, and may block"
            raise ConfigError(problem, ("fetch",), label="Custom: fetch")
        try:
            named = None if identity is None else read_text(identity, "identity")
        except ConfigError as error:
            raise error.within("auth", "Custom") from None
        put(self, **{one.name: None for one in fields(Credentials)})
        put(self, scopes=(), body="form", accept_token_types=(), fetch=_Function(fetch), identity=named)

    @property
    def name(self) -> str:
        """What the function is called, for logs and metrics."""
        return self.fetch.name

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Custom):
            return NotImplemented
        if self.identity is not None or other.identity is not None:
            return self.identity == other.identity
        return self.fetch == other.fetch

    def __hash__(self) -> int:
        return hash((Custom, self.fetch if self.identity is None else self.identity))

    def __dir__(self) -> list[str]:
        return ["fetch", "identity"]

    def __repr__(self) -> str:
        shown = "" if self.identity is None else f", identity={self.identity!r}"
        return f"Custom({self.name}{shown})"


@dataclass(frozen=True, slots=True)
class Call:
    """What one call of a function is made with.

    Attributes:
        auth: The credentials.
        transport: What performs its requests.
        previous: The token that came last, or ``None``.
        attempt: Counts the attempts.
        timeout_s: Seconds that it may take.
        default_lifetime_s: Seconds a token is taken to live where nothing says.
        sending: Called just before.
        step_up: What is wanted of the token besides.
    """

    auth: Custom
    transport: Transport = field(repr=False)
    previous: TokenResponse | None
    attempt: int
    timeout_s: float
    default_lifetime_s: float
    sending: Callable[[], object] = field(repr=False)
    step_up: StepUp | None = None


@holds_secrets
def call_function(call: Call) -> ParsedToken:
    """Call the function of `Custom` on the calling thread, and read what it returns.

    Args:
        call: What with.

    Returns:
        The token, its lifetime counted from the start of the call; that of one which was made earlier from then.

    Raises:
        TokenRequestError: Where the function raised, or returned no token that can be used.
    """
    call.sending()
    began_wall = time.time()
    transport = _Bounded(call.transport, time.monotonic() + call.timeout_s)
    context = FetchContext(call.timeout_s, call.previous, transport, call.attempt, call.step_up)
    try:
        found: object = call.auth.fetch(context)
    except (_Refusal, SecretUnavailable) as error:  # each of their words is ours, or redacted
        raise _as_ours(error, str(error)) from None
    except TokenRequestError as error:
        raise _as_ours(error, _shown(error, (*_texts_of(call.previous), *transport.sent))) from None
    except NoAnswer as error:
        raise TokenRequestError(f"no answer: {error}", sent=error.sent) from None
    except BaseException as error:  # noqa: BLE001 - a user's function: a failure of this attempt, whatever it raises
        raise TokenRequestError(
            f"{call.auth.name} raised {type(error).__name__}{_option(error)}{_place(error)}"
        ) from None
    return _parsed(call, found, began_wall)


def _parsed(call: Call, found: object, began_wall: float) -> ParsedToken:
    if not isinstance(found, TokenResponse):
        if inspect.iscoroutine(found):
            found.close()
        raise TokenRequestError(f"expected a TokenResponse from {call.auth.name}, got {type(found).__name__}")
    problem = access_token_problem(found.access_token)
    if found.token_type.lower() != "bearer":
        problem = "expected the token_type Bearer, got another"
    if problem is not None:
        raise TokenRequestError(f"{call.auth.name}: {problem}")
    members = {**found.extra, "expires_in": found.expires_in}
    life = decide_lifetime(members, found.access_token, now_wall=began_wall, default_s=call.default_lifetime_s)
    # One that the function has kept since an earlier call lives no longer for that. A new one counts from the start of the call.
    age_s = max(0.0, began_wall - found.issued_at.timestamp())
    left_s = life.seconds - age_s if life.source == "expires_in" else life.seconds
    if left_s <= 0:
        raise TokenRequestError(
            f"{call.auth.name}: expected a token that lives, got one that ended {-left_s:.1f} s before it was asked for"
        )
    if age_s:
        return ParsedToken(found, left_s, life.source)
    token = TokenResponse(
        found.access_token,
        "Bearer",
        life.seconds,
        found.refresh_token or None,
        found.id_token,
        found.scope,
        datetime.fromtimestamp(began_wall, UTC),
        found.extra,
    )
    return ParsedToken(token, left_s, life.source)


def _texts_of(token: TokenResponse | None) -> tuple[Secret, ...]:
    texts = () if token is None else (token.access_token, token.refresh_token, token.id_token)
    return tuple(Secret(text) for text in texts if text)


class _Bounded:
    """A transport that sends within what is left of a call's time, and knows what was sent."""

    __slots__ = ("_ends_at", "_requests", "_transport")

    def __init__(self, transport: Transport, ends_at: float) -> None:
        self._transport, self._ends_at = transport, ends_at
        self._requests: list[Request] = []

    @holds_secrets
    def __call__(self, request: Request, /) -> Response:
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            raise NoAnswer(f"{request!r}: no time was left for it", sent=False)
        bounded = Request(
            request.method,
            request.url,
            request.headers,
            request.body,
            min(request.timeout_s, left_s),
            request.client_certificate,
        )
        self._requests.append(bounded)
        return self._transport(bounded)

    @property
    def sent(self) -> list[Secret]:
        """What was sent and may be a secret."""
        texts = {text for request in self._requests for text in _values_of(request)}
        return [Secret(text) for text in sorted(texts) if len(text) >= _SHORTEST and not is_guessable(text)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self._requests)} requests)"


_SHORTEST = 8

_PUBLIC_FIELDS = frozenset({"accept", "accept-encoding", "content-type", "content-length", "host", "user-agent"})


def _values_of(request: Request) -> list[str]:
    texts = [value for name, value in request.headers.items() if name.lower() not in _PUBLIC_FIELDS]
    texts += [text.partition(" ")[2] for text in texts]
    read = read_object(request.body) if request.body else {}
    if isinstance(read, Mapping):
        texts += [value for value in read.values() if isinstance(value, str)]
    else:
        texts += [value for _, value in parse_qsl(request.body.decode("utf-8", "replace"))]
    query = request.url.partition("?")[2]
    return [*texts, *(value for _, value in parse_qsl(query))]


def _option(error: BaseException) -> str:
    """What a `ConfigError` of ours is about, as where a `TokenResponse` is made of a lifetime that is a text."""
    known = [one for one in error.option if _CODE.fullmatch(str(one))] if isinstance(error, ConfigError) else []
    return f" ({': '.join(known)})" if known else ""


def _place(error: BaseException) -> str:
    """The name of the function that raised, and the line."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    return "" if where is None else f" in {where.tb_frame.f_code.co_name}, line {where.tb_lineno}"


_WORD = re.compile(r"""[("']*(?:[A-Za-z]{1,24}(?:'[a-z]{1,2})?|[0-9]{1,4})[)"'.,:;!?%]*""")
_CODE = re.compile(r"[a-z_]{1,40}")


def _shown(error: TokenRequestError, known: tuple[Secret, ...]) -> str:
    try:
        text = presentable(str(error), known)
    except Exception:  # noqa: BLE001 - a class of the user's
        text = ""
    shown = " ".join(word if _WORD.fullmatch(word) else "***" for word in text.split())
    code = error.error if isinstance(error.error, str) and _CODE.fullmatch(error.error) else None
    status = error.status if type(error.status) is int else None
    told = [part for part in (f"HTTP {status}" if status is not None else None, code) if part and part not in shown]
    return ": ".join([*told, shown] if shown else told) or "the token request failed"


def _as_ours(error: TokenRequestError, text: str) -> TokenRequestError:
    """The same error as a value of our own: a user's may be of a class of his, and hold anything."""
    wait_s, ours = error.retry_after_s, isinstance(error, _Refusal)
    is_wait = isinstance(wait_s, int | float) and not isinstance(wait_s, bool) and math.isfinite(wait_s)
    code = error.error if isinstance(error.error, str) and (ours or _CODE.fullmatch(error.error)) else None
    return TokenRequestError(
        text,
        status=error.status if type(error.status) is int else None,
        error=code,
        error_description=error.error_description if ours else None,
        retryable=bool(error.retryable),
        retry_after_s=min(max(0.0, wait_s), LONGEST_WAIT_S) if is_wait and wait_s is not None else None,
        sent=bool(error.sent),
    )
