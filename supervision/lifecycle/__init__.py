"""How an actor starts, handles, ends and is watched: the one place that knows Pykka's surprises."""

from supervision.lifecycle.abandoned import abandoned_count
from supervision.lifecycle.adoption import await_up, construct, is_stranger, life_of, name_of
from supervision.lifecycle.caller import current, is_awaited_by_caller, must_outlive_caller, supervises
from supervision.lifecycle.exiting import is_exiting
from supervision.lifecycle.life import Life
from supervision.lifecycle.loop import ServerStyle
from supervision.lifecycle.mailbox import Mailbox
from supervision.lifecycle.phase import Phase
from supervision.lifecycle.replies import NoAnswer, Reply
from supervision.lifecycle.runtimes import POOL, OwnThread
from supervision.lifecycle.starting import launch
from supervision.lifecycle.stop_flag import StopFlag

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
