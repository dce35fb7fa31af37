"""What a reader does when the snapshot does not hold what it wants: wait for an outcome, within its own deadline.

All of it runs on the reader's thread, or in its task, in rounds: find the cell; look at the snapshot; put a waiter into the cell;
wait; take it out; look again. A token that is published between the look and the waiter is not missed: the manager hears of the
waiter after it has published, and gives it the token that is there. An outcome is no more than news. When the reader looks, the
token may have been rejected by another one, or the manager may have crashed: the next round waits once more, as long as there
is time. The waiter is taken out also where an exception of a signal handler ends the wait.
"""

from __future__ import annotations

import contextlib
import time
from typing import TypeAlias

from oidc_actor.machine.events import Accepted, CheckNow, Outcome, Refresh, Refusal, Rejected, TrialOverdue
from oidc_actor.machine.schedule import missing, refusal
from oidc_actor.reading.cell import Candidate, Cell, Ref
from oidc_actor.reading.directory import ManagerNotRunning, is_making_anew, is_starting, locate
from oidc_actor.reading.waiters import GONE, Gone, TaskWaiter, ThreadWaiter
from oidc_actor.values.clock import is_seconds
from oidc_actor.values.errors import ConfigError, NoTokenError
from oidc_actor.values.secrets import Secret, holds_secrets, secret_problem
from oidc_actor.values.tokens import TokenResponse
from supervision.errors import NoProcess
from supervision.process.registry import is_current
from supervision.runtime.tasks import task_bell

ServerRef: TypeAlias = Ref | str
"""What names a manager: its ref, or a name of it (OTP's ``server_ref()``)."""

LOOK_ASYNC_S = 0.002
"""How often, in seconds, a task looks whether a manager that is starting has started."""


def wait_for_token(
    server: ServerRef, timeout: float, min_validity: float, rejected: Rejected | None = None
) -> TokenResponse:
    """Get a valid token, other than one that was rejected, waiting for one if need be; see `TokenManager.get_token`."""
    check_wait(timeout, min_validity)
    ends_at = time.monotonic() + timeout
    while True:
        cell = _found(server, ends_at)
        token = _token_of(cell, min_validity, rejected)
        if token is not None:
            return token
        left_s = ends_at - time.monotonic()
        if left_s <= 0 or _waits_in_vain(cell):
            raise _too_late(cell, server, timeout, min_validity, rejected=rejected)
        waiter = ThreadWaiter(cell.clock() + left_s, min_validity, wants_refresh=False, rejected=rejected)
        try:
            cell.add_waiter(waiter)
            outcome = waiter.wait(left_s)
        finally:
            cell.remove_waiter(waiter)
        _raise_refusal(outcome, cell, server)


async def wait_for_token_async(
    server: ServerRef, timeout: float, min_validity: float, rejected: Rejected | None = None
) -> TokenResponse:
    """Do what `wait_for_token` does, in a task of asyncio or trio; it yields only where it waits."""
    check_wait(timeout, min_validity)
    ends_at = time.monotonic() + timeout
    while True:
        await _started(server, ends_at)
        cell = _found(server, 0.0)
        token = _token_of(cell, min_validity, rejected)
        if token is not None:
            return token
        left_s = ends_at - time.monotonic()
        if left_s <= 0:
            raise _too_late(cell, server, timeout, min_validity, rejected=rejected)
        waiter = TaskWaiter(cell.clock() + left_s, min_validity, wants_refresh=False, rejected=rejected)
        try:
            cell.add_waiter(waiter)
            outcome = await waiter.wait(left_s)
        finally:
            cell.remove_waiter(waiter)
        _raise_refusal(outcome, cell, server)


def tell_soon(server: ServerRef, said: Rejected | Accepted) -> None:
    """Pass on what a resource server says of a token; as a cast, silent where no manager is there."""
    with contextlib.suppress(NoProcess):
        locate(server, wait_s=0.0).tell(said)


def refresh_soon(server: ServerRef, rejected: Secret | None) -> None:
    """Ask for a refresh and do not wait; as a cast, silent where no manager is there."""
    with contextlib.suppress(NoProcess):
        cell = locate(server, wait_s=0.0)
        if rejected is None or cell.reject(rejected.reveal()):
            cell.tell(Refresh(None, rejected))


def refresh_now(server: ServerRef, timeout: float, rejected: Secret | None) -> None:
    """Wait for a refresh; see `TokenManager.force_refresh`."""
    check_wait(timeout, 0.0)
    ends_at = time.monotonic() + timeout
    outcome: Outcome | Gone | None = GONE
    left_s = timeout
    while outcome is GONE:
        cell = locate(server, wait_s=left_s)
        if rejected is not None and not cell.reject(rejected.reveal()):
            return
        left_s = max(0.0, ends_at - time.monotonic())
        waiter = ThreadWaiter(cell.clock() + left_s, 0.0, wants_refresh=True)
        try:
            cell.add_waiter(waiter)
            cell.tell(Refresh(waiter, rejected))
            outcome = waiter.wait(left_s)
        finally:
            cell.remove_waiter(waiter)
        _raise_refusal(outcome, cell, server)
        rejected = None  # it is rejected by now
        if outcome is None or (outcome is GONE and not left_s):
            raise _too_late(cell, server, timeout, 0.0, wants_refresh=True)


async def refresh_now_async(server: ServerRef, timeout: float, rejected: Secret | None) -> None:
    """Do what `refresh_now` does, in a task of asyncio or trio."""
    check_wait(timeout, 0.0)
    ends_at = time.monotonic() + timeout
    outcome: Outcome | Gone | None = GONE
    while outcome is GONE:
        await _started(server, ends_at)
        cell = locate(server, wait_s=0.0)
        if rejected is not None and not cell.reject(rejected.reveal()):
            return
        left_s = max(0.0, ends_at - time.monotonic())
        waiter = TaskWaiter(cell.clock() + left_s, 0.0, wants_refresh=True)
        try:
            cell.add_waiter(waiter)
            cell.tell(Refresh(waiter, rejected))
            outcome = await waiter.wait(left_s)
        finally:
            cell.remove_waiter(waiter)
        _raise_refusal(outcome, cell, server)
        rejected = None  # it is rejected by now
        if outcome is None or (outcome is GONE and not left_s):
            raise _too_late(cell, server, timeout, 0.0, wants_refresh=True)


def await_replacement(server: ServerRef, cell: Cell, candidate: Candidate, timeout: float, ends_at: float) -> None:
    """Wait until other options have a token; see `TokenManager.replace`.

    However the wait ends, with an exception of a signal handler too, the manager is told that it is over: options that have had
    no answer by then hold. It keeps that time by its own clock as well.

    Args:
        server: The manager, as its caller named it.
        cell: Its cell.
        candidate: The options.
        timeout: Seconds that the caller waits.
        ends_at: When that is over, by `time.monotonic`.
    """
    left_s = max(0.0, ends_at - time.monotonic())
    waiter = ThreadWaiter(cell.clock() + left_s, 0.0, wants_refresh=False)
    try:
        candidate.add_waiter(waiter)
        outcome = waiter.wait(left_s)
    finally:
        candidate.remove_waiter(waiter)
        if not candidate.holds:
            cell.tell(TrialOverdue(candidate.number))
    if isinstance(outcome, TokenResponse) or _has_taken_place(cell, candidate):
        return
    if isinstance(outcome, Refusal):
        raise error_of(outcome)
    if not cell.may_be_served():
        raise ManagerNotRunning(server)
    state = candidate.state or cell.state
    if outcome is GONE:
        raise NoTokenError("the options are not in force", cause=None if state is None else state.not_replaced)
    cause = None if state is None else state.last_error
    trouble = "" if cause is None else f"; the last attempt failed: {cause}"
    late = f"within {timeout:g} s: no token of the new options yet, which are in force from now on{trouble}"
    raise NoTokenError(late, cause=cause)


def _has_taken_place(cell: Cell, candidate: Candidate) -> bool:
    state = cell.state
    is_theirs = candidate.holds and cell.options is candidate.options
    return is_theirs and state is not None and not state.is_former and _token_of(cell, 0.0, None) is not None


@holds_secrets
def read_rejected(rejected: object) -> Secret | None:
    """What a reader says was rejected."""
    if rejected is None:
        return None
    if not isinstance(rejected, str):
        raise ConfigError(f"expected the text of an access token, got {type(rejected).__name__}", ("rejected",))
    if secret_problem(rejected) is not None:
        raise ConfigError("expected an access token", ("rejected",))
    return Secret(rejected)


def check_wait(timeout: object, min_validity: object) -> None:
    """Check what a reader says about its wait.

    Raises:
        ConfigError: One of them is no finite number of seconds of at least 0.
    """
    for name, value in (("timeout", timeout), ("min_validity", min_validity)):
        if not is_seconds(value):
            raise ConfigError(f"expected finite seconds of at least 0, got {value!r}", (name,))


def _found(server: ServerRef, ends_at: float) -> Cell:
    """The manager's cell, as soon as it has one."""
    try:
        return locate(server, wait_s=max(0.0, ends_at - time.monotonic()))
    except NoProcess:
        if is_starting(server):
            raise NoTokenError("no token yet: the manager is starting") from None
        raise


async def _started(server: ServerRef, ends_at: float) -> None:
    """Wait while a manager is there that has no cell yet."""
    while is_starting(server) and time.monotonic() < ends_at:
        await task_bell().wait(LOOK_ASYNC_S)  # nothing rings it


def _waits_in_vain(cell: Cell) -> bool:
    """Whether what would bring a token is interrupted by this very thread: the manager's own turn, or its start in a child."""
    return is_making_anew() or is_current(cell.ref)


def _token_of(cell: Cell, min_validity: float, rejected: Rejected | None) -> TokenResponse | None:
    snapshot = cell.inherited or cell.snapshot  # in a forked child, amid the start there
    if rejected is not None and snapshot.text == rejected.token.reveal():
        return None
    return snapshot.token if cell.clock() < snapshot.deadline - min_validity else None


def _raise_refusal(outcome: Outcome | Gone | None, cell: Cell, server: ServerRef) -> None:
    """Raise for an outcome that ends the wait. After a token, and where none came in time, the reader looks again.

    So it does for a manager that has crashed in a forked child: the next look makes it anew, or another reader's has.
    """
    if outcome is GONE and not cell.forked:
        raise ManagerNotRunning(server)
    if isinstance(outcome, Refusal):
        raise error_of(outcome)


def error_of(refused: Refusal) -> NoTokenError:
    """The exception for one reader; each gets its own, because a raised one collects its reader's traceback."""
    return NoTokenError(refused.message, cause=refused.cause, retry_in_s=refused.retry_in_s)


def _too_late(
    cell: Cell,
    server: ServerRef,
    timeout: float,
    min_validity: float,
    *,
    wants_refresh: bool = False,
    rejected: Rejected | None = None,
) -> Exception:
    """What a reader gets at its deadline. A reader that did not wait at all has the manager look at the clock."""
    state, within = cell.state, f"within {timeout:g} s: " if timeout else ""
    if state is None or not cell.may_be_served():
        return ManagerNotRunning(server)
    if not cell.is_served:
        lack = missing(state, cell.clock(), min_validity, wants_refresh)
        return NoTokenError(f"{within}{lack}; the manager has crashed and is being restarted")
    cell.tell(rejected or CheckNow(min_validity))
    wants_refresh = wants_refresh or rejected is not None
    refused = refusal(state, cell.clock(), min_validity, wants_refresh)
    return error_of(Refusal(within + refused.message, refused.cause, refused.retry_in_s))
