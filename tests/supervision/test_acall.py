"""`acall`: a task's `call`, which blocks no event loop; the same under asyncio, trio and uvloop."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from actors import Boom, Plain, Pooled, Threaded, a_thread_may_die
from loops import Loop
from threads import DEADLINE_S, eventually, run

from supervision import (
    Backoff,
    CallTimeout,
    ChildSpec,
    NoProcess,
    ServerDied,
    ServerRestarting,
    SupervisionError,
    Supervisor,
    acall,
    kill,
    named,
    whereis,
)
from supervision.runtime import dispatcher
from supervision.runtime.tasks import TaskReply


@pytest.fixture(params=["asyncio", "trio", "uvloop"])
def loop(request: pytest.FixtureRequest) -> Loop:
    return Loop(request.param)


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """Lets go of those that block."""
    made = threading.Event()
    yield made
    made.set()


every_actor = pytest.mark.parametrize("start", [Pooled.start_link, Threaded.start_link, Plain.start])


@every_actor
def test_the_answer_is_the_handlers(loop: Loop, start: Any) -> None:
    ref = start()
    assert loop.run(lambda: acall(ref, "hello")) == "hello"
    ref.stop()


def test_the_library_is_known_without_sniffio(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sniffio", None)
    ref = Pooled.start_link()
    assert loop.run(lambda: acall(ref, "hello")) == "hello"


@every_actor
def test_what_the_handler_raises_reaches_the_task_unchanged(loop: Loop, start: Any) -> None:
    ref, own = start(), Boom()
    with pytest.raises(Boom) as raised:
        loop.run(lambda: acall(ref, own))
    assert raised.value is own
    ref.stop()


@every_actor
def test_other_tasks_run_while_one_waits(loop: Loop, start: Any, held: threading.Event) -> None:
    slow, quick = start(), Pooled.start_link()

    async def release() -> Any:
        answer = await acall(quick, "quick")
        held.set()
        return answer

    async def both() -> Any:
        return await loop.together(lambda: acall(slow, lambda _: held.wait(DEADLINE_S), DEADLINE_S), release)

    assert loop.run(both) == [True, "quick"]
    slow.stop()


@every_actor
def test_no_answer_in_time_is_a_call_timeout(loop: Loop, start: Any, held: threading.Event) -> None:
    ref = start()
    with pytest.raises(CallTimeout):
        loop.run(lambda: acall(ref, lambda _: held.wait(DEADLINE_S), timeout=0.01))
    held.set()
    ref.stop()


@every_actor
def test_nothing_alive_is_no_process(loop: Loop, start: Any) -> None:
    ref = start()
    ref.stop()
    with pytest.raises(NoProcess):
        loop.run(lambda: acall(ref, "hello"))
    with pytest.raises(NoProcess):
        loop.run(lambda: acall("nothing", "hello", await_restart=True))


@a_thread_may_die
@every_actor
def test_an_end_before_the_answer_is_server_died(loop: Loop, start: Any, held: threading.Event) -> None:
    ref = start()

    def block(_: Any) -> None:
        held.wait(DEADLINE_S)
        raise SystemExit

    def end() -> None:
        eventually(lambda: ref.actor_inbox.qsize() == 1, "the second call in the mailbox")
        held.set()

    async def both() -> Any:
        return await loop.together(lambda: acall(ref, block, None), lambda: acall(ref, block, None))

    with run(end):
        assert loop.run(both) == [ServerDied, ServerDied]


@pytest.mark.parametrize("start", [Pooled.start_link, Threaded.start_link])
def test_a_call_to_oneself_is_refused(loop: Loop, start: Any) -> None:
    ref = start()
    with pytest.raises(SupervisionError, match="calls itself"):
        ref.ask(lambda actor: loop.run(lambda: acall(actor.actor_ref, "hello")), timeout=DEADLINE_S)


def test_an_actor_may_run_a_loop_in_its_own_thread(loop: Loop) -> None:
    other, ref = Pooled.start_link(), Threaded.start_link()
    asked = ref.ask(lambda _: loop.run(lambda: acall(other, "hello")), block=False)
    assert asked.get(timeout=DEADLINE_S) == "hello"


@pytest.mark.parametrize("timeout", [-1, "1", float("nan")])
def test_a_bad_timeout_is_refused_before_anything_is_sent(loop: Loop, timeout: Any) -> None:
    ran: list[Any] = []
    ref = Pooled.start_link()
    with pytest.raises((TypeError, ValueError)):
        loop.run(lambda: acall(ref, lambda _: ran.append(1), timeout))
    assert loop.run(lambda: acall(ref, "hello")) == "hello"
    assert ran == []


def test_without_an_event_loop_nothing_is_sent() -> None:
    ran: list[Any] = []
    ref = Pooled.start_link()
    with pytest.raises(RuntimeError):
        acall(ref, lambda _: ran.append(1)).send(None)
    assert ref.ask("hello") == "hello"
    assert ran == []


# --- restarts ---------------------------------------------------------------------------------------------------------


def test_it_waits_for_the_successor(loop: Loop) -> None:
    Supervisor.start_link([ChildSpec("a", Pooled, name="a", backoff=Backoff(0.05, jitter=0))])
    kill(whereis("a"))  # type: ignore[arg-type]

    async def all_three() -> Any:
        return await loop.together(
            lambda: acall("a", "now"),
            lambda: acall("a", "in time", 0.01, await_restart=True),
            lambda: acall("a", "hello", DEADLINE_S, await_restart=True),
        )

    assert loop.run(all_three) == [ServerRestarting, ServerRestarting, "hello"]
    kill(whereis("a"))  # type: ignore[arg-type]
    assert loop.run(lambda: acall(named("a", await_restart=True), "hello")) == "hello"


def test_it_hears_at_once_that_there_will_be_none(loop: Loop) -> None:
    sup = Supervisor.start_link([ChildSpec("a", Pooled, name="a", backoff=Backoff(30, jitter=0))])
    kill(whereis("a"))  # type: ignore[arg-type]

    async def terminate() -> None:
        threading.Thread(target=Supervisor.terminate_child, args=(sup, "a"), daemon=True).start()

    async def both() -> Any:
        return await loop.together(lambda: acall("a", "hello", None, await_restart=True), terminate)

    assert loop.run(both) == [NoProcess, None]


# --- cancellation -----------------------------------------------------------------------------------------------------


def replies() -> list[Any]:
    gc.collect()
    return [one for one in gc.get_objects() if isinstance(one, TaskReply)]


@every_actor
def test_a_cancelled_call_leaves_nothing_and_its_late_answer_is_dropped(
    loop: Loop, start: Any, held: threading.Event
) -> None:
    ref, ran = start(), threading.Event()

    def block(_: Any) -> Any:
        held.wait(DEADLINE_S)
        ran.set()

    loop.run(lambda: loop.cancelled(lambda: acall(ref, block, None)))
    held.set()
    assert ran.wait(DEADLINE_S)  # the server is not told
    ref.ask("done", timeout=DEADLINE_S)
    eventually(lambda: not replies(), "the end of the replies")
    ref.stop()


def test_a_cancelled_wait_for_a_successor_leaves_nothing(loop: Loop) -> None:
    Supervisor.start_link([ChildSpec("a", Pooled, name="a", backoff=Backoff(30, jitter=0))])
    ref = whereis("a")
    assert ref is not None
    kill(ref)
    loop.run(lambda: loop.cancelled(lambda: acall("a", "hello", None, await_restart=True)))
    assert not ref.actor_inbox.process.waiters  # type: ignore[attr-defined]


def test_an_answer_to_a_loop_that_is_closed_is_dropped(loop: Loop) -> None:
    async def make() -> TaskReply:
        return TaskReply()

    assert loop.run(make).set("late")


# --- what it does not do ----------------------------------------------------------------------------------------------


def test_a_thousand_calls_make_no_thread(loop: Loop) -> None:
    ref = Pooled.start_link()
    loop.run(lambda: acall(ref, "warm"))
    before = threading.active_count()
    most = 0

    async def one() -> Any:
        nonlocal most
        answer = await acall(ref, 1, DEADLINE_S)
        most = max(most, threading.active_count())
        return answer

    async def all_of_them() -> Any:
        return await loop.together(*[one] * 1000)

    assert sum(loop.run(all_of_them)) == 1000
    assert most <= before + dispatcher.WORKERS  # those of the pool may have joined


def test_importing_supervision_imports_no_event_loop() -> None:
    code = (
        "import sys, supervision; sys.exit(any(one in sys.modules for one in ('asyncio', 'trio', 'sniffio', 'anyio')))"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
