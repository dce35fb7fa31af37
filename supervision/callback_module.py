"""A supervisor of one's own (OTP: a callback module): a class that says its children or options in a class method ``init``.

``init`` runs in ``on_start``: on the supervisor's own thread, under its name, at each of its starts, as in OTP. So what it raises
is a ``StartError``, ``Ignore`` declines, and a hang in it is a hang of the start.

Such a class has another ``start_link`` and ``child_spec`` than ``Supervisor``: they take the arguments of ``init``. A descriptor
chooses (`TwoForms`), so that ``super().start_link(...)`` in a class with an ``init`` finds the right one; and overloads say the
same to type checkers, which tell the two by whether the class has an ``init``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, Protocol, Self, TypeVar

import pykka

from supervision.children import ChildSpec, ShutdownSetting
from supervision.errors import check_arguments
from supervision.server import Server, is_async

A = TypeVar("A", bound=pykka.Actor)


class WithInit(Protocol[A]):
    """For type checkers: a class with an ``init``, and ``A`` is that class."""

    def init(self, *args: Any, **kwargs: Any) -> Any:
        """The class's own."""

    def start(self, *args: Any, **kwargs: Any) -> pykka.ActorRef[A]:
        """Pykka's, which says what ``A`` is."""


class TwoForms(classmethod):  # type: ignore[type-arg]
    """A class method that is another one on a class with an ``init``."""

    def __init__(self, plain: Any, with_init: str) -> None:
        super().__init__(plain.__func__)
        self._with_init = with_init

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return getattr(owner, self._with_init) if has_init(owner) else super().__get__(instance, owner)


def with_init(form: str) -> Callable[[Any], Any]:
    """Decorate a class method that is the one of that name on a class with an ``init``, where ``super()`` finds it, too."""
    return lambda plain: TwoForms(plain, form)


def has_init(cls: type) -> bool:
    """Whether a class says its children or options in an ``init``."""
    return getattr(cls, "init", None) is not None


def check_options(where: str, options: Any, known: Collection[str]) -> dict[str, Any]:
    """The options that an ``init`` has returned; raises ``TypeError`` for what is none."""
    if not isinstance(options, Mapping):
        raise TypeError(
            f"{where}: expected a dict of options, with some of {', '.join(known)}, got a value of type {type(options).__name__}"
        )
    unknown = ", ".join(str(name) for name in options if name not in known)
    if unknown:
        raise TypeError(f"{where}: expected no options but {', '.join(known)}, got {unknown}")
    return dict(options)


class CallbackModule(Server):
    """What a supervisor does with an ``init``, where its class has one."""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        init = inspect.getattr_static(cls, "init", None)
        if init is not None and (not isinstance(init, classmethod | staticmethod) or is_async(cls.init)):  # type: ignore[attr-defined]
            got = "an async one" if is_async(cls.init) else f"a {type(init).__name__}"  # type: ignore[attr-defined]
            raise TypeError(
                f"{cls.__name__}.init: expected a plain classmethod, got {got}: write @classmethod, def init(cls, ...)"
            )

        if init is not None:
            check_arguments(f"{cls.__name__}.__init__ of a supervisor with an init", cls, (), {"init": None})

    def __init__(self, init: Callable[[], Any] | None = None) -> None:
        super().__init__()
        self._init = init

    # --- client API of a class with an `init` ---------------------------------------------------------------------------

    @classmethod
    def _start_with_init(cls, *args: Any, name: str | None = None, **kwargs: Any) -> pykka.ActorRef[Self]:
        """Start the supervisor, with what its ``init`` says (OTP, ``supervisor:start_link/3``).

        Args:
            *args: positional arguments of ``init``, which runs on the supervisor's own thread, at each of its starts.
            name: a name to register it under, or ``None``; it is registered before ``init`` runs.
            **kwargs: keyword arguments of ``init``.

        Returns:
            Its ref, once all children are up; ``None`` where ``init`` raised ``Ignore``.

        Raises:
            StartError: ``init`` raised ``.cause``, or returned what cannot be; or a child did not start.
            AlreadyStarted: the supervisor's name is taken.
            TypeError: an argument that ``init`` does not take, or one that is missing, before anything starts.
        """
        check_arguments(f"{cls.__name__}.start_link", cls.init, args, kwargs)  # type: ignore[attr-defined]
        return super().start_link(init=functools.partial(cls.init, *args, **kwargs), name=name)  # type: ignore[attr-defined]

    @classmethod
    def _child_spec_with_init(
        cls,
        *args: Any,
        id: Hashable = None,  # noqa: A002 - OTP's word
        shutdown: ShutdownSetting = "infinity",
        **kwargs: Any,
    ) -> ChildSpec[Self]:
        """The specification of the supervisor as a child, with the arguments of its ``init``.

        Args:
            *args: positional arguments of ``init``.
            id: its id under the other supervisor; ``None``: the name, or the class's name where it has none.
            shutdown: seconds that it has to end; by default as long as its children take.
            **kwargs: keyword arguments of ``init``; and the other fields of a ``ChildSpec``, as for a ``Server``.

        Returns:
            The specification; nothing has started.

        Raises:
            TypeError: an argument that ``init`` does not take, or a field of the wrong type.
            ValueError: a field out of range.
        """
        return super().child_spec(*args, id=id, shutdown=shutdown, **{"type": "supervisor", **kwargs})

    @classmethod
    def _starts_with(
        cls, args: tuple[Any, ...], kwargs: dict[str, Any], name: str | None
    ) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
        start_link: Any = cls.start_link
        if start_link.__func__ is CallbackModule._start_with_init.__func__:  # type: ignore[attr-defined]
            return cls.init, args, kwargs  # type: ignore[attr-defined]
        return super()._starts_with(args, kwargs, name)

    def _take_options(self, answer: Any) -> None:
        """Take what ``init`` has returned; raises ``TypeError`` or ``ValueError`` for what cannot be."""
        raise NotImplementedError

    # --- callbacks ----------------------------------------------------------------------------------------------------

    def on_start(self) -> None:
        """Ask the ``init`` of a class that has one."""
        init, self._init = self._init, None
        if init is not None:
            self._take_options(init())
