"""How an actor starts, handles, ends and is watched: the one place that knows Pykka's surprises."""

from supervision.process.current import current, is_awaited_by_caller, must_outlive_caller, supervises
from supervision.process.interpreter_exit import is_exiting
from supervision.process.loop import ServerStyle
from supervision.process.mailbox import Mailbox, StopFlag
from supervision.process.phase import Phase
from supervision.process.process import Life
from supervision.process.pykka_actors import await_up, construct, is_stranger, life_of, name_of
from supervision.process.replies import NoAnswer, Reply
from supervision.process.runtimes import POOL, OwnThread, abandoned_count
from supervision.process.start import launch

__all__ = [
    "POOL",
    "Life",
    "Mailbox",
    "NoAnswer",
    "OwnThread",
    "Phase",
    "Reply",
    "ServerStyle",
    "StopFlag",
    "abandoned_count",
    "await_up",
    "construct",
    "current",
    "is_awaited_by_caller",
    "is_exiting",
    "is_stranger",
    "launch",
    "life_of",
    "must_outlive_caller",
    "name_of",
    "supervises",
]
