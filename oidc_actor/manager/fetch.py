"""One HTTP exchange, run on a thread of the pool; its end goes to the manager's cell."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable

from oidc_actor.endpoints.other_endpoints import request_metadata
from oidc_actor.endpoints.token_endpoint import TokenRequest, request_token
from oidc_actor.machine.effects import FullGrant, Redeem
from oidc_actor.machine.events import FetchFailed, FetchStarted, FetchSucceeded
from oidc_actor.manager.issuers import Discovery, Issuer
from oidc_actor.manager.log import Exchange, count_of, log, observers, outcome_of, raised_at
from oidc_actor.manager.options import Options
from oidc_actor.protocol.dates import Skew, read_skew
from oidc_actor.protocol.metadata import OIDCConfig
from oidc_actor.protocol.token_response import ParsedToken
from oidc_actor.reading.cell import Cell
from oidc_actor.transport import Request, Response
from oidc_actor.values.clock import wall_ahead_s, wall_clock
from oidc_actor.values.errors import DiscoveryError, OIDCActorError, ProviderError, SecretUnavailable, TokenRequestError
from oidc_actor.values.secrets import Secret
from oidc_actor.values.tokens import TokenResponse


class _Dispatch:
    """The issuer's transport, with a note of when the request was sent: a token's life counts from there.

    That is noted before the token's own ``issued_at`` is, so that no reader gets it after its ``expires_at``.

    Attributes:
        is_sent: Whether a request was sent.
        at: Reading of the manager's clock when the last one was.
        skew: How the provider's clock goes, as its last answer shows it; ``None`` where it does not.
        ahead_s: How far the wall clock was ahead of the manager's when the last request was sent.
    """

    def __init__(self, issuer: Issuer, sent: Callable[[float], None]) -> None:
        self._issuer = issuer
        self._sent = sent
        self._is_noted = False
        self.is_sent = False
        self.at, self.ahead_s = issuer.clock(), 0.0
        self.skew: Skew | None = None

    def note(self) -> None:
        """A request is about to be sent."""
        self.at, self.ahead_s = self._issuer.clock(), wall_ahead_s(self._issuer.clock)
        self._sent(self.at)
        self.is_sent = self._is_noted = True

    def __call__(self, request: Request, /) -> Response:
        if not self._is_noted:
            self.note()
        self._is_noted = False
        began = time.monotonic()
        response = self._issuer.transport(request)
        if isinstance(response, Response):  # an injected transport may return anything
            self.skew = read_skew(response, ended_wall=wall_clock(), took_s=time.monotonic() - began)
        return response


def ask_for_token(
    cell: Cell,
    issuer: Issuer,
    options: Options,
    attempt: int,
    request: int,
    grant: Redeem | FullGrant,
    ended: Callable[[], object],
    *,
    early: bool = False,
) -> TokenResponse | None:
    """Run a token exchange and deliver what it brings, unless nobody wants it any more. Raises nothing.

    Args:
        cell: The manager's.
        issuer: Its issuer.
        options: Its options.
        attempt: Number of the attempt.
        request: Number of the exchange in it.
        grant: What to ask for the token with.
        ended: Called when the exchange has ended, before anybody is told.
        early: Whether a live token's nearing end brought the attempt forward.

    Returns:
        The token where nobody wants it any more; ``None`` in all other cases.
    """

    def is_wanted() -> bool:
        return not cell.closed and cell.expected == (attempt, request)

    def departs(at: float) -> None:
        if not is_wanted():
            raise SecretUnavailable("reading the secrets took too long", sent=False)
        cell.tell(FetchStarted(attempt, request, at))

    if not is_wanted():  # it has waited for this thread for too long: the manager was stopped, or has given it up
        ended()
        issuer.circuit.step_aside(cell)
        return None
    dispatch = _Dispatch(issuer, departs)
    known = tuple(Secret(text) for text in (cell.snapshot.text,) if text)
    result = _token(dispatch, grant, options, known)
    ended()
    if dispatch.is_sent:
        _measure(cell, issuer, result, attempt, issuer.clock() - dispatch.at)
    if isinstance(result, ParsedToken):
        issuer.circuit.note_answer()
        delivered = cell.deliver(FetchSucceeded(attempt, request, dispatch.at, result, dispatch.skew, dispatch.ahead_s))
        return None if delivered else result.token
    retry_at = _note_failure(cell, issuer, options, result, early=early)
    cell.deliver(FetchFailed(attempt, request, dispatch.at, result, retry_at, dispatch.skew))
    return None


def _measure(cell: Cell, issuer: Issuer, result: ParsedToken | OIDCActorError, attempt: int, duration_s: float) -> None:
    exchange = Exchange(issuer.name, outcome_of(result), duration_s)
    cell.count(count_of(exchange.outcome))
    for observer in observers():
        try:
            observer(exchange)
        except BaseException as error:  # noqa: BLE001 - foreign code, which must cost neither the token nor the thread
            what, at = type(error).__name__, raised_at(error)
            log("listener_failed", manager=cell.name or "", issuer=issuer.name, flight=attempt, error=what, at=at)


def ask_for_metadata(
    cell: Cell, issuer: Issuer, options: Options, discovery: Discovery, *, early: bool = False
) -> None:
    """Run a discovery for every manager that takes part. Raises nothing."""
    dispatch = _Dispatch(issuer, functools.partial(issuer.departed, discovery))
    result = _metadata(dispatch, options)
    retry_at = None
    if isinstance(result, OIDCConfig):
        issuer.circuit.note_answer()
    else:
        retry_at = _note_failure(
            cell, issuer, options, result, early=early, among=[one.cell for one in discovery.travellers]
        )
    issuer.arrived(discovery, dispatch.at, result, retry_at)


def _note_failure(
    cell: Cell,
    issuer: Issuer,
    options: Options,
    error: OIDCActorError,
    *,
    early: bool,
    among: Iterable[Cell] = (),
) -> float | None:
    retry_at = issuer.circuit.note_failure(cell, options, error, early=early, among=among)
    if cell.closed:  # it has stopped meanwhile, and the others must not wait for its next attempt
        issuer.circuit.leave(cell)
    return retry_at


def _token(
    dispatch: _Dispatch, grant: Redeem | FullGrant, options: Options, known: tuple[Secret, ...]
) -> ParsedToken | OIDCActorError:
    try:
        return request_token(
            TokenRequest(
                dispatch,
                grant.config,
                options.auth,
                refresh_token=grant.refresh_token if isinstance(grant, Redeem) else None,
                timeout_s=options.timeout_seconds,
                default_lifetime_s=options.default_lifetime_seconds,
                known=known,
                sending=dispatch.note,
            )
        )
    except BaseException as error:  # noqa: BLE001 - whatever foreign code raises is a failure of this attempt only
        return as_value(error, TokenRequestError)


def _metadata(dispatch: _Dispatch, options: Options) -> OIDCConfig | OIDCActorError:
    assert options.issuer_url is not None
    try:
        return request_metadata(
            dispatch,
            options.issuer_url,
            timeout_s=options.timeout_seconds,
            allow_insecure_http=options.allow_insecure_http,
        )
    except BaseException as error:  # noqa: BLE001 - as above
        return as_value(error, DiscoveryError)


def as_value(error: BaseException, unknown: type[ProviderError]) -> OIDCActorError:
    """Turn what an exchange raised into an error to keep: without its frames, which hold what was sent.

    Args:
        error: What it raised.
        unknown: The type to give to what no exchange raises on purpose.
    """
    if isinstance(error, OIDCActorError):
        error.__cause__ = error.__context__ = None
        return error.with_traceback(None)
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    place = "" if where is None else f" in {where.tb_frame.f_code.co_name}, line {where.tb_lineno}"
    return unknown(f"the exchange raised {type(error).__name__}{place}")
