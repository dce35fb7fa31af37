"""A program that ends without stopping anything ends at once, with its own status."""

import sys
import textwrap
import time

import pytest
from processes import run_script

pytestmark = pytest.mark.P10

SYSTEMS = {
    "pooled": "Pooled.start_link()",
    "threaded": "Threaded.start_link()",
    "started Pykka's way": "Pooled.start(); Threaded.start()",
    "busy": "refs = [cls.start_link() for cls in (Pooled, Threaded)]; [cast(r, lambda a, r=r: r.tell(r)) for r in refs]",
    "stuck, pooled": "ref = Pooled.start_link(); cast(ref, forever)",
    "stuck, threaded": "ref = Threaded.start_link(); cast(ref, forever)",
    "all workers stuck": "[cast(Pooled.start_link(), forever) for _ in range(20)]",
    "stuck and killed": "ref = Pooled.start_link(); cast(ref, forever); kill(ref)",
    "supervised": "Supervisor.start_link([ChildSpec(c, c) for c in (Pooled, Threaded, Plain)])",
    "supervised and stuck": """
        sup = Supervisor.start_link([ChildSpec(c, c, shutdown="infinity") for c in (Pooled, Threaded, Plain)])
        [cast(row.ref, forever) for row in Supervisor.which_children(sup)]
    """,
    "dynamic": "d = DynamicSupervisor.start_link(); [DynamicSupervisor.start_child(d, ChildSpec(1, Plain)) for _ in range(9)]",
    "supervised, started by a callable": "Supervisor.start_link([ChildSpec(n, lambda: Plain.start()) for n in range(3)])",
    "a call under way": "r = Pooled.start_link(); threading.Thread(target=call, args=(r, forever, None), daemon=True).start()",
    "a start under way": """
        class Slow(Pooled):
            on_start = forever
        threading.Thread(target=Slow.start_link, daemon=True).start()
    """,
    "timers": "r = Pooled.start_link(); [send_after(d, r, 1) for d in (0, 0.001, 1, 3600)]",
    "a restart under way": """
        sup = Supervisor.start_link([ChildSpec(c, c) for c in (Pooled, Threaded, Plain)], max_restarts=10**6)
        def crash(_): raise ValueError
        [cast(row.ref, crash) for row in Supervisor.which_children(sup)]
    """,
    "a backoff under way": """
        sup = Supervisor.start_link([ChildSpec(1, Plain, backoff=Backoff(initial=3600, maximum=3600))])
        def crash(_): raise ValueError
        child_ref(sup).tell(crash)
    """,
    "a stranger that is called": """
        class Daemon(Plain):
            use_daemon_thread = True
        call(Daemon.start(), lambda _: 1)
    """,
}
AT_ONCE_S = 5.0  # on a machine with much else to do
ENDS = {"its end": ("", 0), "an exception": ("raise ValueError('own')", 1), "os._exit": ("os._exit(5)", 5)}


@pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS.keys())
def test_a_script_that_stops_nothing_ends_at_once_with_its_own_status(system: str) -> None:
    done = run_script(textwrap.dedent(system) + "\nprint(time.monotonic(), flush=True)\nsys.exit(7)")
    assert time.monotonic() - float(done.stdout.split()[-1]) < AT_ONCE_S
    assert done.returncode == 7, done.stderr
    assert done.stderr == "" or "ValueError" in done.stderr


@pytest.mark.parametrize(("end", "status"), ENDS.values(), ids=ENDS.keys())
def test_that_status_is_the_scripts_whatever_way_it_ends(end: str, status: int) -> None:
    done = run_script(textwrap.dedent(SYSTEMS["supervised and stuck"]) + f"\n{end}")
    assert done.returncode == status, done.stderr


WAITS = {
    "call": "call(ref, forever, timeout=None)",
    "ask": "ref.ask(forever)",
    "stop": "cast(ref, forever); stop(ref, timeout=None)",
    "start_link": "Slow.start_link()",
    "Supervisor.stop": "cast(child_ref(sup), forever); Supervisor.stop(sup)",
    "Supervisor.start_child": "Supervisor.start_child(sup, ChildSpec(2, Slow))",
    "its own business": "forever()",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
@pytest.mark.parametrize("cls", ["Pooled", "Threaded", "Plain"])
def test_so_does_one_that_gets_a_ctrl_c(cls: str, wait: str) -> None:
    if cls == "Plain":
        wait = wait.replace("Slow.start_link()", "Supervisor.start_link([ChildSpec(3, Slow)])")
    done = run_script(
        f"""
        class Slow({cls}):
            on_start = forever
        sup = Supervisor.start_link([ChildSpec(1, {cls}, shutdown="infinity")])
        ref = {"child_ref(sup)" if cls == "Plain" else f"{cls}.start_link()"}
        print("waiting", flush=True)
        {wait}
        """,
        interrupt_at="waiting",
    )
    assert done.returncode == -2, done.stderr
    assert done.stderr.rstrip().endswith("KeyboardInterrupt")


def test_a_ctrl_c_that_is_caught_leaves_a_system_that_works() -> None:
    done = run_script(
        """
        ref = Pooled.start_link()
        sup = Supervisor.start_link([ChildSpec(1, Plain)])
        def says_so(_):
            os.write(1, b"waiting\\n")
            forever()
        try:
            call(ref, says_so, timeout=None)
        except KeyboardInterrupt:
            print(call(Pooled.start_link(), "works"), call(child_ref(sup), "on"))
            kill(ref)
            Supervisor.stop(sup)
            print(ActorRegistry.stop_all(), ActorRegistry.get_all())
        """,
        interrupt_at="waiting",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["waiting", "works on", "[True] []"]


def test_what_atexit_stops_runs_its_end_hooks_and_is_not_restarted() -> None:
    done = run_script(
        """
        import atexit
        class Tells(Pooled):
            def on_terminate(self, reason):
                os.write(1, b"terminated\\n")
        class PlainTells(Plain):
            use_daemon_thread = True
            def on_start(self):
                os.write(1, b"started\\n")
            def on_stop(self):
                os.write(1, b"stopped\\n")
        atexit.register(ActorRegistry.stop_all)
        Tells.start_link()
        Supervisor.start_link([ChildSpec(1, PlainTells)])
        """
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert sorted(done.stdout.split()) == ["started", "stopped", "terminated"]


NO_LATE_THREADS = (
    (3, 12) <= sys.version_info < (3, 12, 2)
)  # there no thread can be started after the main one has ended


@pytest.mark.parametrize("start", ["Child", "PlainChild", "lambda: PlainChild.start()"])
def test_while_other_threads_keep_the_program_alive_supervision_goes_on_after_main_has_ended(start: str) -> None:
    done = run_script(
        f"""
        up = threading.Semaphore(0)
        class Child(Pooled):
            def on_start(self):
                up.release()
        class PlainChild(Plain):
            on_start = Child.on_start
        def crash(_): raise ValueError
        sup = Supervisor.start_link([ChildSpec(1, {start}, name="it")])
        up.acquire()
        send_after(0, "nobody", "the timers have their thread")
        def works_on():
            threading.main_thread().join()
            cast("it", crash)
            if up.acquire(timeout=2):
                Supervisor.which_children(sup)
                os.write(1, b"%d" % call("it", 1))
        threading.Thread(target=works_on).start()
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("" if NO_LATE_THREADS and "Plain" in start else "1")


def test_a_raw_actor_that_nobody_supervises_keeps_the_program_alive_as_ever() -> None:
    done = run_script(
        """
        class Last(Plain):
            def on_stop(self):
                os.write(1, b"stopped in its own time")
        last = Last.start()
        call(last, lambda _: 1)
        watcher = threading.Thread(target=lambda: (threading.main_thread().join(), last.stop()))
        watcher.start()
        """
    )
    assert done.returncode == 0, done.stderr
    assert "stopped in its own time" in done.stdout


def test_a_loaded_system_ends_cleanly_every_time() -> None:
    for _ in range(8):
        done = run_script(
            """
            import logging
            logging.getLogger("pykka").addHandler(logging.NullHandler())
            logging.getLogger("pykka").propagate = False
            sys.setswitchinterval(1e-5)
            def crash(_): raise ValueError
            specs = [ChildSpec(n, c) for n, c in enumerate([Pooled, Threaded, Plain] * 3)]
            sup = Supervisor.start_link(specs, max_restarts=10**9)
            def load():
                while True:
                    for row in Supervisor.which_children(sup):
                        if row.ref is not None:
                            cast(row.ref, crash)
                            send_after(0.0001, row.ref, 1)
                    call(Pooled.start_link(), 1)
            enough = threading.Timer(0.1, lambda: None)
            for _ in range(3):
                threading.Thread(target=load, daemon=True).start()
            enough.start()
            enough.join()
            """
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""


def test_a_main_thread_that_is_gone_for_good_is_no_exit() -> None:
    """As in an embedded interpreter, where the thread that imported ``threading`` first may end at any time."""
    done = run_script(
        """
        class Gone(threading._MainThread):
            def is_alive(self):
                return False
            def join(self, timeout=None):
                pass
        main = threading.main_thread()
        main.__class__ = Gone
        def crash(_): raise ValueError
        other = Pooled.start_link()
        sup = Supervisor.start_link([ChildSpec(1, Pooled, name="it"), ChildSpec(2, lambda: other, restart="temporary")])
        first = whereis("it")
        down = threading.Event()
        monitor(first, lambda _: down.set())
        cast("it", crash)
        assert down.wait(5)
        print(Supervisor.count_children(sup).active, other.is_alive())
        main.__class__ = threading._MainThread
        """
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["2", "True"]
