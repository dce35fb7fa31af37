"""Warnings of handlers that run for long and of mailboxes that grow long: one when it begins, one when it is over."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Iterator
from typing import Any

import pykka
import pytest
from actors import Boom, Plain, Pooled, Threaded, begin
from children import Watch
from holding import Gate
from processes import run_script
from threads import DEADLINE_S, eventually

from supervision import ChildSpec, DynamicSupervisor, Server, Supervisor, call, cast, kill, register, send_after, stop
from supervision.process import process as processes
from supervision.process import watch
from supervision.process.registry import process_of
from supervision.runtime import timer_thread

SOON_S = 0.05
FEW = 20


class QuickPooled(Pooled):
    handler_warning = SOON_S
    mailbox_warning = FEW


class QuickThreaded(QuickPooled):
    runtime = "thread"


class QuickPlain(Plain):
    handler_warning = SOON_S
    mailbox_warning = FEW


KINDS = [QuickPooled, QuickThreaded, QuickPlain]
every_kind = pytest.mark.parametrize("cls", KINDS)


class Events(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "event", "").startswith("long_"):
            self.seen.append(record)

    def of(self, event: str) -> list[Any]:
        return [record.fields for record in self.seen if record.event == event]

    def first(self, event: str) -> Any:
        eventually(lambda: self.of(event), event)
        return self.of(event)[0]


def at_rest() -> bool:
    """Whether there is nothing to look at and no look is due; asked on the timer thread, which is in no look then."""
    turns, answers, answered = processes._turns.value, [], threading.Event()

    def look() -> None:
        answers.append(not (turns.chain or turns.busy or turns.crowded or turns._sights or turns._long))
        answered.set()

    timer_thread.call_later(0.0, look)
    assert answered.wait(DEADLINE_S)
    return answers[0]


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(watch, "LOOK_S", 0.01)
    turns = processes._turns.value
    turns._begun.clear()
    turns.start()  # in place of a look that may be due much later
    eventually(at_rest, "what another test has left is over")
    eventually(lambda: turns._log._queue.empty() and not turns._log._threads, "and logged")
    yield
    turns._begun.clear()


@pytest.fixture
def events() -> Iterator[Events]:
    made, logger = Events(), logging.getLogger("supervision")
    level = logger.level
    logger.addHandler(made)
    logger.setLevel(logging.INFO)
    yield made
    logger.removeHandler(made)
    logger.setLevel(level)


def looks(count: int) -> None:
    """Wait until the timer thread has looked so many times."""
    turns, seen, run = processes._turns.value, [], watch.Turns.run

    def counted() -> bool:
        seen.append(None)
        return run(turns)

    turns.run = counted  # type: ignore[method-assign]
    try:
        turns.start()
        eventually(lambda: len(seen) >= count or turns.chain is None, "looks")
    finally:
        del turns.run


# --- handlers ---------------------------------------------------------------------------------------------------------


@every_kind
def test_a_handler_that_runs_for_long(cls: Any, gate: Gate, events: Events) -> None:
    ref = begin(cls)
    register("its name", ref)
    gate.grip(ref)
    fields = events.first("long_handler")
    assert fields["seconds"] >= SOON_S
    assert (fields["actor"], fields["name"], fields["others"]) == (str(ref), "its name", 0)
    assert [line.rpartition(" ")[2] for line in fields["stack"]][:3] == [
        "_Specimen.on_receive",
        "Gate.__call__",
        "Event.wait",
    ]
    assert fields["stack"][0].startswith("actors:")
    looks(5)
    gate.go()
    over = events.first("long_handler_over")
    assert over["seconds"] >= fields["seconds"]
    assert (over["actor"], over["name"], over["abandoned"]) == (str(ref), "its name", False)
    assert [record.levelname for record in events.seen] == ["WARNING", "INFO"]


@every_kind
def test_a_proxy_call_that_does(cls: Any, gate: Gate, events: Events) -> None:
    class Works(cls):  # type: ignore[misc]
        def work(self) -> None:
            gate()

    begin(Works).proxy().work()
    stack = events.first("long_handler")["stack"]
    assert stack[0].endswith(" test_a_proxy_call_that_does.<locals>.Works.work")


@pytest.mark.parametrize(
    ("cls", "hook"),
    [(QuickPooled, hook) for hook in ("on_start", "on_continue", "on_terminate")]
    + [(QuickPlain, hook) for hook in ("on_start", "on_stop")],
)
def test_a_hook_that_does(cls: Any, hook: str, gate: Gate, events: Events) -> None:
    starting = threading.Thread(target=lambda: begin(cls, {hook: lambda *_: gate()}), daemon=True)
    starting.start()
    if hook in ("on_terminate", "on_stop"):
        starting.join(DEADLINE_S)
        (ref,) = [ref for ref in pykka.ActorRegistry.get_all() if ref.actor_class is cls]
        ref.stop(block=False)
    stack = events.first("long_handler")["stack"]
    assert stack[0].endswith(f".{hook}")
    gate.go()
    events.first("long_handler_over")
    starting.join(DEADLINE_S)
    assert len(events.of("long_handler")) == 1


@every_kind
def test_many_short_ones_are_no_long_one(cls: Any, events: Events) -> None:
    never = threading.Event()
    ref = begin(type("Patient", (cls,), {"handler_warning": 0.5, "mailbox_warning": None}))
    for _ in range(15):  # within one turn
        cast(ref, lambda _: never.wait(0.05))
    call(ref, 1, timeout=DEADLINE_S)
    assert not events.of("long_handler")


@every_kind
def test_one_that_is_killed_in_it(cls: Any, gate: Gate, events: Events) -> None:
    ref = begin(cls)
    gate.grip(ref)
    events.first("long_handler")
    kill(ref)
    assert events.first("long_handler_over")["abandoned"] is True
    gate.go()
    looks(3)
    assert len(events.of("long_handler")) == len(events.of("long_handler_over")) == 1


def test_no_values_are_in_the_stack(gate: Gate, events: Events) -> None:
    class Careful(QuickPooled):
        def on_receive(self, password: str) -> None:
            secret = password * 2
            gate(secret)

    begin(Careful).tell("hunter2")
    assert "hunter" not in str(events.first("long_handler"))


def test_a_deep_stack_is_cut(gate: Gate, events: Events) -> None:
    def deep(left: int) -> None:
        if left:
            deep(left - 1)
        gate()

    begin(QuickPooled).tell(lambda _: deep(50))
    stack = events.first("long_handler")["stack"]
    assert len(stack) == watch.SHOWN
    assert stack[-1].endswith("Event.wait") or "Gate" in stack[-1] or "Condition.wait" in stack[-1]


def test_a_supervisor_that_waits_for_it_is_not_warned_of(
    gate: Gate, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Server, "handler_warning", SOON_S)
    inner = Supervisor.child_spec([ChildSpec("slow", QuickPooled, ({"on_start": gate},))], id="inner")
    starting = threading.Thread(target=Supervisor.start_link, args=([inner],), daemon=True)
    starting.start()
    gate.await_entry()
    fields = events.first("long_handler")
    looks(10)
    assert [one["actor"] for one in events.of("long_handler")] == [fields["actor"]]
    assert fields["actor"].startswith("QuickPooled")
    gate.go()
    starting.join(DEADLINE_S)


def test_a_supervisor_that_is_stuck_itself_is(gate: Gate, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "handler_warning", SOON_S)

    def start() -> Any:
        gate()
        return Pooled.start_link()

    sup = DynamicSupervisor.start_link()
    starting = threading.Thread(target=DynamicSupervisor.start_child, args=(sup, ChildSpec("it", start)), daemon=True)
    starting.start()
    fields = events.first("long_handler")
    assert fields["actor"] == str(sup)
    assert any(line.endswith("<locals>.start") for line in fields["stack"])
    gate.go()
    starting.join(DEADLINE_S)


# --- mailboxes --------------------------------------------------------------------------------------------------------


@every_kind
def test_a_mailbox_that_grows_long(cls: Any, gate: Gate, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cls, "handler_warning", None)
    ref = begin(cls)
    gate.grip(ref)
    for _ in range(FEW):
        cast(ref, 1)
    looks(3)
    assert not events.seen, "as many as are allowed"
    cast(ref, 1)
    assert events.first("long_mailbox") == {"actor": str(ref), "name": None, "messages": FEW + 1, "others": 0}
    cast(ref, 1)
    looks(3)
    gate.go()
    assert events.first("long_mailbox_over")["messages"] <= FEW / 2
    assert [record.event for record in events.seen] == ["long_mailbox", "long_mailbox_over"]


@every_kind
def test_one_that_is_worked_off_slower_than_it_grows(cls: Any, events: Events) -> None:
    """No turn is long, and the look may come between two of them."""
    ref = begin(cls)
    until, over = time.monotonic() + DEADLINE_S, threading.Event()
    while not events.of("long_mailbox") and time.monotonic() < until:
        for _ in range(100):
            cast(ref, lambda _: over.wait(0.00001))
        call(ref, 1, timeout=DEADLINE_S)
        for _ in range(1_000):
            cast(ref, lambda _: over.wait(0.00001))
    events.first("long_mailbox")
    assert not events.of("long_handler")
    events.first("long_mailbox_over")


def test_it_does_not_flicker(gate: Gate, events: Events) -> None:
    """It is over when half is worked off, not at each message more or less."""
    first, second = Gate(), Gate()
    ref = begin(QuickPooled)
    with first, second:
        first.grip(ref)
        for _ in range(4):
            cast(ref, 1)
        cast(ref, second)
        for _ in range(FEW - 2):
            cast(ref, 1)
        events.first("long_mailbox")
        first.go()
        second.await_entry()  # less than the limit, more than half
        looks(5)
        assert not events.of("long_mailbox_over")
        for _ in range(10):
            cast(ref, 1)
        looks(5)
        second.go()
        events.first("long_mailbox_over")
    assert len(events.of("long_mailbox")) == 1


@every_kind
def test_an_actor_that_ends_with_it(cls: Any, gate: Gate, events: Events) -> None:
    ref = begin(cls)
    gate.grip(ref)
    for _ in range(FEW * 2):
        cast(ref, 1)
    events.first("long_mailbox")
    kill(ref)
    assert events.first("long_mailbox_over")["messages"] == 0


def test_one_that_has_never_had_a_turn_gets_its_warning_with_the_first(gate: Gate, events: Events) -> None:
    ref = begin(QuickThreaded, {"on_continue": gate})
    gate.await_entry()
    for _ in range(FEW * 2):
        cast(ref, 1)
    events.first("long_mailbox")


# --- limits -----------------------------------------------------------------------------------------------------------


def test_the_defaults() -> None:
    assert (Server.mailbox_warning, Server.handler_warning) == (1_000, 30.0)
    ref = begin(Plain)
    found = process_of(ref)
    assert found is not None
    assert watch._limit(found, "mailbox_warning", watch.MAILBOX_WARNING) == 1_000
    assert watch._limit(found, "handler_warning", watch.HANDLER_WARNING_S) == 30.0


@every_kind
def test_none_is_never(cls: Any, gate: Gate, events: Events) -> None:
    quiet: Any = type("Quiet", (cls,), {"handler_warning": None, "mailbox_warning": None})
    ref = begin(quiet)
    gate.grip(ref)
    for _ in range(FEW * 2):
        cast(ref, 1)
    looks(20)
    assert not events.seen


def test_for_all_servers_of_the_process(gate: Gate, events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "handler_warning", SOON_S)
    gate.grip(begin(Threaded))
    events.first("long_handler")


@pytest.mark.parametrize(
    ("attribute", "value", "error"),
    [
        ("mailbox_warning", "1000", TypeError),
        ("mailbox_warning", 1.5, TypeError),
        ("mailbox_warning", -1, ValueError),
        ("handler_warning", "30", TypeError),
        ("handler_warning", -1.0, ValueError),
        ("handler_warning", float("inf"), ValueError),
    ],
)
def test_a_limit_that_is_none_is_refused_at_definition(attribute: str, value: Any, error: Any) -> None:
    with pytest.raises(error, match=f"Wrong.{attribute}: expected"):
        type("Wrong", (Server,), {attribute: value})


def test_one_of_a_pykka_class_that_is_no_number_is_never(gate: Gate, events: Events) -> None:
    wrong: Any = type("Wrong", (Plain,), {"handler_warning": "soon", "mailbox_warning": object()})
    ref = begin(wrong)
    gate.grip(ref)
    for _ in range(FEW * 2):
        cast(ref, 1)
    looks(5)
    gate.go()
    assert call(ref, 1) == 1
    assert not events.seen


def test_a_crowd_of_them_is_a_few_warnings(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MOST", 3)
    gates = [Gate() for _ in range(10)]
    for gate in gates:
        gate.grip(begin(QuickThreaded))
    eventually(lambda: len(events.of("long_handler")) == 3)
    looks(10)
    warned = events.of("long_handler")
    assert len(warned) == 3
    assert warned[-1]["others"] >= 0
    for gate in gates:
        gate.go()
    eventually(lambda: len(events.of("long_handler_over")) == 3)
    looks(3)
    assert len(events.of("long_handler")) == len(events.of("long_handler_over")) == 3


# --- what it costs, and what it must not do ---------------------------------------------------------------------------


def test_idle_actors_are_not_looked_at_and_no_look_is_due() -> None:
    refs = [QuickPooled.start_link() for _ in range(500)]
    refs += [QuickThreaded.start_link() for _ in range(20)]
    eventually(at_rest)
    assert all(call(ref, 1) == 1 for ref in refs[:10])
    eventually(at_rest)


@every_kind
def test_it_keeps_no_actor_and_no_message_alive(cls: Any, gate: Gate, events: Events) -> None:
    class Thing:
        """A message that holds something."""

        def __call__(self, actor: Any) -> None:
            gate(actor)

    made: list[weakref.ref[Any]] = []

    class Ends(cls):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            made.append(weakref.ref(self))

    thing = Thing()
    made.append(weakref.ref(thing))
    ref = begin(Ends)
    ref.tell(thing)
    for _ in range(FEW * 2):
        cast(ref, 1)
    del thing
    events.first("long_handler")
    events.first("long_mailbox")
    gate.go()
    events.first("long_mailbox_over")
    stop(ref)
    del ref

    def all_gone() -> bool:
        gc.collect()
        return not any(one() for one in made)

    eventually(all_gone, "something is kept")


def test_a_log_handler_that_hangs_stops_neither_timers_nor_actors(gate: Gate) -> None:
    class Hangs(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if getattr(record, "event", "") == "long_handler":
                gate()

    handler, logger, stuck = Hangs(), logging.getLogger("supervision"), Gate()
    logger.addHandler(handler)
    try:
        with stuck:
            stuck.grip(begin(QuickPooled))
            gate.await_entry()
            ref, fired = begin(Pooled), threading.Event()
            send_after(0.001, ref, lambda _: fired.set())
            assert fired.wait(DEADLINE_S)
            assert call(ref, 1) == 1
            looks(3)
    finally:
        gate.go()
        logger.removeHandler(handler)


def test_warnings_that_no_thread_can_log_are_dropped(gate: Gate) -> None:
    log, said = watch._Log(), []
    log.say(gate)
    gate.await_entry()
    for number in range(watch.UNSAID * 2):
        log.say(lambda number=number: said.append(number))  # type: ignore[misc]
    gate.go()
    eventually(lambda: len(said) == watch.UNSAID)
    eventually(lambda: not log._threads)
    log.say(lambda: said.append(None))
    eventually(lambda: said[-1] is None, "a new thread")


def test_one_thread_logs_at_a_time_and_none_is_forgotten(switch_often: None) -> None:
    log, said, running, most = watch._Log(), [], [], []

    def one() -> None:
        running.append(None)
        most.append(len(running))
        said.append(None)
        running.pop()

    for number in range(2_000):
        log.say(one)
        eventually(lambda number=number: len(said) > number - 5)  # type: ignore[misc]
    eventually(lambda: len(said) == 2_000)
    assert max(most) == 1


def test_a_look_that_has_nothing_to_look_at_is_the_last_and_none_is_missed(switch_often: None) -> None:
    """Turns begin just when the timer thread forgets the chain."""

    class Noted(timer_thread.Repeated):
        period_s = 0.0  # type: ignore[assignment]

        def __init__(self) -> None:
            self.notes: list[int] = []
            self.heard: set[int] = set()

        def run(self) -> bool:
            while self.notes:
                self.heard.add(self.notes.pop())
            return False

    noted = Noted()

    def note(first: int) -> None:
        for number in range(first, first + 300):
            noted.notes.append(number)
            if noted.chain is None:
                noted.start()
            eventually(lambda number=number: number in noted.heard)  # type: ignore[misc]

    threads = [threading.Thread(target=note, args=(first,), daemon=True) for first in (0, 1_000, 2_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
    assert len(noted.heard) == 900
    eventually(lambda: noted.chain is None)


def test_kills_at_the_end_of_a_turn_leave_no_entry(switch_often: None) -> None:
    turns = processes._turns.value
    for _ in range(300):
        ref, begun = QuickThreaded.start_link(), threading.Barrier(2)
        cast(ref, lambda _, begun=begun: begun.wait(DEADLINE_S))  # type: ignore[misc]
        begun.wait(DEADLINE_S)
        kill(ref)
    eventually(lambda: not turns.busy)
    eventually(lambda: processes.abandoned_count() == 0)


def test_a_crash_leaves_no_entry() -> None:
    watched = [Watch(begin(cls, {"on_receive": None})) for cls in KINDS for _ in range(20)]
    for one in watched:
        cast(one.monitor.ref, Boom("why"))
    for one in watched:
        one.reason()
    eventually(lambda: not processes._turns.value.busy)


CHILD = """
import logging, os, signal, sys, threading
from supervision import Server, call, cast
from supervision.process import watch

watch.LOOK_S = 0.01
said = threading.Event()

class Says(logging.Handler):
    def emit(self, record):
        if record.event == "long_handler":
            said.set()

logging.getLogger("supervision").addHandler(Says())
go_on = threading.Event()

class Slow(Server):
    handler_warning = 0.05
    def on_receive(self, message):
        return message() if callable(message) else message
"""


def test_in_a_forked_child() -> None:
    run_script(
        CHILD
        + """
parents = Slow.start_link()
cast(parents, lambda: go_on.wait(20))
assert said.wait(10)
pid = os.fork()
if pid == 0:
    signal.alarm(15)
    from supervision.process import process
    ok = not process._turns.value.busy
    said = threading.Event()
    own = Slow.start_link()
    cast(own, lambda: go_on.wait(20))
    ok = ok and said.wait(10)
    os._exit(0 if ok else 1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
go_on.set()
print("done")
"""
    )


def test_a_fork_in_a_turn() -> None:
    run_script(
        CHILD
        + """
def fork():
    pid = os.fork()
    return pid if pid else os.getpid()

ref = Slow.start_link()
me = os.getpid()
def work():
    pid = os.fork()
    if pid == 0:
        signal.alarm(15)
        own = Slow.start_link()
        ok = call(own, 1) == 1
        os._exit(0 if ok else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
assert call(ref, work, timeout=20) == 0
print("done")
"""
    )


def test_at_interpreter_exit() -> None:
    run_script(
        CHILD
        + """
refs = [Slow.start_link() for _ in range(20)]
for ref in refs:
    cast(ref, lambda: go_on.wait(60))
assert said.wait(10)
"""
    )


def test_a_collection_does_not_let_the_thread_go_on_that_is_looked_at() -> None:
    done = run_script(
        """
        import gc
        from supervision.process.watch import stack_of

        def deep(left):
            if left:
                deep(left - 1)

        def work():
            while True:
                deep(300)

        def let_go(phase, info):
            if threading.current_thread() is threading.main_thread():
                os.stat("/")  # lets another thread run

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        gc.callbacks.append(let_go)
        gc.set_threshold(30)
        sys.setswitchinterval(1e-5)
        for _ in range(8000):
            stack_of(thread.ident, work.__code__)
        assert gc.isenabled()
        print("ok")
        """
    )
    assert done.stdout == "ok\n", done.stderr
