"""What tests of managers share: the type of their fixture that starts one, and how such a test ends."""

import contextlib
from collections.abc import Callable
from typing import TypeAlias

import pykka
from pykka import ActorRegistry
from threads import DEADLINE_S, eventually

from oidc_actor import TokenManager
from oidc_actor.manager.workers import FUNCTION_WORKERS, HTTP_WORKERS
from oidc_actor.reading.directory import all_cells, locate
from supervision import NoProcess, Supervisor
from supervision.supervising import is_supervisor

Start: TypeAlias = Callable[..., "pykka.ActorRef[TokenManager]"]


def leave_nothing_behind() -> None:
    """Stop every supervisor, actor and request, within a deadline."""
    for ref in ActorRegistry.get_all():
        if is_supervisor(ref):
            with contextlib.suppress(NoProcess):
                Supervisor.stop(ref, timeout=DEADLINE_S)
    ActorRegistry.stop_all(block=True, timeout=DEADLINE_S)
    for (
        cell
    ) in all_cells():  # of managers that were killed, those without a name too: somebody may still hold their ref
        cell.close(None)
    eventually(lambda: not HTTP_WORKERS.value.busy, "the end of every exchange")
    eventually(lambda: not FUNCTION_WORKERS.value.busy, "the end of every function")


def settled(*servers: "pykka.ActorRef[TokenManager] | str") -> None:
    """Wait until those have heard all that was sent to them, and neither a request nor a look at a file of theirs is under way.

    Each test of a manual clock waits for that before it advances the clock: a timer that is set later counts from there.
    """

    def is_at_rest(server: "pykka.ActorRef[TokenManager] | str") -> bool:
        # Asked twice: what a look has found may begin a request in between.
        has_none, looks = not TokenManager.health(server).refreshing, locate(server).state.checking
        return has_none and not looks and not TokenManager.health(server).refreshing

    for server in servers:
        eventually(lambda server=server: is_at_rest(server), "the end of what is under way")
