"""How an actor starts, handles, ends and is watched: the one place that knows Pykka's surprises."""

from supervision.lifecycle.adoption import StopFlag, await_up, construct, life_of
from supervision.lifecycle.life import Life, Phase, abandoned_count, current
from supervision.lifecycle.loop import ServerStyle
from supervision.lifecycle.mailbox import Mailbox
from supervision.lifecycle.replies import NoAnswer, Reply
from supervision.lifecycle.runtimes import POOL, OwnThread
from supervision.lifecycle.starting import is_callers_life, launch, would_deadlock

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
    "is_callers_life",
    "launch",
    "life_of",
    "would_deadlock",
]
