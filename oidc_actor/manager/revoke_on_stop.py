"""Revoking a manager's tokens when it stops (RFC 7009): as far as that is possible in a few seconds, and off the mailbox."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable

from oidc_actor.endpoints.other_endpoints import request_revocation
from oidc_actor.machine.effects import Revoke
from oidc_actor.machine.failure_policy import code_of, status_of
from oidc_actor.manager.fetch import as_value
from oidc_actor.manager.issuers import Issuer
from oidc_actor.manager.options import Options
from oidc_actor.manager.workers import HTTP_WORKERS
from oidc_actor.protocol.token_request import TokenTypeHint
from oidc_actor.reading.cell import Cell
from oidc_actor.values.errors import ConfigError, OIDCActorError, TokenRequestError
from oidc_actor.values.secrets import Secret
from supervision.runtime.dispatcher import blocking

DEADLINE_S = 3.0
"""Seconds that a stop waits for it, at most; less than the five that a supervisor gives its children."""

MOST_WAITING = 32
"""Stops that wait at a time, as many as there are threads for HTTP; what the others began goes on after they have returned."""

Log = Callable[..., None]

_waiting = threading.BoundedSemaphore(MOST_WAITING)


def revoke(cell: Cell, issuer: Issuer, options: Options, effect: Revoke, log: Log) -> None:
    """Revoke tokens on a thread of the pool, and wait for that within the deadline. Raises nothing.

    Args:
        cell: The manager's; closed already.
        issuer: Its issuer. One that is known to be down, or has asked to be left alone, is not asked.
        options: Its options.
        effect: What to revoke.
        log: Takes the events; called on a thread of the pool, or on this one.
    """
    ended, ends_at = threading.Event(), _deadline(options)
    if not _may_ask(cell, issuer, options, effect, log):
        return
    try:
        HTTP_WORKERS.value.submit(issuer, functools.partial(_revoke_all, issuer, options, effect, log, ends_at, ended))
    except RuntimeError as error:  # the process has no thread left, or is going down
        _give_up(effect, f"no thread for the request: {error}", log)
        return
    if _waiting.acquire(blocking=False):
        try:
            with blocking():
                ended.wait(max(0.0, ends_at - time.monotonic()))
        finally:
            _waiting.release()


def revoke_here(cell: Cell, issuer: Issuer, options: Options, effect: Revoke, log: Log) -> None:
    """Do what `revoke` does on the calling thread, which is one of the pool; the manager has left its issuer already."""
    if _may_ask(cell, issuer, options, effect, log):
        _revoke_all(issuer, options, effect, log, _deadline(options), threading.Event())


def _deadline(options: Options) -> float:
    return time.monotonic() + min(options.timeout_seconds, DEADLINE_S)


def _may_ask(cell: Cell, issuer: Issuer, options: Options, effect: Revoke, log: Log) -> bool:
    if not issuer.circuit.is_down(cell, options):
        return True
    _give_up(effect, "the provider is known to be down, or asked to wait", log)
    return False


def _revoke_all(
    issuer: Issuer, options: Options, effect: Revoke, log: Log, ends_at: float, ended: threading.Event
) -> None:
    for kind, token in effect.tokens:
        error = _outcome(issuer, options, effect, kind, token, ends_at - time.monotonic())
        _report(effect, kind, error, log)
    ended.set()


def _outcome(
    issuer: Issuer, options: Options, effect: Revoke, kind: TokenTypeHint, token: Secret, left_s: float
) -> OIDCActorError | None:
    """Revoke one token on the calling thread; ``None`` where that is done."""
    if left_s <= 0:
        return TokenRequestError("there was no time left for it", sent=False)
    if effect.config is None:
        return ConfigError("the provider's metadata were never had")
    try:
        request_revocation(issuer.transport, effect.config, options.auth, token, kind, timeout_s=left_s)
    except BaseException as error:  # noqa: BLE001 - whatever foreign code raises is a failure of this only
        return as_value(error, TokenRequestError)
    return None


def _give_up(effect: Revoke, why: str, log: Log) -> None:
    for kind, _ in effect.tokens:
        _report(effect, kind, TokenRequestError(why, sent=False), log)


def _report(effect: Revoke, kind: TokenTypeHint, error: OIDCActorError | None, log: Log) -> None:
    if error is None:
        log("token_revoked", effect.attempt, token_type=kind)
        return
    fields = {"error": str(error), "status": status_of(error), "code": code_of(error)}
    log("revocation_failed", effect.attempt, token_type=kind, **fields)


def _start_over() -> None:
    global _waiting  # noqa: PLW0603 - in a forked child nobody waits
    _waiting = threading.BoundedSemaphore(MOST_WAITING)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over)
