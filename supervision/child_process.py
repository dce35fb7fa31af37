"""One child as a process: started and watched, asked to leave and waited for, and whether it may be started again."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary, WeakSet

import pykka
from pykka._envelope import Envelope

from supervision.child_spec import ChildSpec, ShutdownSetting, require_children
from supervision.errors import AlreadyStarted, StartError
from supervision.exits import NOPROC, SHUTDOWN, Ignore, Reason, leaves_bystanders
from supervision.messages import ExitSignal
from supervision.monitors import Monitor
from supervision.process import Life, Phase, await_up, construct, launch, life_of, names
from supervision.registry import refuse_stranger, register
from supervision.runtime import timer_thread as alarm
from supervision.runtime.waits import waitable
from supervision.server import Server
from supervision.strategy import SupervisorFlags

__all__ = [
    "Departure",
    "Tether",
    "accepted",
    "check_start",
    "give_up",
    "is_bystander",
    "may_return",
    "settle",
    "start_child",
    "watch_child",
    "when_given_up",
]

JOIN_S = 5.0
LOOK_S = 0.01
PATIENCE_S = 5.0

_tethers: WeakKeyDictionary[Any, Tether] = WeakKeyDictionary()  # by the supervisor's ref, dead ones too

Heir: TypeAlias = Callable[[Any, bool], object]

_given_up: WeakSet[Any] = WeakSet()  # refs of the last incarnations of what nobody starts again
_heirs: WeakKeyDictionary[Any, Heir] = WeakKeyDictionary()


def check_start(spec: ChildSpec) -> None:
    """Raise ``TypeError`` for a class that is no actor's, before anything starts."""
    start = spec.start
    if isinstance(start, type) and not issubclass(start, Server | pykka.ThreadingActor):
        raise TypeError(
            f"ChildSpec.start of {spec.id!r}: expected a Server or a pykka.ThreadingActor class, or a callable that returns "
            f"an ActorRef, got the class {start.__name__}"
        )


def accepted(children: object, flags: SupervisorFlags) -> list[ChildSpec]:
    """The specifications in start order, each fit for a supervisor with those flags; raises for what is not."""
    specs = require_children(children)
    for spec in specs:
        flags.accept(spec)
        check_start(spec)
    return specs


def start_child(spec: ChildSpec, extra_args: tuple[Any, ...] = ()) -> Any:
    """Start a child; its ref once it is up, ``None`` where it chose to be ignored.

    Raises:
        AlreadyStarted: its name has a live owner.
        StartError: anything else; the child id is the specification's.
    """
    try:
        return _start(spec, (*extra_args, *spec.args))
    except Ignore:
        return None
    except AlreadyStarted:
        raise
    except StartError as error:
        # A supervisor's own error says which child of its failed; a worker's only wraps the cause.
        raise StartError(spec.id, error if spec.type == "supervisor" else error.cause) from error
    except BaseException as error:
        raise StartError(spec.id, error) from error


def _start(spec: ChildSpec, args: tuple[Any, ...]) -> Any:
    start: Any = spec.start
    if getattr(start, "__func__", None) is pykka.Actor.start.__func__:  # type: ignore[attr-defined]
        start = start.__self__  # `Class.start`, which nobody could wait for, is meant as `Class`
    if not isinstance(start, type):
        return _adopt(start(*args, **spec.kwargs), spec)
    if issubclass(start, Server):
        named: dict[str, Any] = {} if spec.name is None else {"name": spec.name}
        return start.start_link(*args, **named, **spec.kwargs)
    return _launch(start, args, spec)


def _launch(start: Any, args: tuple[Any, ...], spec: ChildSpec) -> Any:
    """Start an unmodified Pykka class; its constructor does not run where the name is taken."""
    owner = None if spec.name is None else names.lookup(spec.name)
    if owner is not None:
        raise AlreadyStarted(spec.name, owner.ref)
    return launch(construct(start, args, dict(spec.kwargs)), spec.id, name=spec.name)


def _adopt(ref: Any, spec: ChildSpec) -> Any:
    """A child that a callable has started: wait until it is up, and see that it has its name."""
    if ref is None:
        raise Ignore
    if not isinstance(ref, pykka.ActorRef):
        raise TypeError(f"start: expected the callable to return a pykka.ActorRef, got {type(ref).__name__}")
    life = life_of(ref)
    if life is None:
        refuse_stranger(ref, "supervised")
        raise pykka.ActorDeadError(f"{ref} ended before its supervisor could watch it")
    await_up(life)
    if spec.name is not None and names.lookup(spec.name) is not life:
        try:
            register(spec.name, ref)
        except BaseException:
            Departure(ref, spec.shutdown).wait()
            raise
    return ref


def watch_child(ref: Any, supervisor: Any) -> Monitor:
    """A supervisor's monitor of a child that is up.

    As OTP's link would, it reports why a child ended that did so before it could be watched, where a plain monitor only
    knows that nobody is there.
    """
    watch = Monitor(ref, supervisor)
    life = life_of(ref)
    if life is None or not life.attach(watch):
        watch.deliver(NOPROC if life is None else life.reason)
    return watch


class Departure:
    """The end of one child: asked for at once, waited for with ``wait``; so several can leave at the same time.

    Attributes:
        deadline: when the child is abandoned, in ``alarm.now()``'s seconds; infinite without one.

    Args:
        ref: the child.
        shutdown: its specification's setting.
        waiter: the supervisor that will wait; a call to it from the child's end hook could only deadlock.
        bystander: whether it leaves for another's sake, and is expected to be started again; it leaves with ``SHUTDOWN`` all
            the same.
    """

    foreign = False

    def __init__(
        self, ref: Any, shutdown: ShutdownSetting | None, waiter: Life | None = None, *, bystander: bool = False
    ) -> None:
        self._ref = ref
        self.deadline = alarm.now() + shutdown if isinstance(shutdown, int | float) else math.inf
        self._ended = threading.Event()
        self._life: Life | None = life_of(ref)
        if self._life is None or not self._life.attach(self):
            self._ended.set()  # by itself, before it was asked
        elif shutdown == "brutal_kill":
            self._life.kill(aside=True)
        else:
            self._life.mailbox.offer(Envelope(ExitSignal(SHUTDOWN, waiter, bystander)))

    def deliver(self, reason: Reason) -> None:
        """The life's word that it is over."""
        self._ended.set()

    def await_end(self) -> None:
        """Wait for the end, and abandon the child at its deadline."""
        if not self._ended.wait(waitable(None if math.isinf(self.deadline) else max(0.0, self.deadline - alarm.now()))):
            self.abandon()

    def wait(self) -> Reason:
        """Wait until nothing of the child is in anyone's way any more. Returns the reason it ended with."""
        self.await_end()
        settle(self._ref)
        return NOPROC if self._life is None else self._life.reason

    def abandon(self) -> None:
        """Its time is up, unless it has left already."""
        if self._life is not None:
            self._life.kill(aside=True)
            self._ended.wait(JOIN_S)  # somebody else may be ending it this very moment


def is_bystander(ref: Any) -> bool:
    """Whether an actor ends, or has ended, for another's sake, and its supervisor, or that one's, is expected to start it again.

    The answer is there from its end hook on. It is yes for a sibling in a group restart; for all below a supervisor that is
    a bystander, has given up or has failed; and not for one that was killed, whose hooks do not run.
    """
    life = life_of(ref)
    return life is not None and life.is_bystander


def settle(ref: Any) -> None:
    """Wait until the thread of an ended incarnation is gone, so that the next one finds its port and files free.

    Not for an abandoned thread, nor for one with nothing left but monitors' callables: nobody knows when they come back, and
    one of them may be waiting for the caller. What a killed supervisor left behind is waited for, too.
    """
    life = life_of(ref)
    if life is not None and not life.abandoned:
        _join(life)
    tether = _tethers.get(ref)
    if tether is not None:
        tether.await_orphans()


def _join(life: Life) -> None:
    thread = life.runtime.thread
    if thread is None or thread is threading.current_thread():
        return
    deadline = alarm.now() + JOIN_S
    while thread.is_alive() and not life.telling and alarm.now() < deadline:
        thread.join(LOOK_S)


class Tether:
    """Keeps the children of one supervisor from outliving it: what is left of OTP's link, in one direction.

    A supervisor that ends in an orderly way has stopped its children, and nothing hangs on its tether. When it is killed,
    the tether asks all children to leave at the same time; one that has not left within its own shutdown time, or
    ``PATIENCE_S`` where that is infinite, is abandoned.
    """

    __slots__ = ("_children", "_cut_at", "_lock", "_orphans")
    foreign = False

    def __init__(self, supervisor: Any) -> None:
        # Guards the three below: the thread of a killed supervisor may still be at work on its children. Leaf lock.
        self._lock = threading.Lock()
        self._children: dict[Any, ShutdownSetting | None] = {}
        self._orphans: list[Departure] = []
        self._cut_at: float | None = None
        _tethers[supervisor] = self
        life = life_of(supervisor)
        if life is not None:
            life.attach(self)

    @property
    def is_cut(self) -> bool:
        """Whether the supervisor has ended."""
        return self._cut_at is not None

    def tie(self, ref: Any, shutdown: ShutdownSetting | None) -> bool:
        """Add a child that is up; false if the supervisor has ended, and the child is the caller's to end."""
        with self._lock:
            if self.is_cut:
                return False
            self._children[ref] = shutdown
            return True

    def untie(self, ref: Any) -> None:
        """Take out a child that has left."""
        with self._lock:
            self._children.pop(ref, None)

    def deliver(self, reason: Reason) -> None:
        """The supervisor's life says that it is over; on the thread that ended it, before its own watchers hear."""
        with self._lock:
            self._cut_at = alarm.now()
            left, self._children = self._children, {}
        for ref, shutdown in left.items():
            patience_s = PATIENCE_S if shutdown is None or shutdown == "infinity" else shutdown
            self._orphans.append(Departure(ref, patience_s, bystander=leaves_bystanders(reason)))
        for departure in self._orphans:  # all have been asked; each has its own deadline, which nobody need wait for
            if departure.deadline < math.inf:
                alarm.call_later(departure.deadline - alarm.now(), departure.abandon)

    def await_orphans(self) -> None:
        """Wait until all it has cut loose are gone, each for as long as it may take."""
        if self._cut_at is None:
            return
        for departure in self._orphans:
            departure.wait()


def may_return(ref: Any, *, forked: bool = False) -> bool:
    """Whether an actor is alive, or has ended and may be started again, by its supervisor or together with that one.

    Args:
        ref: the actor.
        forked: in a forked child, whether to answer as the parent process would have.
    """
    life = life_of(ref)
    while life is not None:
        if not (life.phase is Phase.ENDED if forked else life.is_ended):
            return True
        if life.ref in _given_up:
            return False
        life = life.starter
    return False


def when_given_up(ref: Any, tell: Heir) -> None:
    """Have somebody told when it turns out, after an actor's end, that its supervisor does not start it again.

    Args:
        ref: the actor; one that is stopped while it runs hears of that itself.
        tell: called on the supervisor's thread with the ref, and whether that was asked for (a stop, ``terminate_child``) or
            is in its specification. It must neither block, nor raise, nor keep the ref.
    """
    _heirs[ref] = tell


def give_up(ref: Any, *, asked: bool) -> None:
    """Its supervisor says that an actor, which has ended, is not started again."""
    if ref is None:
        return
    _given_up.add(ref)
    tell = _heirs.get(ref)
    if tell is not None:
        tell(ref, asked)
