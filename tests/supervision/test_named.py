"""`named`: a ref that is a name, wherever a ref is used; it follows restarts, and keeps no incarnation."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import pickle
import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pykka
import pytest
from threads import DEADLINE_S, eventually

from supervision import (
    AlreadyStarted,
    ChildNotFound,
    ChildSpec,
    DynamicSupervisor,
    NoProcess,
    Server,
    SupervisionError,
    Supervisor,
    acall,
    call,
    cast,
    demonitor,
    kill,
    monitor,
    named,
    register,
    send_after,
    stop,
    unregister,
    whereis,
)
from supervision.exits import KILLED, NOPROC, NORMAL, SHUTDOWN


class _Shop:
    """Numbers its incarnations."""

    number = 0

    def on_start(self) -> None:
        type(self).number += 1
        self.number = type(self).number

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, BaseException):
            raise message
        return message(self) if callable(message) else (self.number, message)


class Plain(_Shop, pykka.ThreadingActor):
    """An unmodified Pykka class."""


class Pooled(_Shop, Server):
    """A server."""


@pytest.fixture(params=[Plain, Pooled], ids=lambda cls: cls.__name__)
def cls(request: pytest.FixtureRequest) -> Any:
    """A class that has had no incarnation."""
    return type(request.param.__name__, (request.param,), {"number": 0})


@pytest.fixture
def sup(cls: Any) -> Iterator[Any]:
    """A supervisor of one child, which is called and named ``shop``."""
    ref = Supervisor.start_link([ChildSpec("shop", cls, name="shop")])
    yield ref
    Supervisor.stop(ref)


def crash(sup: Any, name: str = "shop") -> None:
    """Have the child crash, and its supervisor start another."""
    down = threading.Event()
    monitor(named(name), lambda _: down.set())
    named(name).tell(ValueError("ordered"))
    assert down.wait(DEADLINE_S)
    assert Supervisor.count_children(sup).active == 1


@contextlib.contextmanager
def shut(sup: Any) -> Iterator[None]:
    """No actor has the name meanwhile."""
    Supervisor.terminate_child(sup, "shop")
    yield
    Supervisor.restart_child(sup, "shop")


# --- up, again up -----------------------------------------------------------------------------------------------------


def test_every_way_to_send_follows_a_restart(sup: Any) -> None:
    ref = named("shop")
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    for number in (1, 2):
        assert isinstance(ref, pykka.ActorRef)
        assert ref.is_alive()
        assert ref.ask("a", timeout=DEADLINE_S) == (number, "a")
        assert ref.ask("b", block=False).get(timeout=DEADLINE_S) == (number, "b")
        assert call(ref, "c") == (number, "c")
        ref.tell(lambda shop: heard.put(shop.number))
        assert heard.get(timeout=DEADLINE_S) == number
        cast(ref, lambda shop: heard.put(shop.number))
        assert heard.get(timeout=DEADLINE_S) == number
        send_after(0.0, ref, lambda shop: heard.put(shop.number))
        assert heard.get(timeout=DEADLINE_S) == number
        if number == 1:
            crash(sup)


def test_a_task_follows_too(sup: Any) -> None:
    async def tell_twice() -> list[Any]:
        first = await acall(named("shop"), "a")
        await asyncio.to_thread(crash, sup)
        return [first, await acall(named("shop"), "a"), await named("shop").ask("b", block=False)]

    assert asyncio.run(asyncio.wait_for(tell_twice(), DEADLINE_S)) == [(1, "a"), (2, "a"), (2, "b")]


def test_it_is_made_before_there_is_an_actor(cls: Any) -> None:
    ref = named("shop")
    assert not ref.is_alive()
    sup = Supervisor.start_link([ChildSpec("shop", cls, name="shop")])
    assert call(ref, "a") == (1, "a")
    Supervisor.stop(sup)


def test_what_belongs_to_one_actor_is_the_incarnations_of_that_moment(sup: Any, cls: Any) -> None:
    ref = named("shop")
    urns = []
    for _ in range(2):
        now: Any = whereis("shop")
        assert ref.actor_class is cls
        assert (ref.actor_urn, ref.actor_inbox, ref.actor_stopped) == (
            now.actor_urn,
            now.actor_inbox,
            now.actor_stopped,
        )
        assert not ref.actor_stopped.is_set()
        urns.append(ref.actor_urn)
        crash(sup)
    assert len(set(urns)) == 2


def test_a_timer_goes_to_the_actor_that_has_the_name_when_it_is_due(sup: Any) -> None:
    heard: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with shut(sup):
        timer = send_after(0.2, named("shop"), lambda shop: heard.put(shop.number))
    assert heard.get(timeout=DEADLINE_S) == 2
    assert not timer.cancel()
    assert send_after(100.0, named("shop"), "never").cancel()


# --- down -------------------------------------------------------------------------------------------------------------


def test_while_no_actor_has_the_name(sup: Any) -> None:
    ref = named("shop")
    with shut(sup):
        assert not ref.is_alive()
        with pytest.raises(pykka.ActorDeadError, match=r"^'shop' not found$"):
            ref.tell("a")
        with pytest.raises(pykka.ActorDeadError, match=r"^'shop' not found$"):
            ref.ask("a")
        future = ref.ask("a", block=False)
        with pytest.raises(pykka.ActorDeadError, match=r"^'shop' not found$"):
            future.get(timeout=DEADLINE_S)
        with pytest.raises(NoProcess, match=r"^no live actor behind 'shop'") as caught:
            call(ref, "a")
        assert caught.value.server == "shop"
        cast(ref, "a")
        assert ref.stop() is False
        assert ref.stop(block=False).get(timeout=DEADLINE_S) is False
        kill(ref)
        with pytest.raises(NoProcess):
            stop(ref)
    assert call(ref, "a") == (2, "a")


@pytest.mark.parametrize("what", ["actor_class", "actor_urn", "actor_inbox", "actor_stopped"])
def test_nothing_of_one_actor_is_there_then(what: str) -> None:
    with pytest.raises(pykka.ActorDeadError, match=r"'nobody' not found"):
        getattr(named("nobody"), what)
    assert not hasattr(named("nobody"), what)


def test_the_class_of_a_dead_one_is_known_as_that_of_a_dead_ref_is(cls: Any) -> None:
    seen, proxy, unseen = named("shop"), named("shop").proxy(), named("shop")
    sup = Supervisor.start_link([ChildSpec("shop", cls, name="shop")])
    assert seen.actor_class is cls
    dir(proxy)  # it looks
    Supervisor.stop(sup)
    assert seen.actor_class is cls
    assert proxy.actor_ref.actor_class is cls
    with pytest.raises(pykka.ActorDeadError):
        unseen.actor_class


def test_a_dead_answer_comes_in_a_list_of_answers(sup: Any) -> None:
    future = pykka.get_all([named("shop").ask("a", block=False), named("shop").ask("b", block=False)])
    assert future == [(1, "a"), (1, "b")]
    with pytest.raises(pykka.ActorDeadError):
        pykka.get_all([named("shop").ask("a", block=False), named("nobody").ask("b", block=False)])


def test_one_that_ends_meanwhile_gives_the_error_of_an_actor_that_died(sup: Any) -> None:
    began, go = threading.Event(), threading.Event()

    def handler(_: Any) -> None:
        began.set()
        assert go.wait(DEADLINE_S)
        raise SystemExit

    first = named("shop").ask(handler, block=False)
    assert began.wait(DEADLINE_S)
    second = named("shop").ask("queued", block=False)
    go.set()
    for future in (first, second):
        with pytest.raises(pykka.ActorDeadError):
            future.get(timeout=DEADLINE_S)


# --- the incarnation of that moment -----------------------------------------------------------------------------------


def test_a_monitor_is_of_one_incarnation(sup: Any) -> None:
    downs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    first = whereis("shop")
    watch = monitor(named("shop"), downs.put)
    crash(sup)
    down = downs.get(timeout=DEADLINE_S)
    assert (down.monitor, down.ref) == (watch, first)
    crash(sup)
    assert downs.empty()


def test_a_monitor_of_nothing_says_so_at_once() -> None:
    downs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    watch = monitor(named("nobody"), downs.put)
    assert downs.get(timeout=DEADLINE_S).reason is NOPROC
    assert watch.ref == named("nobody")
    demonitor(watch)


def test_the_actor_that_a_monitor_tells_is_one_incarnation(sup: Any) -> None:
    seen: queue.SimpleQueue[Any] = queue.SimpleQueue()

    class Watched(Server):
        def on_receive(self, message: Any) -> None:
            raise message

    class Watcher(Server):
        def on_receive(self, message: Any) -> Any:
            seen.put(message)

    watched = Watched.start_link()
    register("watcher", first := Watcher.start_link())
    watch = monitor(watched, named("watcher"))
    unregister("watcher")
    register("watcher", Pooled.start_link())
    stop(watched)
    assert seen.get(timeout=DEADLINE_S).monitor is watch
    stop(first)


def test_an_actor_that_is_not_there_cannot_be_told() -> None:
    with pytest.raises(NoProcess, match="'nobody'"):
        monitor(Pooled.start_link(), named("nobody"))


def test_stop_and_kill_end_one_incarnation(sup: Any) -> None:
    reasons: queue.SimpleQueue[Any] = queue.SimpleQueue()
    ends: list[Any] = [stop, kill, lambda ref: ref.stop()]
    for number, end in enumerate(ends, 1):
        monitor(named("shop"), lambda down: reasons.put(down.reason))
        assert call(named("shop"), "a") == (number, "a")
        end(named("shop"))
        assert reasons.get(timeout=DEADLINE_S) == (KILLED if end is kill else NORMAL)
        assert Supervisor.count_children(sup).active == 1
    assert call(named("shop"), "a") == (4, "a")


def test_a_second_name_is_given_to_one_incarnation(sup: Any) -> None:
    register("kiosk", named("shop"))
    assert call(named("kiosk"), "a") == (1, "a")
    with pytest.raises(AlreadyStarted):
        register("kiosk", named("shop"))
    crash(sup)
    assert not named("kiosk").is_alive()
    with pytest.raises(NoProcess):
        register("kiosk", named("kiosk"))


def test_supervisors_are_named_too(cls: Any) -> None:
    top = Supervisor.start_link([ChildSpec("shop", cls, name="shop")], name="top")
    assert [row.id for row in Supervisor.which_children(named("top"))] == ["shop"]
    assert str(Supervisor.tree(named("top"))).startswith("Supervisor (top)")
    with pytest.raises(TypeError, match=f"expected a Supervisor, got {cls.__name__}"):
        Supervisor.which_children(named("shop"))
    Supervisor.stop(named("top"))
    assert not top.is_alive()
    with pytest.raises(NoProcess, match="'top'"):
        Supervisor.which_children(named("top"))


def test_a_dynamic_supervisor_ends_a_child_by_it(cls: Any) -> None:
    pool = DynamicSupervisor.start_link()
    DynamicSupervisor.start_child(pool, ChildSpec("shop", cls, name="shop"))
    downs: queue.SimpleQueue[Any] = queue.SimpleQueue()
    monitor(named("shop"), downs.put)
    DynamicSupervisor.terminate_child(pool, named("shop"))
    assert downs.get(timeout=DEADLINE_S).reason is SHUTDOWN
    with pytest.raises(ChildNotFound):
        DynamicSupervisor.terminate_child(pool, named("shop"))
    assert DynamicSupervisor.count_children(pool).specs == 0


def test_a_start_callable_may_return_it(cls: Any) -> None:
    """The supervisor watches the incarnation."""

    def start() -> Any:
        register("kiosk", cls.start())
        return named("kiosk")

    sup = Supervisor.start_link([ChildSpec("shop", start)])
    for number in (1, 2):
        assert call(named("kiosk"), "a") == (number, "a")
        assert Supervisor.which_children(sup)[0].ref is whereis("kiosk")
        crash(sup, "kiosk")


def test_a_call_to_oneself_by_it_is_refused(sup: Any) -> None:
    def handler(_: Any) -> str:
        with pytest.raises(SupervisionError, match="calls itself"):
            call(named("shop"), "a")
        return "refused"

    assert call(named("shop"), handler) == "refused"


def test_an_actor_that_pykka_alone_has_started_has_no_name() -> None:
    with pytest.raises(SupervisionError, match="started by Pykka alone"):
        register("alone", Plain.start())
    assert not named("alone").is_alive()


# --- as a value -------------------------------------------------------------------------------------------------------


def test_two_of_one_name_are_equal() -> None:
    assert named("shop") == named("shop")
    assert hash(named("shop")) == hash(named("shop"))
    assert len({named("shop"), named("shop"), named("kiosk")}) == 2
    assert named("shop") != named("kiosk")
    assert named("shop") != "shop"


def test_it_is_not_equal_to_the_ref_of_an_incarnation(sup: Any) -> None:
    assert named("shop") != whereis("shop")
    assert whereis("shop") != named("shop")


def test_how_it_is_shown(sup: Any, cls: Any) -> None:
    urn = whereis("shop").actor_urn  # type: ignore[union-attr]
    assert str(named("shop")) == f"{cls.__name__} ({urn})"
    assert repr(named("shop")) == f"<ActorRef named 'shop': {cls.__name__} ({urn})>"
    assert str(named("kiosk")) == "'kiosk'"
    assert repr(named("kiosk")) == "<ActorRef named 'kiosk': no live actor>"


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda ref: pickle.loads(pickle.dumps(ref))])
def test_a_copy_is_the_name(sup: Any, copied: Any) -> None:
    ref = copied(named("shop"))
    assert ref == named("shop")
    assert call(ref, "a") == (1, "a")
    crash(sup)
    assert call(ref, "a") == (2, "a")


def test_an_error_that_says_the_name_can_be_pickled() -> None:
    with pytest.raises(NoProcess) as caught:
        call(named("nobody"), "a")
    again = pickle.loads(pickle.dumps(caught.value))
    assert (str(again), again.args, again.server) == (str(caught.value), ("nobody",), "nobody")


@pytest.mark.parametrize(("name", "error"), [(None, TypeError), (3, TypeError), ("", ValueError)])
def test_what_is_no_name_is_refused(name: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="name: expected a non-empty str"):
        named(name)


def test_it_keeps_no_incarnation(sup: Any) -> None:
    ref = named("shop")
    future = ref.ask("a", block=False)
    assert future.get(timeout=DEADLINE_S) == (1, "a")
    kept = [weakref.ref(call(ref, lambda shop: shop)), weakref.ref(whereis("shop"))]
    del future
    stop(ref)
    assert Supervisor.count_children(sup).active == 1

    def is_gone() -> bool:
        gc.collect()
        return all(one() is None for one in kept)

    eventually(is_gone, "the end of the first incarnation")
    assert call(ref, "a") == (2, "a")
