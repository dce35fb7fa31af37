"""A supervisor's children: how each is specified, and what has become of it. Pure: no actor is touched here."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, Self, TypeAlias, cast

from supervision.errors import check_one_of, check_seconds
from supervision.exits import ExceptionText, Reason, Restart, without_frames
from supervision.frozen import dataclass

if TYPE_CHECKING:
    import pykka
    from typing_extensions import TypeVar  # a type checker has it built in; nothing is installed for it

    A = TypeVar("A", bound=pykka.Actor, covariant=True, default=Any)

    class _Of(Generic[A]):
        """Type checkers know a `ChildSpec` by its actor class."""

else:
    A = Any

    class _Of:
        __slots__ = ()

        def __class_getitem__(cls, _actor_class: object) -> type:
            return cls  # an alias of `typing` would set an attribute on each value that it makes, and they are frozen


ChildType: TypeAlias = Literal["worker", "supervisor"]
ShutdownSetting: TypeAlias = float | Literal["infinity", "brutal_kill"]
ChildState: TypeAlias = Literal["running", "restarting", "stopped"]


@dataclass(frozen=True, slots=True)
class Backoff:
    """A delay before each restart of one child; off unless given. OTP has none: its restarts follow at once.

    The n-th restart in a row waits ``min(initial * 2**n, maximum)`` seconds, shifted by up to ``jitter`` of itself.
    Every attempt still counts in the supervisor's window.

    Attributes:
        initial: seconds before the first restart.
        maximum: the most seconds between two attempts.
        jitter: share of the delay, 0 to 1, by which it is spread to either side; 0 is exact.
        reset_after: seconds of a stable run after which the delay starts over; ``None`` means ``maximum``.

    Raises:
        TypeError: a value that is no number; the text names the field.
        ValueError: a value that is negative or not finite, a ``jitter`` above 1, or a ``maximum`` below ``initial``.
    """

    initial: float = 0.1
    maximum: float = 30.0
    jitter: float = 0.5
    reset_after: float | None = None

    def __post_init__(self) -> None:
        for name in ("initial", "maximum", "jitter"):
            check_seconds(f"Backoff.{name}", getattr(self, name))
        if self.maximum < self.initial:
            raise ValueError(f"Backoff.maximum: expected at least initial={self.initial!r}, got {self.maximum!r}")
        if self.jitter > 1:
            raise ValueError(f"Backoff.jitter: expected a share from 0 to 1, got {self.jitter!r}")
        if self.reset_after is not None:
            check_seconds("Backoff.reset_after", self.reset_after)

    def delay(self, attempts: int, uniform: Callable[[float, float], float]) -> float:
        """Seconds before the next attempt after ``attempts`` in a row; ``uniform(a, b)`` is the random source."""
        exact = min(self.initial * 2.0 ** min(attempts, 1000), self.maximum)
        return min(exact * uniform(1 - self.jitter, 1 + self.jitter), self.maximum)

    def starts_over(self, ran_s: float) -> bool:
        """Whether a run of ``ran_s`` seconds was stable enough to begin again with ``initial``."""
        return ran_s >= (self.maximum if self.reset_after is None else self.reset_after)


@dataclass(frozen=True, slots=True)
class ChildSpec(_Of[A]):
    """One child of a supervisor: how to start it, when to restart it, how to stop it (OTP, ``supervisor:child_spec()``).

    ``start`` is called on the supervisor's thread, at the first start and at every restart, with the same arguments; until
    it returns the supervisor serves no other request. With a ``start_timeout`` it is called on a thread of its own, and the
    supervisor waits no longer than that. ``on_start`` of the actor runs on the actor's own thread or on the pool.

    Attributes:
        id: any hashable; unique under a ``Supervisor``, free under a ``DynamicSupervisor``.
        start: an actor class (``Server`` or ``pykka.ThreadingActor``), or a callable that returns the ``pykka.ActorRef`` of
            an actor that it has started.
        args: positional arguments for ``start``.
        kwargs: keyword arguments for ``start``.
        restart: ``"permanent"`` always, ``"transient"`` after an abnormal end, ``"temporary"`` never.
        shutdown: seconds from the request to stop until the child is abandoned, ``"infinity"``, or ``"brutal_kill"`` for
            no request at all; ``None`` chooses 5.0 for a worker and ``"infinity"`` for a supervisor.
        type: ``"worker"`` or ``"supervisor"``.
        significant: whether its end counts for the supervisor's ``auto_shutdown``.
        name: the name that every incarnation is registered under, or ``None``.
        backoff: a delay before each restart, or ``None`` for OTP's immediate one.
        start_timeout: seconds for each start, the first and every restart, from ``__init__`` or the callable to the end of
            ``on_start``; past them all that this start has begun is killed, and it has failed with a ``TimeoutError``.
            ``None`` for no limit (OTP: ``timeout`` of ``gen_server:start_link/4``).

    Raises:
        TypeError: a value of the wrong type; the text names the field.
        ValueError: a value out of range; the text names the field.
    """

    id: Hashable
    start: type[A] | Callable[..., pykka.ActorRef[A] | None]
    args: tuple[Any, ...] = field(default=(), repr=False)
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    restart: Restart = "permanent"
    shutdown: ShutdownSetting | None = None
    type: ChildType = "worker"
    significant: bool = False
    name: str | None = None
    backoff: Backoff | None = None
    start_timeout: float | None = None

    def __post_init__(self) -> None:
        self._check_start()
        check_one_of("ChildSpec.restart", self.restart, Restart)
        check_one_of("ChildSpec.type", self.type, ChildType)
        if self.shutdown is None:
            object.__setattr__(self, "shutdown", "infinity" if self.type == "supervisor" else 5.0)
        elif isinstance(self.shutdown, str):
            wanted = 'seconds, "infinity" or "brutal_kill"'
            if self.shutdown not in ("infinity", "brutal_kill"):
                raise ValueError(f"ChildSpec.shutdown: expected {wanted}, got {self.shutdown!r}")
        else:
            check_seconds("ChildSpec.shutdown", self.shutdown)
        if not isinstance(self.significant, bool):
            raise TypeError(f"ChildSpec.significant: expected a bool, got {self.significant!r}")
        if self.significant and self.restart == "permanent":
            raise ValueError("ChildSpec.significant: a permanent child cannot be significant, it never ends for good")
        if self.backoff is not None and not isinstance(self.backoff, Backoff):
            raise TypeError(f"ChildSpec.backoff: expected a Backoff or None, got {self.backoff!r}")
        if self.start_timeout is not None:
            check_seconds("ChildSpec.start_timeout", self.start_timeout, above_zero=True)

    def _check_start(self) -> None:
        kwargs, name = cast(tuple[object, object], (self.kwargs, self.name))
        if not isinstance(self.id, Hashable):
            raise TypeError(f"ChildSpec.id: expected a hashable value, got {type(self.id).__name__}")
        if not callable(self.start):
            raise TypeError(f"ChildSpec.start: expected an actor class or a callable, got {self.start!r}")
        if not isinstance(self.args, tuple | list):
            raise TypeError(f"ChildSpec.args: expected a tuple, got {type(self.args).__name__}")
        if not isinstance(kwargs, Mapping) or (kwargs and not all(isinstance(key, str) for key in kwargs)):
            raise TypeError(f"ChildSpec.kwargs: expected a mapping with str keys, got {type(kwargs).__name__}")
        if name is not None and (not isinstance(name, str) or not name):
            raise TypeError(f"ChildSpec.name: expected a non-empty str or None, got {name!r}")
        object.__setattr__(self, "args", tuple(self.args))
        object.__setattr__(self, "kwargs", dict(kwargs))


def require_spec(spec: object, what: str = "spec") -> ChildSpec:
    """The specification, or a ``TypeError`` that names ``what``."""
    if not isinstance(spec, ChildSpec):
        how = ""
        if isinstance(spec, type):
            name = spec.__name__
            how = (
                f": write {name}.child_spec(...)"
                if hasattr(spec, "child_spec")
                else f": write ChildSpec(id, {name}, args)"
            )
        raise TypeError(f"{what}: expected a ChildSpec, got {spec!r}{how}")
    return spec


def require_children(children: object) -> list[ChildSpec]:
    """The specifications in start order; ``TypeError`` for anything else, ``ValueError`` for an id that is there twice."""
    if isinstance(children, str | bytes | ChildSpec) or not isinstance(children, Iterable):
        raise TypeError(f"children: expected an iterable of ChildSpec values, got {children!r}")
    specs = [require_spec(spec, "children") for spec in children]
    seen: set[Any] = set()
    for spec in specs:
        if spec.id in seen:
            raise ValueError(f"children: the id {spec.id!r} is there twice, and ids are unique under a supervisor")
        seen.add(spec.id)
    return specs


@dataclass(frozen=True, slots=True)
class ChildInfo:
    """One row of ``which_children``.

    Attributes:
        id: the specification's id.
        ref: the ``pykka.ActorRef`` of the live incarnation, ``None`` unless running.
        state: ``"running"``, ``"restarting"`` (between attempts or in its backoff delay) or ``"stopped"``.
        type: ``"worker"`` or ``"supervisor"``.
    """

    id: Hashable
    ref: pykka.ActorRef[Any] | None
    state: ChildState
    type: ChildType


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """The answer of ``count_children`` (OTP, ``supervisor:count_children/1``).

    Attributes:
        specs: the specifications that are kept; under a ``DynamicSupervisor`` the children, those being restarted included.
        active: the children that run; of a ``Supervisor`` only those that have not ended by now (as in OTP, where a dynamic one
            counts a child until it hears of the end).
        supervisors: the children of type ``"supervisor"``, running or not.
        workers: the children of type ``"worker"``, running or not.
    """

    specs: int
    active: int
    supervisors: int
    workers: int

    @classmethod
    def of(cls, children: Collection[Child], *, alive: bool = False) -> Self:
        """The figures for those children; with ``alive`` one that has ended unheard is not active."""
        supervisors = sum(child.spec.type == "supervisor" for child in children)
        active = sum(child.state == "running" and (not alive or child.ref.is_alive()) for child in children)
        return cls(len(children), active, supervisors, len(children) - supervisors)


@dataclass(slots=True, eq=False)
class Child:
    """One child: its specification and what has become of it. Only its supervisor's thread reads or changes it.

    Attributes:
        spec: how to start it.
        comes_with_supervisor: whether it is started again together with its supervisor, because that was started with it.
        ref: the live incarnation, ``None`` unless running.
        state: see ``ChildInfo``.
        monitor: the supervisor's monitor of the live incarnation, ``None`` unless running.
        last_ref: the newest incarnation there was, alive or not; ``None`` before the first.
        retry: the restart attempt that is due, ``None`` without one.
        in_a_row: restart attempts since the last stable run, for the backoff.
        restarts: restarts that succeeded, since the supervisor started.
        started_at: monotonic seconds of the newest good start, ``None`` before the first.
        last_exit: the reason of its newest end as it can be kept, ``None`` before the first.
        failure: why it is not up, for the reports; ``None`` while it is, or where no exception was the reason.
        active: the supervisor's set of children that run or are being restarted, which this one enters and leaves itself;
            ``None`` where that supervisor does not ask.
    """

    spec: ChildSpec
    comes_with_supervisor: bool = False
    ref: Any = None
    state: ChildState = "stopped"
    monitor: Any = None
    last_ref: Any = None
    retry: Any = None
    in_a_row: int = 0
    restarts: int = 0
    started_at: float | None = None
    last_exit: Reason | None = None
    failure: ExceptionText | None = None
    active: set[Child] | None = None

    @property
    def info(self) -> ChildInfo:
        """The row that ``which_children`` shows."""
        return ChildInfo(self.spec.id, self.ref, self.state, self.spec.type)

    def runs(self, ref: Any, monitor: Any, now: float) -> None:
        """A new incarnation is up; ``ref`` is ``None`` where its start raised ``Ignore``."""
        self.ref, self.monitor, self.retry, self.failure = ref, monitor, None, None
        self._is_now("stopped" if ref is None else "running")
        if ref is not None:
            self.last_ref, self.started_at = ref, now
        # One that is never started again lets go of what it was started with, as in OTP.
        if self.spec.restart == "temporary" and (self.spec.args or self.spec.kwargs):
            self.spec = replace(self.spec, args=(), kwargs={})

    def ended(self, state: ChildState, reason: Reason | None = None) -> None:
        """No incarnation is up any more; ``state`` says what happens next."""
        self.ref = self.monitor = None
        self._is_now(state)
        if reason is not None:
            self.last_exit = without_frames(reason)

    def _is_now(self, state: ChildState) -> None:
        self.state = state
        if self.active is not None:
            (self.active.discard if state == "stopped" else self.active.add)(self)
