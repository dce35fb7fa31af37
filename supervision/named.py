"""``named``: a ref that is a name, and proxies on it, which follow the restarts of its actor.

Nothing here holds an incarnation: the name is looked up at every use (OTP: a registered name, or ``{via, Registry, Name}``).
A proxy remembers which attributes of an actor are methods, and of which incarnation it knows that.
"""

from __future__ import annotations

from typing import Any, cast

import pykka
from pykka import ActorDeadError, ThreadingFuture, messages

from supervision.errors import NoProcess, ServerRestarting, SupervisionError
from supervision.process.process import STARTING, Process
from supervision.process.pykka_internals import (
    Kind,
    Path,
    ProxyByName,
    RefByName,
    kind_at,
    kinds_of,
    new_future,
)
from supervision.process.registry import Succession, check_name, lookup, owner_now

SUCCESSOR_S = 5.0
"""Seconds to wait for a successor where the caller has no timeout to give."""

TRAVERSABLE = "pykka_traversable"
"""The attribute that Pykka asks each public attribute of an actor for, when it makes a proxy of that actor."""


def named(name: str, await_restart: bool = False) -> pykka.ActorRef[Any]:
    """A ref that is the name: each use of it goes to the actor that has the name then (OTP: a registered name).

    It may be made before there is such an actor, and keeps none alive. It is used wherever a ref is, on any thread:

    - ``tell``, ``ask``, ``proxy()``, ``call``, ``cast`` and timers follow restarts. Proxies, their methods and their traversable
      attributes may be kept.
    - ``stop``, ``kill``, ``monitor``, ``register`` and the functions of supervisors mean the incarnation of that moment. So do
      ``actor_urn``, ``actor_inbox`` and ``actor_stopped``, which raise ``ActorDeadError`` where there is none. ``actor_class`` is
      then the class of the last incarnation that the ref or its proxy has seen, because programs name a dead actor by its class.
    - While no actor has the name, ``is_alive()`` is false, ``tell`` and ``ask`` raise ``ActorDeadError``, and ``call`` raises
      ``NoProcess``. With ``block=False`` the future of ``ask`` raises it.
    - A proxy then does what Pykka's does whose actor has died: the future of each use raises ``ActorDeadError``. It knows the
      methods of the incarnations that it has seen. An attribute that none of them had raises ``ActorDeadError`` itself.

    Two refs of one name are equal, and so are two proxies of it. Pickled or copied, a ref or proxy is the name still: it means
    the actor that has the name in the process where it is used.

    Args:
        name: the name.
        await_restart: while a supervisor is restarting the name, wait for the successor and send the message then, instead of
            raising. ``ask`` and ``call`` wait within their timeout, without one until the supervisor gives up. ``tell``,
            ``ask(block=False)`` and so the methods and attributes of a proxy wait for at most 5 s on the calling thread, which
            keeps the order of its messages. Where there is no successor in time, the errors are those above.

    Returns:
        The ref.

    Raises:
        TypeError: the name is no text, or ``await_restart`` no bool.
        ValueError: the name is empty.
    """
    check_name(name)
    if not isinstance(await_restart, bool):
        raise TypeError(f"await_restart: expected a bool, got {await_restart!r}")
    return NamedRef(name, await_restart)


class NoIncarnation(ActorDeadError, AttributeError):
    """No actor has the name, so that a ref of it has nothing that belongs to one actor; ``hasattr`` says no."""


class NamedRef(RefByName):
    """A ref that is a name; ``named`` makes it.

    Attributes:
        name: the name.
        await_restart: whether it waits while a supervisor is restarting the name.
    """

    def __init__(self, name: str, await_restart: bool) -> None:
        self.name = name
        self.await_restart = await_restart
        self._seen_class: Any = None  # of the last incarnation that was looked at; any thread sets it

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedRef) and self.name == other.name

    def __hash__(self) -> int:
        return hash((NamedRef, self.name))

    def __reduce__(self) -> tuple[Any, ...]:
        return named, (self.name, self.await_restart)

    def __str__(self) -> str:
        process = lookup(self.name)
        return repr(self.name) if process is None else str(process.ref)

    def __repr__(self) -> str:
        process = lookup(self.name)
        return f"<ActorRef named {self.name!r}: {'no live actor' if process is None else process.ref}>"

    # --- follows restarts ---------------------------------------------------------------------------------------------

    def is_alive(self) -> bool:
        """Whether an actor has the name, and takes messages."""
        process = lookup(self.name)
        return process is not None and not process.mailbox.closed

    def tell(self, message: Any) -> None:
        """Send a message to the actor that has the name now.

        Raises:
            ActorDeadError: there is none.
        """
        process = self._owner()
        if process is None or not process.mailbox.offer(message):
            succession = self._succession(SUCCESSOR_S)
            while not self._next_owner(succession).mailbox.offer(message):
                pass  # it has ended since

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """Send a message to the actor that has the name now, and wait for the answer, or get a future of it.

        Args:
            message: what ``on_receive`` gets.
            block: whether to wait.
            timeout: seconds to wait, ``None`` for as long as it takes.

        Raises:
            ActorDeadError: there is none, or it ended before it answered. Without ``block`` the future raises this and the
                next two.
            pykka.Timeout: no answer in time.
            Exception: what the handler raised.
        """
        process = self._owner()
        if process is not None:
            future = _future_of(process)
            if process.mailbox.offer(message, future):
                return future.get(timeout=timeout) if block else future
        succession = self._succession(timeout if block else SUCCESSOR_S)
        try:
            while True:
                process = self._next_owner(succession)
                future = _future_of(process)
                if process.mailbox.offer(message, future):
                    break
        except (ActorDeadError, SupervisionError) as error:
            if block:
                raise
            future = ThreadingFuture()
            future.set_exception((type(error), error, None))
        left_s = timeout if succession is None else succession.left_s
        return future.get(timeout=left_s) if block else future

    def proxy(self) -> pykka.ActorProxy[Any]:
        """A proxy that finds its actor at each use; it may be made before there is one."""
        return NamedProxy(self)

    # --- means the incarnation of this moment -------------------------------------------------------------------------

    def stop(self, *, block: bool = True, timeout: float | None = None) -> Any:
        """Pykka's ``stop``, of the actor that has the name now; false where there is none, or the future says so."""
        process = lookup(self.name)
        if process is not None:
            return process.ref.stop(block=block, timeout=timeout)
        future: pykka.Future[bool] = ThreadingFuture()
        future.set(False)
        return future.get() if block else future

    @property
    def actor_class(self) -> Any:  # type: ignore[override]
        """The class of the actor that has the name now, or of the last one that this ref or its proxy has seen.

        A dead ref of Pykka's still has its class, and error handlers write it into the log: they must not fail there.

        Raises:
            ActorDeadError: it has seen none.
        """
        process = lookup(self.name)
        if process is not None:
            self._saw(process)
        if self._seen_class is None:
            raise self._no_incarnation()
        return self._seen_class

    @property
    def actor_urn(self) -> Any:  # type: ignore[override]
        """Its URN; raises ``ActorDeadError`` where no actor has the name, as the next two do."""
        return self._supervision_ref().actor_urn

    @property
    def actor_inbox(self) -> Any:  # type: ignore[override]
        """Its mailbox."""
        return self._supervision_ref().actor_inbox

    @property
    def actor_stopped(self) -> Any:  # type: ignore[override]
        """What is set when it has stopped."""
        return self._supervision_ref().actor_stopped

    def _supervision_ref(self) -> pykka.ActorRef[Any]:
        process = lookup(self.name)
        if process is None:
            raise self._no_incarnation()
        return process.ref

    def _no_incarnation(self) -> NoIncarnation:
        return NoIncarnation(f"{self} not found")

    def _saw(self, process: Process) -> None:
        self._seen_class = process.ref.actor_class

    def _supervision_actor(self) -> Any:
        process = lookup(self.name)
        return None if process is None else process.actor

    # --- the owner of the name ----------------------------------------------------------------------------------------

    def _owner(self) -> Process | None:
        """The process that has the name; ``None`` for one that may not come up, where a successor is to be waited for."""
        process = lookup(self.name)
        return None if self.await_restart and process is not None and process.phase is STARTING else process

    def _succession(self, timeout: float | None) -> Succession | None:
        return Succession(self.name, timeout) if self.await_restart else None

    def _next_owner(self, succession: Succession | None) -> Process:
        """The owner where there was none, or one that takes no more messages: it has come up since, or is waited for.

        Raises:
            ActorDeadError: there is none, or none in time.
            SupervisionError: a wait could only deadlock.
        """
        try:
            return owner_now(self.name) if succession is None else succession.await_owner()
        except ServerRestarting as error:
            raise ActorDeadError(f"{self.name!r} not found: {error}") from None
        except NoProcess:
            raise ActorDeadError(f"{self.name!r} not found") from None


def _future_of(process: Process) -> Any:
    """A future for an answer of that actor."""
    future: Any = new_future(process.ref.actor_class)
    if hasattr(future, "asked"):
        future.asked = process
    return future


class NamedProxy(ProxyByName):
    """A proxy on a ref that is a name. Its private names are few: all others are the actor's."""

    def __init__(self, ref: NamedRef, path: Path = (), kinds: _Kinds | None = None) -> None:
        super().__init__(ref, path)
        self._path = path
        self._kinds = _Kinds(ref) if kinds is None else kinds
        self._methods: dict[str, pykka.CallableProxy[Any]] = {}
        self._below: dict[str, NamedProxy] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, NamedProxy) and (self.actor_ref, self._path) == (other.actor_ref, other._path)

    def __hash__(self) -> int:
        return hash((self.actor_ref, self._path))

    def __reduce__(self) -> tuple[Any, ...]:
        return NamedProxy, (self.actor_ref, self._path)

    def __dir__(self) -> list[str]:
        return sorted({*object.__dir__(self), *self._kinds.names(self._path)})

    def __getattr__(self, name: str) -> Any:
        """A method or a traversable attribute of the actor, to be kept at will; a future of any other.

        Raises:
            AttributeError: the actor has no such attribute.
            ActorDeadError: no actor has the name, and none that had it was asked for this attribute.
        """
        path = (*self._path, name)
        kind = self._kinds.of(path)
        if kind is None:
            raise AttributeError(f"{self} has no attribute {name!r}")
        if kind.callable:
            method = self._methods.get(name)
            if method is None:
                method = self._methods[name] = pykka.CallableProxy(actor_ref=self.actor_ref, attr_path=path)
            return method
        if kind.traversable:
            below = self._below.get(name)
            if below is None:
                below = self._below[name] = NamedProxy(cast(NamedRef, self.actor_ref), path, self._kinds)
            return below
        return self.actor_ref.ask(messages.ProxyGetAttr(attr_path=path), block=False)


class _Kinds:
    """What the attributes of the name's actor are, for a proxy and all below it; looked at once in each incarnation.

    Any number of threads use it. Each entry says of which incarnation it is, and is replaced as a whole.
    """

    __slots__ = ("_known", "_looked_at", "_name", "_ref")

    def __init__(self, ref: NamedRef) -> None:
        self._ref = ref
        self._name = ref.name
        self._known: dict[Path, tuple[str, Kind]] = {}
        self._looked_at: str | None = None  # the URN of the incarnation that was looked at last, when it was up
        process = lookup(self._name)
        if process is not None:
            self._look(process)

    def of(self, path: Path) -> Kind | None:
        """What the attribute at that path is; ``None`` where the actor has none.

        While there is no actor, and while one is starting and has not got the attribute yet, the last incarnation answers.

        Raises:
            ActorDeadError: it had none either.
        """
        process = lookup(self._name)
        known = self._known.get(path)
        if known is not None and (process is None or known[0] == process.ref.actor_urn):
            return known[1]
        if path[-1].startswith("_") or path[-1] == TRAVERSABLE:
            # Pykka asks for these while it makes a proxy of an actor that holds this one. It needs an answer, and no look at all
            # attributes, of which one may be a proxy of that actor.
            return None if process is None else self._look_for(process, path)
        if known is None and self._ref.await_restart and (process is None or process.phase is STARTING):
            process = self._ref._next_owner(self._ref._succession(SUCCESSOR_S))
        if process is not None:
            was_starting = process.phase is STARTING  # first this, then the look: ``on_start`` may set it in between
            if self._looked_at != process.ref.actor_urn:
                self._look(process)
            kind = self._look_for(process, path)
            if kind is not None or not (was_starting or process.is_ended):
                return kind
            if process.phase is not STARTING and not process.is_ended:  # it is up since
                return self.of(path)
        if known is not None:
            return known[1]
        if process is None or process.is_ended:
            raise ActorDeadError(f"{self._name!r} not found")
        raise ActorDeadError(f"{self._ref} is starting, and has no attribute {'.'.join(path)!r} yet")

    def names(self, path: Path) -> list[str]:
        """The public attributes there; without an actor, those that are known."""
        process = lookup(self._name)
        found = None if process is None else self._look(process)
        return [one[len(path)] for one in found or list(self._known) if one[: len(path)] == path != one]

    # The next two are functions of their own so that the frame that an exception keeps holds no actor.

    def _look(self, process: Process) -> list[Path]:
        actor, urn = process.actor, process.ref.actor_urn
        if actor is None:  # it has ended since
            return []
        self._ref._saw(process)
        was_starting = process.phase is STARTING
        found = {path: (urn, kind) for path, kind in kinds_of(actor).items()}
        # What is known of its predecessor goes when it is up: nothing piles up over many restarts.
        self._known = {**self._known, **found} if was_starting else found
        self._looked_at = None if was_starting else urn
        return list(found)

    def _look_for(self, process: Process, path: Path) -> Kind | None:
        actor, urn = process.actor, process.ref.actor_urn
        kind = None if actor is None else kind_at(actor, path)
        if kind is not None:
            self._known[path] = urn, kind
        return kind
