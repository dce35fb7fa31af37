"""``Server``: a GenServer in Python, on Pykka's actor interface."""

from __future__ import annotations

import functools
import inspect
import queue
import sys
from collections.abc import Callable, Hashable
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar, cast

import pykka

from supervision.children import Backoff, ChildSpec, ShutdownSetting
from supervision.errors import AlreadyStarted, StartError, SupervisionError, check_arguments, check_count, check_seconds
from supervision.exits import Reason, Restart, is_orderly
from supervision.process import pykka_internals
from supervision.process.mailbox import Mailbox
from supervision.process.process import Process
from supervision.process.registry import check_name, current, whereis
from supervision.process.watch import HANDLER_WARNING_S, MAILBOX_WARNING
from supervision.runtime.dispatcher import POOL, OwnThread
from supervision.runtime.reports import is_interrupt, report
from supervision.runtime.waits import Reply, check_timeout

T = TypeVar("T")

HOOKS = ("on_start", "on_continue", "on_receive", "on_terminate")


class ClassOrInstance(Generic[T]):
    """A function that the class offers, under a name that means Pykka's method on an instance (``stop``)."""

    def __init__(self, on_class: T) -> None:
        self._on_class = on_class

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self._owner = owner

    def __get__(self, instance: object, owner: type) -> T:
        if instance is None:
            return self._on_class
        return cast(T, getattr(super(self._owner, instance), self._name))


class _Future(pykka.Future[Any]):
    """Pykka's future for a server's answers.

    Pykka's own holds a lock while it begins to wait, and the server's answer would wait for the thread that has been
    interrupted there. A pooled actor that waits for this one is stood in for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._answer = Reply()  # with the value, and what an exception is raised with
        self._is_computed = False  # made from another future, by `map` and the like
        self.asked: Process | None = None  # whose answer it is

    def get(self, *, timeout: float | None = None) -> Any:
        """The answer; in a handler of the very actor that owes it, an error at once, because it could never come."""
        if self._is_computed:
            return super().get(timeout=timeout)
        if self.asked is not None and self.asked.waits_for_caller() and not self._answer.wait(0.0):
            raise SupervisionError(
                f"{self.asked.ref} waits for its own answer, which could never come; do the work in place"
            )
        if not self._answer.wait(timeout):
            raise pykka.Timeout(f"{timeout} seconds")
        value, raised = self._answer.outcome()
        if raised is None:
            return value
        kind, error, traceback = raised
        raise (kind() if error is None else error).with_traceback(traceback)

    def set(self, value: Any = None) -> None:
        """Answer with a value."""
        self._set(value, None)

    def set_exception(self, exc_info: Any = None) -> None:
        """Answer with an exception."""
        self._set(None, exc_info or sys.exc_info())

    def _set(self, value: Any, raised: Any) -> None:
        if self._is_computed or not self._answer.set((value, raised)):
            raise queue.Full

    def set_get_hook(self, func: Callable[[float | None], Any]) -> None:
        """Have it computed at its first use."""
        if self._answer.wait(0.0):
            raise queue.Full
        self._is_computed = True
        super().set_get_hook(func)


class _ServerHooks:
    """A ``Server``: ``on_continue``, ``on_terminate``; alive to others until that is done, as a GenServer is."""

    def crashes_on_call_error(self, actor: Any) -> bool:
        return bool(actor.crash_on_call_error)

    def run_continue(self, actor: Any) -> None:
        actor.on_continue()

    def end_hook(self, reason: Reason) -> str:
        return "on_terminate"

    def run_end_hooks(self, process: Process, actor: Any, reason: Reason, failure: BaseException | None) -> None:
        if failure is not None and not is_orderly(reason):
            report("error", "server_crashed", actor=str(process.ref), reason=str(reason), exc_info=failure)
        actor.on_terminate(reason)


_HOOKS = _ServerHooks()


class Server(pykka_internals.PykkaActor):
    """An actor with OTP's guarantees; subclass it and write the hooks you need.

    Attributes:
        runtime: ``"pool"``: the actor occupies a thread of the shared pool only while it has mail, so a handler must not
            block on anything but ``call``. ``"thread"``: a daemon thread of its own.
        crash_on_call_error: whether an exception that ``call``/``ask`` hands to the caller also ends the server, as in OTP.
        mailbox_warning: messages in the mailbox above which ``long_mailbox`` is logged; ``None`` for never.
        handler_warning: seconds that a hook or handler has run for when ``long_handler`` is logged; ``None`` for never.

    A ``pykka.ThreadingActor`` class may have the last two as well. Set on ``Server`` they hold for all servers that say nothing
    else.

    Every hook runs on the pool or on the actor's own thread, never two at a time; ``__init__`` runs on the starter's thread, or
    on one for this start where the server is a child with a ``start_timeout``.

    Raises:
        TypeError: when a class is defined that has an ``async def`` hook, of its own, inherited or mixed in; or a warning's limit
            that is no number.
        ValueError: when a class is defined with a warning's limit that is negative.
    """

    runtime: ClassVar[Literal["pool", "thread"]] = "pool"
    crash_on_call_error: ClassVar[bool] = True
    mailbox_warning: ClassVar[int | None] = MAILBOX_WARNING
    handler_warning: ClassVar[float | None] = HANDLER_WARNING_S

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        check_count(f"{cls.__name__}.mailbox_warning", cls.mailbox_warning, or_none=True)
        if cls.handler_warning is not None:
            check_seconds(f"{cls.__name__}.handler_warning", cls.handler_warning)
        for hook in HOOKS:
            if is_async(getattr(cls, hook)) or is_async(inspect.getattr_static(cls, hook)):
                raise TypeError(
                    f"{cls.__name__}.{hook}: expected a plain function, got an async one, whose coroutine nobody would await: "
                    f'write `def {hook}`, and in it asyncio.run(...) under runtime = "thread", or '
                    "asyncio.run_coroutine_threadsafe(..., loop) with an event loop of yours"
                )

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        mailbox = Mailbox()
        ref = pykka_internals.make_parts(self, mailbox)
        Process(self, ref, mailbox, POOL if self.runtime == "pool" else OwnThread(type(self).__name__), _HOOKS)

    @classmethod
    def start_link(
        cls, *args: Any, name: str | None = None, start_timeout: float | None = None, **kwargs: Any
    ) -> pykka.ActorRef[Self]:
        """Start the server; returns once ``on_start`` is done. The calling thread runs ``__init__`` and waits.

        Args:
            *args: positional arguments of the constructor.
            name: a name to register it under, or ``None``.
            start_timeout: seconds for ``on_start``, ``None`` for no limit; past them the server is killed.
            **kwargs: keyword arguments of the constructor.

        Returns:
            The ref; ``None`` where ``on_start`` raised ``Ignore`` (OTP: ``ignore``).

        Raises:
            AlreadyStarted: the name has a live owner; ``.ref`` is it.
            StartError: ``.cause`` is what ``__init__`` or ``on_start`` raised, or a ``TimeoutError``; the name is free.
            TypeError: the name is no text, or the timeout no number.
            ValueError: the name is empty, or the timeout negative or not finite.
        """
        if name is not None:
            check_name(name)
            owner = whereis(name)
            if owner is not None:
                raise AlreadyStarted(name, owner)
        check_timeout(start_timeout, "start_timeout")
        what = name or cls.__name__
        try:
            server = cls(*args, **kwargs)
        except (AlreadyStarted, StartError):
            raise
        except BaseException as error:
            if is_interrupt(error):  # what a signal handler has raised meanwhile is none of the constructor's
                raise
            raise StartError(what, error) from error
        mailbox = getattr(server, "actor_inbox", None)
        if not isinstance(mailbox, Mailbox):
            raise StartError(what, TypeError(f"{cls.__name__}.__init__ must call super().__init__()"))
        # The last call of all: no caller would ever hold the ref of one that a signal handler keeps from being returned.
        ref: pykka.ActorRef[Self] = mailbox.process.start_link(what, name=name, timeout=start_timeout)
        return ref

    @classmethod
    def child_spec(
        cls,
        *args: Any,
        id: Hashable = None,  # noqa: A002 - OTP's word
        name: str | None = None,
        restart: Restart = "permanent",
        shutdown: ShutdownSetting = 5.0,
        significant: bool = False,
        start_timeout: float | None = None,
        backoff: Backoff | None = None,
        **kwargs: Any,
    ) -> ChildSpec[Self]:
        """The specification of this server as a child (Elixir, ``child_spec/1`` of a module that uses ``GenServer``).

        The names of ``ChildSpec``'s fields mean those, ``type`` included. An argument of the constructor that has such a name
        is given with ``ChildSpec(id, cls, kwargs={...})``.

        Args:
            *args: positional arguments of the constructor.
            id: its id under the supervisor; ``None``: the name, or the class's name where it has none.
            name: a name that every incarnation is registered under, or ``None``.
            restart: ``"permanent"`` always, ``"transient"`` after an abnormal end, ``"temporary"`` never.
            shutdown: seconds from the request to stop until it is abandoned, ``"infinity"``, or ``"brutal_kill"``.
            significant: whether its end counts for the supervisor's ``auto_shutdown``.
            start_timeout: seconds for each of its starts, ``None`` for no limit.
            backoff: a delay before each restart, or ``None``.
            **kwargs: keyword arguments of the constructor.

        Returns:
            The specification; nothing has started.

        Raises:
            TypeError: an argument that the constructor does not take, or a field of the wrong type. One that is missing is no
                mistake here: a ``DynamicSupervisor`` may put its ``extra_args`` before these.
            ValueError: a field out of range.
        """
        for field in ("start", "args", "kwargs"):
            if field in kwargs:
                raise TypeError(
                    f"{cls.__name__}.child_spec: expected the arguments of {cls.__name__} one by one, got {field}=, which is "
                    f"a field of the specification: write ChildSpec(id, {cls.__name__}, args, kwargs)"
                )
        fields = {field: kwargs.pop(field) for field in ("type",) if field in kwargs}
        check_arguments(f"{cls.__name__}.child_spec", *cls._starts_with(args, kwargs, name), in_part=True)
        return ChildSpec(
            name or cls.__name__ if id is None else id,
            cls,
            args,
            kwargs,
            restart=restart,
            shutdown=shutdown,
            significant=significant,
            name=name,
            backoff=backoff,
            start_timeout=start_timeout,
            **fields,
        )

    @classmethod
    def _starts_with(
        cls, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None
    ) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        """What takes a child's arguments, the constructor or a ``start_link`` of the class's own, and what it is called with."""
        if getattr(cls.start_link, "__func__", None) is Server.start_link.__func__:  # type: ignore[attr-defined]
            return cls, args, kwargs
        return cls.start_link, args, kwargs if name is None else {**kwargs, "name": name}

    def on_start(self) -> None:
        """Set up the server (OTP: ``init``). Keep it short.

        ``start_link`` waits for it, and so does a supervisor, which serves no request meanwhile.

        Raises:
            Ignore: there is to be no server; ``start_link`` returns ``None``.
            BaseException: the start fails, and ``start_link`` raises a ``StartError`` with this as its ``.cause``.
        """

    def on_continue(self) -> None:
        """Go on with the start, after ``start_link`` has returned and before any message (OTP: ``handle_continue``).

        Raises:
            Exit: the server ends with its reason.
            BaseException: a crash.
        """

    def on_receive(self, message: Any) -> Any:
        """Handle a message. One that is not overridden logs ``unexpected_message``, with the message's type only.

        Args:
            message: what was sent with ``call``, ``cast``, ``tell``, ``ask``, ``send_after``, or the ``Down`` of a monitor.

        Returns:
            The answer, under ``call`` and ``ask``; else it is dropped.

        Raises:
            Exit: the server ends with its reason; the caller gets a ``ServerDied``.
            Exception: goes to the caller, and ends the server unless ``crash_on_call_error`` is false. Without a caller it is a
                crash.
            BaseException: any other is a crash of this server only; the caller gets a ``ServerDied``.
        """
        report("warning", "unexpected_message", actor=str(self.actor_ref), message_type=type(message).__name__)

    def on_terminate(self, reason: Reason) -> None:
        """Clean up, once, after a good start, at every end but a kill (OTP: ``terminate``). What it raises is logged.

        Others still see the server as alive, and no successor starts before this has returned.

        Args:
            reason: why the server ends: ``NORMAL``, ``SHUTDOWN``, ``Shutdown(detail)`` or ``Crash(exception)``.
        """

    # --- Pykka's side -------------------------------------------------------------------------------------------------

    @staticmethod
    def _supervision_future() -> pykka.Future[Any]:
        return _Future()

    def _supervision_begin(self) -> None:
        """Pykka's ``start()``: it waits for no ``on_start``; but a supervisor does, if it is called in its start callable."""
        process = cast(Mailbox, self.actor_inbox).process
        starter = current()
        if starter is not None and starter.supervises:
            process.handshake_with(starter)
        pykka_internals.install()
        if process.is_ended:  # before Pykka entered it there, so that it could not be taken out
            pykka_internals.leave(process.ref)
        process.begin()


def is_async(hook: object) -> bool:
    """Whether a call gives something to be awaited or iterated over asynchronously, instead of doing anything."""
    by_call = getattr(type(hook), "__call__", None)  # noqa: B004 - of an object that stands for the function
    return any(_gives_awaitable(one) for one in (hook, by_call)) or any(is_async(one) for one in _passed_on_to(hook))


def _gives_awaitable(function: object) -> bool:
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)  # of one that `types.coroutine` has marked
    is_marked = isinstance(flags, int) and bool(flags & inspect.CO_ITERABLE_COROUTINE)
    return is_marked or inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)


def _passed_on_to(hook: object) -> list[object]:
    """What an object of the standard library hands its calls on to; a wrapper of a program's may run the coroutine."""
    if isinstance(hook, functools.partial | functools.partialmethod):
        return [hook.func]
    if isinstance(hook, functools.singledispatchmethod):
        return list(hook.dispatcher.registry.values())
    if isinstance(hook, classmethod | staticmethod):
        return [hook.__func__]
    return [hook.__wrapped__] if isinstance(hook, functools._lru_cache_wrapper) else []
