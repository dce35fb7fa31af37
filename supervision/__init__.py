"""OTP-style supervision for Pykka: servers with a safe life cycle, names, monitors, timers and supervisors."""

from supervision.calls import Timer, call, cast, kill, send_after, stop
from supervision.children import Backoff, ChildCounts, ChildInfo, ChildSpec
from supervision.dynamic_supervisor import DynamicSupervisor
from supervision.errors import (
    AlreadyPresent,
    AlreadyStarted,
    CallTimeout,
    ChildNotFound,
    ChildRestarting,
    ChildRunning,
    MaxChildren,
    NoProcess,
    ServerDied,
    StartError,
    SupervisionError,
)
from supervision.exits import KILLED, NOPROC, NORMAL, SHUTDOWN, Crash, Exit, Ignore, Shutdown
from supervision.monitors import Down, Monitor, demonitor, monitor
from supervision.process.registry import register, unregister, whereis
from supervision.server import Server
from supervision.supervisor import Supervisor

__all__ = [
    "AlreadyPresent",
    "AlreadyStarted",
    "Backoff",
    "CallTimeout",
    "ChildCounts",
    "ChildInfo",
    "ChildNotFound",
    "ChildRestarting",
    "ChildRunning",
    "ChildSpec",
    "Crash",
    "Down",
    "DynamicSupervisor",
    "Exit",
    "Ignore",
    "KILLED",
    "MaxChildren",
    "Monitor",
    "NOPROC",
    "NORMAL",
    "NoProcess",
    "SHUTDOWN",
    "Server",
    "ServerDied",
    "Shutdown",
    "StartError",
    "SupervisionError",
    "Supervisor",
    "Timer",
    "call",
    "cast",
    "demonitor",
    "kill",
    "monitor",
    "register",
    "send_after",
    "stop",
    "unregister",
    "whereis",
]
