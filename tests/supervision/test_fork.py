"""After a fork: in the child whatever is inherited is dead, at once and for every function, and new actors work."""

import os
import subprocess
import sys

import pytest
from processes import run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

IN_CHILD = """
def outcome(function, *args, **kwargs):
    try:
        return function(*args, **kwargs)
    except BaseException as error:
        return type(error).__name__

def finish(work):
    # Run work in the child; the parent hears how it went.
    signal.alarm(40)
    try:
        work()
    except BaseException:
        import traceback
        os.write(2, traceback.format_exc().encode())
        os._exit(1)
    os._exit(0)

def fork(work):
    pid = os.fork()
    if pid == 0:
        finish(work)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def by_callable():
    sup = DynamicSupervisor.start_link()
    return sup, DynamicSupervisor.start_child(sup, ChildSpec("raw", lambda: Plain.start(), restart="temporary"))

def new_ones_work():
    ref = Pooled.start_link(name="new")
    assert call("new", 1) == 1
    sup = Supervisor.start_link([ChildSpec(c.__name__, c, name=c.__name__) for c in (Pooled, Threaded, Plain)])
    above, raw = by_callable()
    stranger = Plain.start()
    assert call(stranger, 2) == 2
    stop(stranger)
    downs = []
    monitor(raw, downs.append)
    assert [call(r, 2) for r in ("Pooled", "Threaded", "Plain", raw)] == [2] * 4
    fired = threading.Event()
    send_after(0.001, ref, lambda _: fired.set())
    assert fired.wait(20)
    before = whereis("Plain")
    up = threading.Event()
    monitor(before, lambda _: up.set())
    cast("Plain", lambda a: 1 / 0)
    assert up.wait(20)
    assert Supervisor.count_children(sup).active == 3
    assert whereis("Plain") is not before
    raw.stop()
    Supervisor.stop(sup)
    Supervisor.stop(above)
    stop(ref)
    assert [d.ref for d in downs] == [raw]
    assert ActorRegistry.get_all() == []
"""


def script(code: str) -> None:
    import textwrap

    done = run_script(IN_CHILD + textwrap.dedent(code))
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1:] == ["ok"], done.stderr


def test_p23_everything_inherited_is_dead_at_once() -> None:
    script(
        """
        import logging
        logging.disable()
        class Quiet(Plain):
            use_daemon_thread = True
        sup = Supervisor.start_link([ChildSpec(c, c, name=c) if 0 else ChildSpec(c.__name__, c, name=c.__name__)
                                     for c in (Pooled, Threaded, Plain)], name="sup")
        dyn = DynamicSupervisor.start_link(name="dyn")
        raw = Quiet.start()
        adopted = DynamicSupervisor.start_child(dyn, ChildSpec("adopted", Quiet, name="adopted"))
        assert call(adopted, 1) == 1 and raw.ask(1) == 1
        single = Pooled.start_link()
        future = single.ask(1, block=False)
        timer = send_after(3600, single, 1)
        watch = monitor(single, print)

        def child():
            refs = [sup, dyn, adopted, raw, single] + [whereis(n) for n in ("sup", "dyn", "Pooled", "Threaded", "Plain")]
            assert refs[5:] == [None] * 5
            for server in refs[:5] + ["sup", "dyn", "Pooled", "Threaded", "Plain", "adopted"]:
                assert outcome(call, server, 1, timeout=None) == "NoProcess", server
                assert outcome(stop, server, timeout=None) == "NoProcess", server
                assert cast(server, 1) is None and kill(server) is None
                downs = []
                monitor(server, downs.append)
                assert [d.reason for d in downs] == [NOPROC]
                assert send_after(0, server, 1).cancel() in (True, False)
            for ref in (sup, dyn, adopted, single):
                assert not ref.is_alive()
                assert outcome(ref.ask, 1, timeout=5) == "ActorDeadError"
                assert outcome(ref.tell, 1) == "ActorDeadError"
                assert ref.stop(timeout=5) is False
                assert outcome(register, "again", ref) == "NoProcess"
                assert outcome(monitor, single, ref) == "NoProcess"
                assert ref.actor_stopped.wait(20) is True
            for server in (sup, "sup"):
                for function, *args in [
                    (Supervisor.which_children,), (Supervisor.count_children,), (Supervisor.tree,), (Supervisor.stop,),
                    (Supervisor.start_child, ChildSpec(1, Pooled)), (Supervisor.terminate_child, "Pooled"),
                    (Supervisor.restart_child, "Pooled"), (Supervisor.delete_child, "Pooled"),
                    (Supervisor.get_childspec, "Pooled"),
                ]:
                    assert outcome(function, server, *args) == "NoProcess", function
            assert outcome(DynamicSupervisor.start_child, dyn, ChildSpec(1, Pooled)) == "NoProcess"
            assert outcome(DynamicSupervisor.which_children, "dyn") == "NoProcess"
            timer.cancel()
            demonitor(watch)
            unregister("adopted")
            assert ActorRegistry.get_all() == []
            assert ActorRegistry.stop_all() == []
            new_ones_work()

        assert fork(child) == 0
        assert [call(s, 1) for s in ("Pooled", "Threaded", "Plain", adopted, single)] == [1] * 5
        assert len(Supervisor.which_children("sup")) == 3
        assert len(ActorRegistry.get_all()) == 8
        print("ok")
        """
    )


@pytest.mark.parametrize("cls", ["Pooled", "Threaded", "Plain"])
def test_p23_a_fork_inside_a_handler(cls: str) -> None:
    script(
        f"""
        sup = Supervisor.start_link([ChildSpec(1, {cls}, name="it")])
        def forks(actor):
            def child():
                assert outcome(call, "it", 1) == "NoProcess"
                assert outcome(call, actor.actor_ref, 1) == "NoProcess"
                new_ones_work()
            return fork(child)
        assert call("it", forks, timeout=None) == 0
        assert call("it", 1) == 1
        print("ok")
        """
    )


def test_p23_a_fork_while_another_thread_holds_every_lock_there_is() -> None:
    script(
        """
        from supervision.process import registry
        from supervision.process.process import abandoned_count
        stuck = Pooled.start_link(name="stuck")
        entered = threading.Event()
        cast(stuck, lambda _: (entered.set(), forever()))
        assert entered.wait(20)
        kill(stuck)
        assert abandoned_count() == 1
        before = Pooled.start_link(name="it")
        timer = send_after(3600, before, 1)
        raw = Plain.start()
        locks = [
            registry._names.value.lock, ActorRegistry._actor_refs_lock, before.actor_inbox.lock,
        ]
        held, go = threading.Event(), threading.Event()
        def holds():
            import contextlib
            with contextlib.ExitStack() as stack:
                for lock in locks:
                    stack.enter_context(lock)
                held.set()
                go.wait()
        threading.Thread(target=holds, daemon=True).start()
        assert held.wait(20)

        def child():
            assert abandoned_count() == 0
            assert outcome(call, before, 1) == outcome(call, "it", 1) == outcome(call, raw, 1) == "NoProcess"
            timer.cancel()
            new_ones_work()
            entered = threading.Event()
            again = Pooled.start_link(name="it")
            cast(again, lambda _: (entered.set(), forever()))
            assert entered.wait(20)
            kill("it")
            assert abandoned_count() == 1
            Supervisor.start_link([ChildSpec(1, lambda: Plain.start())])
            ActorRegistry.stop_all()

        assert fork(child) == 0
        go.set()
        assert call("it", 1) == call(raw, 1) == 1
        raw.stop()
        print("ok")
        """
    )


def test_p23_a_grandchild() -> None:
    script(
        """
        ref = Pooled.start_link(name="first")
        def child():
            second = Pooled.start_link(name="second")
            assert call("second", 1) == 1
            def grandchild():
                assert outcome(call, "second", 1) == outcome(call, "first", 1) == "NoProcess"
                assert outcome(call, second, 1) == outcome(call, ref, 1) == "NoProcess"
                new_ones_work()
            assert fork(grandchild) == 0
            assert call("second", 1) == 1
        assert fork(child) == 0
        assert call("first", 1) == 1
        print("ok")
        """
    )


def test_p23_a_child_that_ends_the_usual_way() -> None:
    script(
        """
        sup = Supervisor.start_link([ChildSpec(c, c) for c in (Pooled, Threaded, Plain)]
                                    + [ChildSpec("raw", lambda: Plain.start())])
        pid = os.fork()
        if pid == 0:
            Supervisor.start_link([ChildSpec(1, lambda: Plain.start())])
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        print("ok")
        """
    )


def test_p23_multiprocessing_children_that_fork() -> None:
    script(
        """
        import multiprocessing
        ref = Pooled.start_link(name="it")
        def work(queue):
            signal.alarm(40)
            queue.put([outcome(call, ref, 1), outcome(call, "it", 1), call(Pooled.start_link(name="it"), "new")])
        context = multiprocessing.get_context("fork")
        queue = context.SimpleQueue()
        process = context.Process(target=work, args=(queue,))
        process.start()
        assert queue.get() == ["NoProcess", "NoProcess", "new"]
        process.join(10)
        assert process.exitcode == 0
        print("ok")
        """
    )


def test_p23_a_hundred_forks_under_load() -> None:
    script(
        """
        import logging
        logging.disable()
        sys.setswitchinterval(1e-5)
        sup = Supervisor.start_link([ChildSpec(c.__name__, c, name=c.__name__) for c in (Pooled, Threaded, Plain)],
                                    max_restarts=10**9)
        raws = [Plain.start() for _ in range(3)]
        enough = threading.Event()
        def crash(_): raise ValueError
        def load(number):
            turn = 0
            while not enough.is_set():
                turn += 1
                name = ("Pooled", "Threaded", "Plain")[turn % 3]
                outcome(call, name, 1)
                ref = Pooled.start_link(name=f"{number}.{turn}")
                watch = monitor(ref, lambda _: None)
                timer = send_after(0.0005, ref, 1)
                if turn % 7 == 0:
                    cast(name, crash)
                timer.cancel()
                demonitor(watch)
                kill(ref) if turn % 2 else stop(ref)
                above, one = by_callable()
                monitor(one, lambda _: None)
                one.stop()
                stop(above)
        threads = [threading.Thread(target=load, args=(n,), daemon=True) for n in range(3)]
        [t.start() for t in threads]

        def child():
            for server in (sup, "Pooled", "Threaded", "Plain", *raws):
                assert outcome(call, server, 1) == "NoProcess", server
            ref = Pooled.start_link(name="Pooled")
            assert call("Pooled", 1) == 1
            fired = threading.Event()
            send_after(0, ref, lambda _: fired.set())
            assert fired.wait(20)
            told = threading.Event()
            monitor(ref, lambda _: told.set())
            stop(ref)
            assert told.wait(20)
            fired.clear()
            above, raw = by_callable()
            monitor(raw, lambda _: fired.set())
            raw.stop()
            assert fired.wait(20)

        ends_at = time.monotonic() + 20  # on a starved machine fewer forks do: each child has a deadline of its own
        for number in range(100):
            if number < 20 or time.monotonic() < ends_at:
                assert fork(child) == 0
        enough.set()
        [t.join(10) for t in threads]
        [r.stop() for r in raws]
        assert call(Pooled.start_link(), 1) == 1
        print("ok")
        """
    )


def test_a_child_that_is_forked_in_a_handler_ends_with_the_turn_of_a_thread_of_its_own() -> None:
    script(
        """
        class Forking(Server):
            runtime = "thread"

            def on_receive(self, message):
                pid = os.fork()
                if pid == 0:
                    signal.alarm(40)
                return pid

        pid = call(Forking.start_link(), "fork", timeout=None)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        print("ok")
        """
    )


FIRST_USE = """
import importlib.abc, os, signal, sys, threading
import supervision

begun, about_to_fork = threading.Event(), threading.Event()

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "supervision.supervising" and not about_to_fork.is_set():
            begun.set()
            about_to_fork.wait(20)

sys.meta_path.insert(0, Finder())
os.register_at_fork(before=about_to_fork.set)  # registered last, so it runs first
thread = threading.Thread(target=lambda: supervision.Supervisor.start_link([]))
thread.start()
assert begun.wait(20)
process = os.fork()
if not process:
    signal.alarm(20)
    supervision.Supervisor.start_link([])
    supervision.DynamicSupervisor.start_link()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
thread.join(20)
print("ok", flush=True)
os._exit(0)
"""


def test_a_fork_waits_for_the_first_use_of_a_supervisor() -> None:
    """It imports what starts others; a child forked meanwhile would wait for that import for ever."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FIRST_USE], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stderr
