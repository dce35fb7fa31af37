"""Which end of a manager is meant for its name as well, so that nobody reads its token any more."""

from __future__ import annotations

from typing import Any

import pykka

from supervision import Monitor, demonitor
from supervision.bells import taken_out
from supervision.departure import is_bystander
from supervision.exits import Reason, is_orderly
from supervision.prospects import may_return


def is_final(ref: pykka.ActorRef[Any], reason: Reason) -> bool:
    """Tell whether a manager has ended for good.

    Args:
        ref: The manager.
        reason: What it ended with.

    Returns:
        ``False`` after a crash, and where its supervisor ends it for a sibling's sake and starts it again: its successor goes on
        with the token, and until then readers are served.
    """
    return is_orderly(reason) and not is_bystander(ref)


def may_start_again(supervisor: pykka.ActorRef[Any] | None, *, forked: bool = False) -> bool:
    """Tell whether a supervisor may still start a manager anew: it is alive, or may be started again itself.

    Args:
        supervisor: The manager's; ``None`` where it has none.
        forked: In a forked child, whether to answer as the parent process would have.
    """
    return supervisor is not None and may_return(supervisor, forked=forked)


def unwatch(watches: list[Monitor]) -> None:
    """End the watches over a supervisor, of which other threads may be ending some, or adding one."""
    for watch in taken_out(watches):
        demonitor(watch)
