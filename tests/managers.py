"""What tests of managers share: the type of their fixture that starts one, and how such a test ends."""

import contextlib
from collections.abc import Callable
from typing import TypeAlias

import pykka
from pykka import ActorRegistry
from threads import DEADLINE_S, eventually

from oidc_actor import TokenManager
from oidc_actor.manager.workers import FUNCTION_WORKERS, HTTP_WORKERS
from oidc_actor.reading.directory import all_cells
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
