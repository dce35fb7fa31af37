"""`named` where threads, signal handlers and forks meet restarts: a right answer or ``ActorDeadError``."""

from __future__ import annotations

import queue
import textwrap
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pykka
import pytest
from interruptions import interrupted_everywhere
from processes import run_script
from threads import DEADLINE_S, run

from supervision import (
    ChildSpec,
    NoProcess,
    Server,
    ServerDied,
    SupervisionError,
    Supervisor,
    call,
    cast,
    kill,
    named,
    stop,
)

RESTARTS = 200


@pykka.traversable
class Inner:
    field = "inner"

    def twice(self, text: str) -> str:
        return text * 2


class _Shop:
    crash_on_call_error = False
    open = "always"

    def __init__(self) -> None:
        super().__init__()
        self.price = 1
        self.inner = Inner()

    def on_start(self) -> None:
        self.late = Inner()

    def on_receive(self, message: Any) -> Any:
        return message(self) if callable(message) else message

    def greet(self, name: str) -> str:
        return f"hello {name}"

    def fail(self) -> None:
        raise ValueError("ordered")


class Plain(_Shop, pykka.ThreadingActor):
    """An unmodified Pykka class."""


class Pooled(_Shop, Server):
    """A server."""


def get(future: Any) -> Any:
    return future.get(timeout=DEADLINE_S)


def uses(await_restart: bool) -> dict[str, Callable[[], bool]]:
    """By name, one use each: whether the answer was right."""
    ref = named("shop", await_restart)
    kept: Any = ref.proxy()
    greet, inner, twice = kept.greet, kept.inner, kept.inner.twice

    def new_proxy() -> bool:
        proxy: Any = named("shop", await_restart).proxy()
        return bool(get(proxy.greet("b")) == "hello b")

    def assign() -> bool:
        kept.price = 1
        return bool(get(kept.price) == 1)

    return {
        "a method": lambda: get(kept.greet("a")) == "hello a",
        "a kept method": lambda: get(greet("a")) == "hello a",
        "an attribute": lambda: get(kept.open) == "always",
        "a traversable attribute": lambda: get(kept.inner.field) == "inner",
        "a kept one": lambda: get(inner.field) == "inner" and get(twice("a")) == "aa",
        "one set in on_start": lambda: get(kept.late.twice("b")) == "bb",
        "a new proxy": new_proxy,
        "an assignment": assign,
        "defer": lambda: kept.greet.defer("a") is None,
        "ask and tell": lambda: ref.tell("a") is None and ref.ask("b", timeout=DEADLINE_S) == "b",
        "what is there": lambda: hasattr(kept, "greet") and not hasattr(kept, "missing"),
        "an exception": lambda: isinstance(raised(lambda: get(kept.fail())), ValueError),
        "dir": lambda: "greet" in dir(kept),
    }


def raised(function: Callable[[], Any]) -> BaseException | None:
    try:
        function()
    except pykka.ActorDeadError:
        raise
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize(
    ("cls", "end", "await_restart"), [(Plain, kill, False), (Pooled, stop, False), (Plain, stop, True)]
)
@pytest.mark.usefixtures("switch_often")
def test_eight_threads_use_a_name_while_its_actor_is_restarted(cls: Any, await_restart: bool, end: Any) -> None:
    sup = Supervisor.start_link([ChildSpec("shop", cls, name="shop")], max_restarts=100_000, max_seconds=60)
    work, over, begin = uses(await_restart), threading.Event(), threading.Barrier(9)
    counts: queue.SimpleQueue[Counter[Any]] = queue.SimpleQueue()

    def use(shift: int) -> None:
        found: Counter[Any] = Counter()
        names = list(work)[shift:] + list(work)[:shift]
        begin.wait(DEADLINE_S)
        while not over.is_set():
            for name in names:
                try:
                    found[name, work[name]()] += 1
                except pykka.ActorDeadError:
                    found[name, "dead"] += 1
                except BaseException as error:
                    found[name, repr(error)] += 1
        counts.put(found)

    with run(*(lambda shift=shift: use(shift) for shift in range(8))):
        begin.wait(DEADLINE_S)
        try:
            for _ in range(RESTARTS):
                end(named("shop"))
                Supervisor.count_children(sup)
        finally:
            over.set()
    total: Counter[Any] = sum((counts.get(timeout=DEADLINE_S) for _ in range(8)), Counter())
    assert {outcome for _, outcome in total} <= {True, "dead"}, total
    assert {name for name, outcome in total if outcome is True} == set(work)
    Supervisor.stop(sup)


# --- signal handlers and finalizers -----------------------------------------------------------------------------------
#
# To a `Server`, as everywhere: the future of a Pykka actor holds a lock while it begins to wait.


def asked(proxy: Any) -> None:
    assert proxy.actor_ref.ask(1, timeout=DEADLINE_S) == 1


def called(proxy: Any) -> None:
    assert call(proxy.actor_ref, 1, timeout=DEADLINE_S) == 1


def sent(proxy: Any) -> None:
    proxy.actor_ref.tell(1)
    cast(proxy.actor_ref, 1)
    proxy.greet.defer("a")


def used(proxy: Any) -> None:
    assert get(proxy.greet("a")) == "hello a"
    assert get(proxy.inner.field) == "inner"


def made(proxy: Any) -> None:
    new: Any = named("shop").proxy()
    assert get(new.greet("a")) == "hello a"


@pytest.mark.parametrize("handler", [asked, called, sent, used, made], ids=lambda one: one.__name__)
@pytest.mark.parametrize("work", [asked, called, sent, used, made], ids=lambda one: one.__name__)
def test_a_handler_is_served_wherever_it_interrupts_a_use(work: Any, handler: Any) -> None:
    sup = Supervisor.start_link([ChildSpec("shop", Pooled, name="shop")])
    proxy = named("shop").proxy()
    used(proxy)
    assert interrupted_everywhere(lambda: work(proxy), lambda: handler(proxy)) > 10
    Supervisor.stop(sup)


@pytest.mark.parametrize("work", [asked, called, used, made], ids=lambda one: one.__name__)
def test_a_use_that_a_restart_interrupts_has_an_answer_or_none(work: Any) -> None:
    """At each instruction of a use, its actor is killed and its successor comes up."""
    sup = Supervisor.start_link([ChildSpec("shop", Pooled, name="shop")], max_restarts=100_000, max_seconds=60)
    proxy = named("shop").proxy()

    def guarded() -> None:
        try:
            work(proxy)
        except (pykka.ActorDeadError, NoProcess, ServerDied):
            return

    def restart() -> None:
        kill("shop")
        Supervisor.count_children(sup)

    assert interrupted_everywhere(guarded, restart) > 10
    used(proxy)
    Supervisor.stop(sup)


def test_a_signal_handler_waits_for_a_successor() -> None:
    done = run_script(
        textwrap.dedent(
            """
            class Shop(Pooled):
                def greet(self):
                    return "hello"
            sup = Supervisor.start_link([ChildSpec("shop", Shop, name="shop", backoff=Backoff(0.2, 0.2))], max_restarts=50)
            proxy, heard = named("shop", await_restart=True).proxy(), []
            def handler(*_):
                kill("shop")
                named("shop", await_restart=True).tell(heard.append)
                heard.append(proxy.greet().get(timeout=5))
            signal.signal(signal.SIGUSR1, handler)
            for _ in range(3):
                signal.raise_signal(signal.SIGUSR1)
                assert proxy.greet().get(timeout=5) == "hello"
            assert heard.count("hello") == 3, heard
            print("ok")
            """
        )
    )
    assert done.stdout.splitlines()[-1:] == ["ok"], done.stderr


@pytest.mark.parametrize(
    "use", ["ref.tell(1)", "ref.ask(1)", "ref.ask(1, block=False)", "proxy.actor_urn", "new.anything"]
)
def test_ctrl_c_ends_a_wait_for_a_successor(use: str) -> None:
    done = run_script(
        f"""
        sup = Supervisor.start_link([ChildSpec("shop", Pooled, name="shop", backoff=Backoff(30, 30))])
        ref = named("shop", await_restart=True)
        proxy = ref.proxy()
        kill("shop")
        new = ref.proxy()
        try:
            print("waiting", flush=True)
            {use}
        except KeyboardInterrupt:
            print("ok")
        """,
        interrupt_at="waiting",
    )
    assert done.stdout.splitlines()[-1:] == ["ok"], done.stderr


@pytest.mark.parametrize("work", [asked, called, sent, used], ids=lambda one: one.__name__)
def test_a_use_that_waits_and_is_interrupted_by_a_restart_has_an_answer(work: Any) -> None:
    """None is refused: only an actor that had the message already, and died of the kill, gives no answer."""
    sup = Supervisor.start_link([ChildSpec("shop", Pooled, name="shop")], max_restarts=100_000, max_seconds=60)
    proxy = named("shop", await_restart=True).proxy()

    def guarded() -> None:
        try:
            work(proxy)
        except (pykka.ActorDeadError, ServerDied) as error:
            lost.append(str(error))

    lost: list[str] = []
    assert (
        interrupted_everywhere(guarded, lambda: kill("shop")) > 2
    )  # the first look at its length may have been one that waits
    assert all("ended before it answered" in text for text in lost), lost
    used(proxy)
    Supervisor.stop(sup)


@pytest.mark.parametrize("await_restart", [False, True])
def test_a_call_by_name_that_a_kill_interrupts_is_never_told_that_the_name_is_gone(await_restart: bool) -> None:
    sup = Supervisor.start_link([ChildSpec("shop", Pooled, name="shop")], max_restarts=100_000, max_seconds=60)
    heard: list[str] = []

    def guarded() -> None:
        try:
            call("shop", 1, timeout=DEADLINE_S, await_restart=await_restart)
        except SupervisionError as error:
            heard.append(type(error).__name__)

    assert interrupted_everywhere(guarded, lambda: kill("shop")) > 2
    assert {*heard} <= ({"ServerDied"} if await_restart else {"ServerDied", "ServerRestarting"})
    Supervisor.stop(sup)


# --- a fork -----------------------------------------------------------------------------------------------------------


def test_a_forked_child_has_no_actor_behind_the_name_until_it_starts_one() -> None:
    done = run_script(
        textwrap.dedent(
            """
            class Shop(pykka.ThreadingActor):
                def which(self):
                    return os.getpid()
            def start():
                return Supervisor.start_link([ChildSpec("shop", Shop, name="shop")])
            start()
            ref, waits = named("shop"), named("shop", await_restart=True)
            proxy, kept = ref.proxy(), ref.proxy().which
            assert kept().get(timeout=5) == os.getpid()
            def dead(use):
                began = time.monotonic()
                try:
                    use()
                except (pykka.ActorDeadError, NoProcess):
                    assert time.monotonic() - began < 3
                else:
                    raise AssertionError("an answer in the child")
            pid = os.fork()
            if pid == 0:
                try:
                    signal.alarm(12)
                    assert not ref.is_alive()
                    for one in (ref, waits):
                        dead(lambda: one.tell("a"))
                        dead(lambda: one.ask("a"))
                        dead(lambda: one.ask("a", block=False).get(timeout=5))
                        dead(lambda: call(one, "a"))
                        dead(lambda: one.proxy().which)
                    dead(lambda: proxy.which().get(timeout=5))
                    dead(lambda: kept().get(timeout=5))
                    cast(ref, "a")
                    assert ref.stop() is False
                    start()
                    assert proxy.which().get(timeout=5) == kept().get(timeout=5) == os.getpid()
                    assert waits.proxy().which().get(timeout=5) == os.getpid()
                except BaseException:
                    import traceback
                    traceback.print_exc()
                    os._exit(1)
                os._exit(0)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            assert kept().get(timeout=5) == os.getpid()
            print("ok")
            """
        )
    )
    assert done.stdout.splitlines()[-1:] == ["ok"], done.stderr


def test_a_pickled_name_means_the_actor_of_the_process_where_it_is_used() -> None:
    done = run_script(
        textwrap.dedent(
            """
            import multiprocessing
            class Shop(Pooled):
                def which(self):
                    return os.getpid()
            def in_child(proxy, where):
                try:
                    proxy.which().get(timeout=5)
                except pykka.ActorDeadError:
                    Supervisor.start_link([ChildSpec("shop", Shop, name="shop")])
                where.put((os.getpid(), proxy.which().get(timeout=5)))
            Supervisor.start_link([ChildSpec("shop", Shop, name="shop")])
            context = multiprocessing.get_context("fork")
            where = context.Queue()
            import pickle
            child = context.Process(target=in_child, args=(pickle.loads(pickle.dumps(named("shop").proxy())), where))
            child.start()
            pid, answered = where.get(timeout=10)
            child.join(10)
            assert pid == answered != os.getpid()
            print("ok")
            """
        )
    )
    assert done.stdout.splitlines()[-1:] == ["ok"], done.stderr
