"""How a manager is doing, as one value. Pure."""

from __future__ import annotations

from typing import Literal

from oidc_actor.machine.failure_policy import code_of, status_of
from oidc_actor.machine.schedule import next_attempt_at
from oidc_actor.machine.state import State, is_trying, is_valid
from oidc_actor.values.errors import OIDCActorError
from supervision.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """A manager's condition at one moment.

    Attributes:
        state: ``"empty"`` (no token), ``"fresh"``, ``"stale"`` (valid, but past its refresh point), or ``"expired"``.
        ready: Whether a valid token exists.
        blocked: Whether the last attempt ended with an error that no retry cures, so that only slow probes are made; or no
            attempt can be made, because the process was forked and the login of `RefreshToken` is its parent's.
        refreshing: Whether an attempt is under way, with these options or with those that are to replace them.
        expires_in_s: Seconds the token still lives, 0 once expired; ``None`` without a token.
        refresh_in_s: Seconds until its refresh point, 0 once past; ``None`` without a token.
        next_attempt_in_s: Seconds until the next attempt; ``None`` while one is under way, or where there is to be none.
        consecutive_failures: Failed attempts since the last success.
        token_requests: Requests sent to the token endpoint so far.
        refreshes: Tokens obtained so far.
        last_error: The error of the last attempt, redacted, with the HTTP status and the OAuth code; ``None`` after a
            success. Where a `TokenManager.replace` was refused, the error that refused it, until other options are tried.
        clock_skew_s: Seconds by which the provider's clock is ahead of this machine's, by the ``Date`` of its last answer;
            negative where it is behind, 0 where they agree as far as can be told, ``None`` where no answer told.
        sharing: Whether the token is shared with other processes: ``"off"`` without a store, ``"shared"``, or ``"alone"``
            while the store cannot be asked.
        store_error: Why the store cannot be asked; ``None`` where it can.
    """

    state: Literal["empty", "fresh", "stale", "expired"]
    ready: bool
    blocked: bool
    refreshing: bool
    expires_in_s: float | None
    refresh_in_s: float | None
    next_attempt_in_s: float | None
    consecutive_failures: int
    token_requests: int
    refreshes: int
    last_error: str | None
    clock_skew_s: float | None = None
    sharing: Literal["off", "shared", "alone"] = "off"
    store_error: str | None = None


def health_of(state: State, now: float) -> Health:
    """Summarise a state.

    Args:
        state: What the manager knows.
        now: Reading of its clock.

    Returns:
        Its condition.
    """
    has_token, skew, store = state.token is not None, state.skew, state.sharing
    is_none_due = state.attempt is not None or state.login_is_parents
    return Health(
        state=_condition(state, now),
        ready=is_valid(state, now),
        blocked=state.blocked or state.login_is_parents,
        refreshing=state.attempt is not None or is_trying(state),
        expires_in_s=max(0.0, state.expires_at - now) if has_token else None,
        refresh_in_s=max(0.0, state.refresh_at - now) if has_token else None,
        next_attempt_in_s=None if is_none_due else max(0.0, next_attempt_at(state) - now),
        consecutive_failures=state.failures,
        token_requests=state.token_requests,
        refreshes=state.refreshes,
        last_error=_last_error(state),
        sharing=sharing_of(state),
        store_error=None if store is None or store.error is None else str(store.error),
        clock_skew_s=None if skew is None else round(skew.ahead_s if skew.least_s else 0.0, 1),
    )


def sharing_of(state: State) -> Literal["off", "shared", "alone"]:
    """Whether the token is shared with other processes."""
    if state.sharing is None:
        return "off"
    return "shared" if state.sharing.error is None else "alone"


def _condition(state: State, now: float) -> Literal["empty", "fresh", "stale", "expired"]:
    if state.token is None:
        return "empty"
    if not is_valid(state, now):
        return "expired"
    return "stale" if now >= state.refresh_at else "fresh"


def _last_error(state: State) -> str | None:
    if state.not_replaced is not None:
        return f"the options that were to replace these were refused: {_text_of(state.not_replaced)}"
    return None if state.last_error is None else _text_of(state.last_error)


def _text_of(error: OIDCActorError) -> str:
    text = str(error)
    status, code = status_of(error), code_of(error)
    missing = [part for part in (None if status is None else f"HTTP {status}", code) if part and part not in text]
    return f"{text} ({', '.join(missing)})" if missing else text
