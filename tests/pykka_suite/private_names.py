"""Pykka's private names, looked at one by one: each that `supervision` uses is there, and is what we take it for.

A release may change them without a word, so what is said of one that is not as expected names the release.
`python -m pykka_suite.private_names` looks at the Pykka that is imported, and says what it finds.
"""

from __future__ import annotations

import ast
import inspect
import logging
import queue
import sys
import textwrap
import threading
import weakref
from collections.abc import Callable
from importlib import metadata
from typing import Any

import pykka
from pykka import Actor, ActorRef, ActorRegistry, ThreadingActor

from supervision.process import pykka_internals

DEADLINE_S = 5.0

CHECKS: dict[str, Callable[[], object]] = {}
"""By the private name: raises what is wrong with it, an ``AssertionError`` with text or whatever comes."""


def check(name: str) -> Callable[[Callable[[], object]], Callable[[], object]]:
    def add(function: Callable[[], object]) -> Callable[[], object]:
        CHECKS[name] = function
        return function

    return add


def fault_of(name: str) -> str | None:
    """What is wrong with a private name in the Pykka that is imported; ``None`` where nothing is."""
    try:
        CHECKS[name]()
    except Exception as error:
        release = metadata.version("pykka")
        return (
            f"pykka {release} has changed {name}: {type(error).__name__}: {error}. Mend "
            "supervision/process/pykka_internals.py, or bound the dependency below that release: tests/pykka_suite/README.md"
        )
    return None


class Plain(ThreadingActor):
    """As a program has it."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        return message


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


def expect(what: str, got: object, wanted: object) -> None:
    assert got == wanted, f"expected {what} {_shown(wanted)}, got {_shown(got)}"


def _shown(value: object) -> str:
    return repr(sorted(value) if isinstance(value, set) else value)


# --- messages ---------------------------------------------------------------------------------------------------------


@check("_envelope.Envelope")
def _() -> None:
    from pykka._envelope import Envelope

    envelope: Any = Envelope("message", "asker")
    expect("a message and whom to answer", (envelope.message, envelope.reply_to), ("message", "asker"))
    assert Envelope("message").reply_to is None, "expected no asker where none is given"


@check("messages._ActorStop")
def _() -> None:
    from pykka.messages import _ActorStop

    ref, seen = Plain.start(), []
    ref.actor_inbox = _Tap(ref.actor_inbox, seen)  # type: ignore[assignment]
    assert ref.stop(timeout=DEADLINE_S)
    expect("ref.stop() to send one", [type(envelope.message) for envelope in seen], [_ActorStop])
    assert isinstance(_ActorStop(), _ActorStop), "expected one to be made without arguments"


class _Tap:
    def __init__(self, inbox: Any, seen: list[Any]) -> None:
        self._inbox = inbox
        self._seen = seen

    def put(self, envelope: Any) -> None:
        self._seen.append(envelope)
        self._inbox.put(envelope)


# --- an actor ---------------------------------------------------------------------------------------------------------


@check("Actor.__init__")
def _() -> None:
    """`make_parts` stands in for it."""
    actor = Plain()
    expect("the attributes", set(vars(actor)), {"actor_urn", "actor_inbox", "actor_stopped", "_actor_ref"})
    assert isinstance(actor.actor_stopped, threading.Event), "expected actor_stopped to be an Event"


@check("Actor._actor_ref")
def _() -> None:
    actor = Plain()
    assert actor.actor_ref is actor._actor_ref, "expected actor_ref to return it"
    assert "_actor_ref" in Actor.__annotations__, "expected it to be declared"


@check("Actor._handle_receive")
def _() -> None:
    expect("the parameters", parameters(Actor._handle_receive), ["self", "message"])
    actor = Plain()
    actor.field = 1  # type: ignore[attr-defined]
    expect("what on_receive returns", actor._handle_receive("message"), "message")
    expect("the attribute", actor._handle_receive(pykka.messages.ProxyGetAttr(attr_path=("field",))), 1)


@check("Actor._handle_failure")
def _() -> None:
    actor, records = Plain(), []
    ActorRegistry.register(actor.actor_ref)
    handler = logging.Handler()
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("pykka")
    logger.addHandler(handler)
    try:
        error = ValueError("it")
        actor._handle_failure(ValueError, error, None)
    finally:
        logger.removeHandler(handler)
    shown = [record.exc_info for record in records if record.levelno == logging.ERROR]
    expect("a record at ERROR with the exception", shown, [(ValueError, error, None)])
    assert actor.actor_ref not in ActorRegistry.get_all(), "expected it to take the actor out of the registry"
    assert actor.actor_stopped.is_set(), "expected it to set actor_stopped"


@check("Actor._create_actor_inbox, _create_future, _start_actor_loop")
def _() -> None:
    names = {"_create_actor_inbox", "_create_future", "_start_actor_loop"}
    expect("what a kind of actor fills in", set(Actor.__abstractmethods__), names)
    assert type(Plain._create_actor_inbox()) is queue.Queue, "expected ThreadingActor's inbox to be a queue.Queue"
    future = Plain._create_future()
    assert isinstance(future, pykka.Future), "expected a Future"
    assert isinstance(type(future)(), pykka.Future), "expected one to be made without arguments, as ref.stop() does"


@check("Actor._start_actor_loop of one actor")
def _() -> None:
    """`replace_start` puts another in its place, between the entry into the registry and the start."""
    order: list[str] = []

    class Other(Plain):
        def _start_actor_loop(self) -> None:
            order.append("start" if self.actor_ref in ActorRegistry.get_all() else "start, not registered")

    ref = Other.start()
    ActorRegistry.unregister(ref)
    expect("start() to register the actor and then to start it", order, ["start"])
    assert getattr(Actor.start, "__func__", None) is not None, "expected start to be a class method"


@check("Thread._target of an actor's thread")
def _() -> None:
    """`calls.py` knows by it that an unmanaged actor calls itself."""

    class Caller(Plain):
        def on_receive(self, message: Any) -> bool:
            return getattr(getattr(threading.current_thread(), "_target", None), "__self__", None) is self

    ref = Caller.start()
    try:
        assert ref.ask(None, timeout=DEADLINE_S), "expected the thread to run a method of the actor"
    finally:
        ref.stop(timeout=DEADLINE_S)


# --- a ref ------------------------------------------------------------------------------------------------------------


@check("ActorRef._actor_weakref")
def _() -> None:
    actor = Plain()
    ref: Any = ActorRef(actor)
    expect("the parameters", parameters(ActorRef.__init__), ["self", "actor"])
    names = {"_actor_weakref", "actor_class", "actor_urn", "actor_inbox", "actor_stopped"}
    expect("the attributes", set(vars(ref)), names)
    assert isinstance(ref._actor_weakref, weakref.ref), (
        "expected a weak reference, because a ref must keep no dead actor"
    )
    assert ref._actor_weakref() is actor, "expected it to be the actor's"


@check("ActorRef.tell, ask, stop")
def _() -> None:
    """What a ref does with its inbox: it looks at ``actor_stopped``, and calls nothing but ``put``."""
    used = _attributes_of(ActorRef, "actor_inbox")
    expect("of the inbox", used, {"put"})
    expect("of the flag", _attributes_of(ActorRef, "actor_stopped"), {"is_set"})


# --- a proxy ----------------------------------------------------------------------------------------------------------


@check("ActorProxy._actor, _attr_path")
def _() -> None:
    """Pykka compares proxies by them, and sets attributes at that path; `ProxyByName` has them for its own."""
    ref = Plain.start()
    try:
        proxy: Any = ref.proxy()
        expect("the actor and the path", (proxy._actor, proxy._attr_path), (ref._actor_weakref(), ()))
        names = {"actor_ref", "_actor", "_attr_path", "_known_attrs", "_actor_proxies", "_callable_proxies"}
        expect("the attributes", set(vars(proxy)), names)
        expect(
            "what setting an attribute uses", _fields_in(pykka.ActorProxy, "__setattr__"), {"_attr_path", "actor_ref"}
        )
        expect("what a method uses", _fields_in(pykka.CallableProxy, "__call__", "defer"), {"_attr_path", "actor_ref"})
    finally:
        ref.stop(timeout=DEADLINE_S)


@check("_introspection")
def _() -> None:
    """`kinds_of` and `kind_at` find what Pykka's own proxy would."""
    from pykka import _introspection

    class Inner:
        pykka_traversable = True
        field = 1

        def method(self) -> None: ...

    class Outer(Plain):
        field = 1
        inner = Inner()
        _hidden = 1
        read = property(lambda self: 1 / 0)
        by_class = classmethod(lambda cls: None)

    ref = Outer.start()
    try:
        actor: Any = ref._actor_weakref()
        found: dict[Any, Any] = ref.proxy()._known_attrs
        expect("the same attributes of the same kinds", pykka_internals.kinds_of(actor), found)
        expect("each of the same kind", {path: pykka_internals.kind_at(actor, path) for path in found}, found)
        expect("what is known of each", _introspection.AttrInfo._fields, ("callable", "traversable"))
    finally:
        ref.stop(timeout=DEADLINE_S)


# --- the registry -----------------------------------------------------------------------------------------------------


@check("ActorRegistry._actor_refs")
def _() -> None:
    """Our dictionary stands in the place of a list, and has the operations that the registry uses of it."""
    used = _attributes_of(ActorRegistry, "_actor_refs")
    has = {name for name in dir(pykka_internals._IndexedRefs) if not name.startswith("_")}
    assert {"append", "remove"} <= used <= has, f"expected append, remove and at most {sorted(has)}, got {sorted(used)}"
    ref = Plain.start()
    try:
        refs: Any = ActorRegistry._actor_refs
        assert ref in refs, "expected it to hold the refs of running actors"
        assert ActorRegistry.get_all() == list(refs), "expected get_all() to be all of it, in its order"
    finally:
        ref.stop(timeout=DEADLINE_S)
    assert ref not in ActorRegistry._actor_refs, "expected a stopped actor to leave it"


@check("ActorRegistry._actor_refs_lock")
def _() -> None:
    lock: Any = ActorRegistry._actor_refs_lock
    assert type(lock) is type(threading.RLock()), f"expected an RLock, got {type(lock).__name__}"
    source = textwrap.dedent(inspect.getsource(ActorRegistry))
    for method in ("register", "unregister", "get_all"):
        assert "with cls._actor_refs_lock" in _source_of(source, method), f"expected {method} to hold it"


def _attributes_of(cls: type, field: str) -> set[str]:
    """Which attributes of a field the source of a class uses."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Attribute) and node.value.attr == field
    }


def _fields_in(cls: type, *methods: str) -> set[str]:
    """Which attributes of itself the source of a class's methods uses."""
    source = textwrap.dedent(inspect.getsource(cls))
    return {
        node.attr
        for method in methods
        for node in ast.walk(ast.parse(_source_of(source, method)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self"
    }


def _source_of(source: str, method: str) -> str:
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == method]
    assert found, f"expected a method {method}"
    return ast.unparse(found[0])


if __name__ == "__main__":
    faults = [fault for fault in map(fault_of, CHECKS) if fault is not None]
    print(f"{len(CHECKS)} private names, {len(faults)} not as we take them", *faults, sep="\n  ")
    sys.exit(bool(faults))
