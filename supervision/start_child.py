"""Starting one child: what a supervisor does with a specification."""

from __future__ import annotations

from typing import Any

import pykka

from supervision.child_spec import ChildSpec
from supervision.errors import AlreadyStarted, StartError
from supervision.exits import NOPROC, Ignore
from supervision.flags import SupervisorFlags, require_children
from supervision.monitors import Monitor
from supervision.process import await_up, construct, launch, life_of, names
from supervision.registry import refuse_stranger, register
from supervision.server import Server
from supervision.terminate_child import Departure

__all__ = ["accepted", "check_start", "start_child", "watch_child"]


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
