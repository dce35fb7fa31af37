"""How a test of managers ends: what it started is stopped, and nothing of it is left."""

import contextlib

from fakes import DEADLINE_S, eventually
from pykka import ActorRegistry

from oidc_actor.manager.workers import EXCHANGES
from oidc_actor.reading.cell import by_name
from supervision import NoProcess, Supervisor
from supervision.supervising import is_parent


def leave_nothing_behind() -> None:
    """Stop every supervisor, actor and exchange, within a deadline."""
    for ref in ActorRegistry.get_all():
        if is_parent(ref):
            with contextlib.suppress(NoProcess):
                Supervisor.stop(ref, timeout=DEADLINE_S)
    ActorRegistry.stop_all(block=True, timeout=DEADLINE_S)
    for cell in list(by_name.values()):  # of managers that were killed
        cell.close(None)
    eventually(lambda: not EXCHANGES.busy, "the end of every exchange")
