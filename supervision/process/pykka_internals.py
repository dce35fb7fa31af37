"""Pykka's private names: all that this package uses of them, each under a name of ours, and in no other module.

====================================================  ==================================================================
Pykka's                                               here, and what for
====================================================  ==================================================================
``_envelope.Envelope``                                `Envelope`: what lies in a mailbox
``messages._ActorStop``                               `StopRequest`: what ``ref.stop()`` sends
``Actor._handle_receive``                             `receiver_of`: from a message to ``on_receive``, or to an attribute
                                                      that a proxy asks for
``Actor._handle_failure``                             `log_crash`: Pykka's own record of a crash
``Actor._create_actor_inbox``, ``_create_future``,    `PykkaActor`: what Pykka asks a kind of actor for
``_start_actor_loop``
``Actor._actor_ref``                                  `make_parts`: what Pykka's constructor makes
``ActorRef._actor_weakref``                           `actor_of`: the actor behind a ref; `RefByName` has one at each use
``Actor._create_future`` of a class                   `new_future`: a future for an answer of such an actor
``ActorProxy._actor``, ``_attr_path``                 `ProxyByName`: what Pykka looks at in a proxy that it did not make
``_introspection``                                    `kinds_of`, `kind_at`: what a proxy takes an attribute for
``Actor._start_actor_loop`` of one actor              `replace_start`: it starts in another way, once
``ActorRegistry._actor_refs``, ``_actor_refs_lock``   `enter`, `leave`, `is_registered`, `move_to_end`, `when_pykka_enters`
====================================================  ==================================================================

**The registry.** Pykka keeps its actors in a list and removes by search, so stopping n actors takes n² steps (100,000
never ended). Here an ordered dictionary stands behind the few list operations that ``ActorRegistry`` uses.

What it answers stays the same but for the order: Pykka has its actors in start order, and ``stop_all`` goes through them from
the end. A supervisor moves to the end whenever it starts a child, and those above it move behind it: ``stop_all`` comes to
the top of a tree first, which stops what is below in its own order and time, and restarts nothing.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any, TypeAlias, cast

import pykka
from pykka import ActorDeadError, ActorRegistry, _envelope, _introspection, messages

from supervision.runtime.per_process import PerProcess, in_forked_child
from supervision.runtime.reports import harmless

Ref: TypeAlias = "pykka.ActorRef[Any]"

Path: TypeAlias = tuple[str, ...]

Envelope = _envelope.Envelope
Kind = _introspection.AttrInfo
"""What a proxy takes an attribute for: ``callable``, ``traversable``, or neither."""

StopRequest: type[Any] = messages._ActorStop

receiver_of: Callable[[Any], Callable[[Any], Any]] = attrgetter("_handle_receive")
"""The method of an actor that handles one message."""

_logger = logging.getLogger("pykka")


def actor_of(ref: Ref) -> Any:
    """The actor behind a ref, ``None`` where it is garbage."""
    return ref._actor_weakref()


def log_crash(actor: Any, error: BaseException) -> None:
    """Pykka's own record of a crash; it also takes the actor out of the registry."""
    with harmless:
        actor._handle_failure(type(error), error, error.__traceback__)


def replace_start(actor: Any, start: Callable[[], None]) -> None:
    """Have an actor that Pykka is about to start begin in another way."""

    def start_once() -> None:
        del actor.__dict__["_start_actor_loop"]
        start()

    actor.__dict__["_start_actor_loop"] = start_once


class PykkaActor(pykka.Actor):
    """What Pykka asks a kind of actor for, under names of ours, which a subclass fills in.

    They are long because they stand among the names that a program gives its own methods.
    """

    @staticmethod
    def _supervision_future() -> pykka.Future[Any]:
        """A future for an answer to ``ask``."""
        raise NotImplementedError

    def _supervision_begin(self) -> None:
        """Pykka has made the actor and entered it into its registry: have its first turn run."""
        raise NotImplementedError

    @staticmethod
    def _create_actor_inbox() -> Any:
        raise NotImplementedError  # never called, but by Pykka's constructor, which ours stands in for

    @classmethod
    def _create_future(cls) -> pykka.Future[Any]:
        return cls._supervision_future()

    def _start_actor_loop(self) -> None:
        self._supervision_begin()


class _ShownRef(pykka.ActorRef[Any]):
    """Pykka's ref, which says more to the person who explores it: the names of its actor, or that the actor has ended."""

    def __repr__(self) -> str:
        process = cast(Any, self.actor_inbox).process  # of our mailbox, which no other kind of actor has
        shown = "".join(f" {name!r}" for name in process.names) if self.is_alive() else ""
        return f"<ActorRef for {self.actor_class.__name__}{shown} ({self.actor_urn}){'' if self.is_alive() else ', ended'}>"


def make_parts(actor: PykkaActor, mailbox: Any) -> Ref:
    """Give an actor what Pykka's constructor would have, the mailbox as its inbox and as its stop flag; returns its ref."""
    actor.actor_urn = _new_urn()
    actor.actor_inbox = actor.actor_stopped = mailbox
    actor._actor_ref = _ShownRef(actor)
    return actor._actor_ref


_random = PerProcess(random.Random)
"""Not that of the module, which a program may seed: then two processes would give the same."""


def _new_urn() -> str:
    """A random one, as ``uuid.uuid4().urn`` is, which takes four times as long."""
    bits = _random.value.getrandbits(128) & ~(0xF000C << 60) | 0x40008 << 60  # the version, 4, and the variant
    digits = f"{bits:032x}"
    return f"urn:uuid:{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


# --- refs and proxies that find their actor at each use ---------------------------------------------------------------


def new_future(actor_class: type[pykka.Actor]) -> pykka.Future[Any]:
    """A future for an answer of an actor of that class."""
    return actor_class._create_future()


class RefByName(pykka.ActorRef[Any]):
    """A ref that is a name and finds its actor at each use (`supervision.named`).

    Attributes:
        name: the name.
        await_restart: whether a message waits for the successor while a supervisor is restarting the name.
    """

    name: str
    await_restart: bool

    def _supervision_ref(self) -> Ref:
        """The ref of the actor of this moment; raises ``ActorDeadError`` without one."""
        raise NotImplementedError

    def _supervision_actor(self) -> Any:
        """The actor of this moment, ``None`` without one."""
        raise NotImplementedError

    def _actor_weakref(self) -> Any:  # type: ignore[override]
        return self._supervision_actor()


class ProxyByName(pykka.ActorProxy[Any]):
    """A proxy that holds no actor, on such a ref."""

    def __init__(self, ref: RefByName, path: Path) -> None:
        self.actor_ref = ref
        self._attr_path = path

    @property
    def _actor(self) -> Any:
        return actor_of(self.actor_ref)


def kinds_of(actor: Any) -> dict[Path, Kind]:
    """What Pykka's introspection finds in an actor: each public attribute, and those of traversable ones."""
    found: dict[Path, Kind] = {}
    to_visit: list[tuple[Path, Any]] = [((), actor)]
    while to_visit:
        path, holder = to_visit.pop()
        attributes = _introspection.get_obj_dict(holder)
        for name in names_of(holder):
            kind = _kind(actor, (*path, name), attributes[name]) if name in attributes else None
            if kind is not None:
                found[*path, name] = kind
                if kind.traversable:
                    to_visit.append(((*path, name), getattr(holder, name, None)))  # taken away meanwhile: None
    return found


def kind_at(actor: Any, path: Path) -> Kind | None:
    """What it would find at one path, ``None`` for nothing; it looks at no attribute beside the way there.

    So two actors that hold a proxy of each other can both be asked whether that is traversable.
    """
    kind: Kind | None = None
    for length in range(1, len(path) + 1):
        if path[length - 1].startswith("_") or (kind is not None and not kind.traversable):
            return None
        try:
            attributes = _introspection.get_obj_dict(_introspection.get_attr_directly(actor, path[: length - 1]))
        except AttributeError:  # taken away meanwhile
            return None
        name = path[length - 1]
        kind = _kind(actor, path[:length], attributes[name]) if name in attributes else None
        if kind is None:
            return None
    return kind


def _kind(actor: Any, path: Path, value: Any) -> Kind | None:
    if isinstance(value, pykka.ActorProxy) and value._actor is actor and not value._attr_path:
        with harmless:
            _logger.warning(
                f"{actor} attribute {'.'.join(path)!r} is a proxy to itself. "
                f"Consider making it private by renaming it to {'_' + path[-1]!r}."
            )
        return None
    is_traversable = any(getattr(value, mark, False) is True for mark in ("_pykka_traversable", "pykka_traversable"))
    return Kind(callable(value), is_traversable)


def names_of(value: Any) -> list[str]:
    """The public attributes of an actor, or of what is below it."""
    return [name for name in dir(value) if not name.startswith("_")]


# --- the registry -----------------------------------------------------------------------------------------------------


_ABSENT = object()


class _IndexedRefs:
    """The list operations of ``ActorRegistry``, each in constant time. Its lock, Pykka's own, guards it.

    A ref that is a name stands for the actor that has the name now: kept as it is, it would fail every search once none has.
    """

    def __init__(self, refs: Iterable[Ref]) -> None:
        self._refs: dict[Ref, None] = dict.fromkeys(refs)

    def append(self, ref: Ref) -> None:
        """Pykka is starting an actor on this thread, or a program enters a ref by hand."""
        if isinstance(ref, RefByName):
            ref = ref._supervision_ref()
        behind = [one for look in _lookers for one in look(ref)]
        self.enter(ref, behind)

    def enter(self, ref: Ref, behind: Iterable[Ref]) -> None:
        self._refs[ref] = None
        self.move_to_end(behind)

    def move_to_end(self, refs: Iterable[Ref]) -> None:
        for ref in refs:
            if ref in self._refs:  # one that is ending is not there any more
                del self._refs[ref]
                self._refs[ref] = None

    def remove(self, ref: Ref) -> None:
        if not self.discard(ref._supervision_ref() if isinstance(ref, RefByName) else ref):
            raise ValueError(ref)

    def discard(self, ref: Ref) -> bool:
        """Take it out; returns whether it was there."""
        return self._refs.pop(ref, _ABSENT) is None

    def clear(self) -> None:
        self._refs.clear()

    def __contains__(self, ref: object) -> bool:
        try:
            return (ref._supervision_ref() if isinstance(ref, RefByName) else ref) in self._refs
        except ActorDeadError:
            return False

    def __iter__(self) -> Iterator[Ref]:
        return iter(self._refs)

    def __len__(self) -> int:
        return len(self._refs)

    def __getitem__(self, key: Any) -> Any:
        return list(self._refs)[key]


_lookers: list[Callable[[Ref], Iterable[Ref]]] = []


def install() -> None:
    """Put the dictionary in place of Pykka's list, unless it is there; a program that sets the list anew sets it aside."""
    with ActorRegistry._actor_refs_lock:
        _refs()


def _refs() -> _IndexedRefs:
    """The dictionary; the lock is held."""
    refs: Any = ActorRegistry._actor_refs
    if isinstance(refs, _IndexedRefs):
        return refs
    made: Any = _IndexedRefs(refs)
    ActorRegistry._actor_refs = made
    return cast(_IndexedRefs, made)


def when_pykka_enters(look: Callable[[Ref], Iterable[Ref]]) -> None:
    """Have a function called with every ref that Pykka itself is about to enter, before the actor's own thread starts.

    Args:
        look: called on the thread that starts the actor; returns the refs that move to the end, behind the new one.
    """
    _lookers.append(look)


def enter(ref: Ref, behind: Iterable[Ref]) -> None:
    """Make an actor visible to ``ActorRegistry``, and have others move behind it; constant time."""
    with ActorRegistry._actor_refs_lock:
        _refs().enter(ref, behind)
    _log("Registered %s", ref)


def leave(ref: Ref) -> None:
    """Take an actor out; constant time, and silent if it is not there."""
    with ActorRegistry._actor_refs_lock:
        if not _refs().discard(ref):
            return
    _log("Unregistered %s", ref)


def is_registered(ref: Ref) -> bool:
    """Whether an actor is there: started, not ended, and of this process."""
    with ActorRegistry._actor_refs_lock:
        return ref in _refs()


def move_to_end(refs: Iterable[Ref]) -> None:
    """Move actors behind all others, in the order in which they are given."""
    with ActorRegistry._actor_refs_lock:
        _refs().move_to_end(refs)


def _log(text: str, ref: Ref) -> None:
    """Pykka's record."""
    if _logger.isEnabledFor(logging.DEBUG):
        with harmless:
            _logger.debug(text, ref)


def _start_anew() -> None:
    # The inherited lock may be held by a thread that does not exist in the child, and no inherited actor lives here.
    ActorRegistry._actor_refs_lock = threading.RLock()
    ActorRegistry._actor_refs.clear()


in_forked_child(_start_anew)
