"""``call``, ``cast``, ``stop`` and ``kill``: who hears what, and when."""

import contextlib
import pickle
import threading
import time
from typing import Any

import pytest
from actors import Boom, Plain, Pooled, end_hooks, every_kind, every_server, spawn
from children import Watch
from holding import Gate
from threads import DEADLINE_S, eventually, run

from supervision import (
    KILLED,
    NORMAL,
    CallTimeout,
    Exit,
    NoProcess,
    ServerDied,
    SupervisionError,
    call,
    cast,
    kill,
    named,
    stop,
)


@every_kind
def test_the_answer_is_what_the_handler_returned(kind: str) -> None:
    ref = spawn(kind)
    for value in (None, 0, "text", (1, 2), KeyError("as a value")):
        assert call(ref, lambda _, value=value: value) is value


@every_kind
def test_what_the_handler_raised_reaches_the_caller_unchanged(kind: str) -> None:
    boom = Boom("with", "arguments")
    with pytest.raises(Boom) as raised:
        call(spawn(kind), boom)
    assert raised.value is boom


@every_kind
def test_a_timeout_error_of_the_handler_is_no_call_timeout(kind: str) -> None:
    with pytest.raises(TimeoutError):
        call(spawn(kind), TimeoutError("of its own"))


@every_kind
def test_a_server_that_dies_fails_its_waiting_callers_at_once_with_its_reason(kind: str) -> None:
    """The one in hand, and those in the queue; long before their own timeouts."""
    outcomes: list[Any] = []

    def ask(message: Any) -> None:
        try:
            call(ref, message, timeout=None)
        except ServerDied as error:
            outcomes.append(error.reason)

    ref = spawn(kind)
    assert call(ref, 1) == 1
    stuck = Gate()
    with run(lambda: ask(stuck)), stuck:
        assert stuck.entered.wait(DEADLINE_S)
        with run(*[lambda: ask("queued")] * 3):
            eventually(lambda: ref.actor_inbox.qsize() == 3)
            kill(ref)
        eventually(lambda: len(outcomes) == 4)
    assert outcomes == [KILLED] * 4


@every_server
def test_the_caller_hears_of_the_crash_after_the_end_hook(kind: str) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    with pytest.raises(Boom):
        call(ref, Boom())
    assert end_hooks(ran) == ["on_terminate"]
    with pytest.raises(NoProcess):
        call(ref, 1)


@every_kind
def test_a_call_to_oneself_is_an_error_at_once(kind: str) -> None:
    ref = spawn(kind)

    def calls_itself(actor: Any) -> Any:
        with pytest.raises(SupervisionError, match="calls itself"):
            call(actor.actor_ref, 1)
        with pytest.raises(SupervisionError, match="raise Exit"):
            stop(actor.actor_ref)
        return "fine"

    assert call(ref, calls_itself) == "fine"


@every_kind
def test_a_call_that_timed_out_leaves_nothing_in_the_way(kind: str) -> None:
    ref = spawn(kind)
    with Gate() as stuck:
        stuck.grip(ref)
        began = time.monotonic()
        with pytest.raises(CallTimeout) as raised:
            call(ref, "late", timeout=0.05)
        assert 0.05 <= time.monotonic() - began < 2.0
        assert raised.value.server is ref
        assert raised.value.timeout == 0.05
    assert call(ref, 1) == 1


def test_a_timeout_of_zero_does_not_wait() -> None:
    ref = Pooled.start_link()
    with Gate() as stuck:
        stuck.grip(ref)
        with pytest.raises(CallTimeout):
            call(ref, 1, timeout=0)


@every_kind
@pytest.mark.parametrize(("timeout", "error"), [(-1, ValueError), (float("nan"), ValueError), ("5", TypeError)])
def test_an_invalid_timeout_is_refused_and_the_server_hears_nothing(kind: str, timeout: Any, error: Any) -> None:
    handled: list[Any] = []
    ref = spawn(kind)
    with pytest.raises(error, match="timeout"):
        call(ref, lambda _: handled.append(1), timeout=timeout)
    with pytest.raises(error, match="timeout"):
        stop(ref, timeout=timeout)
    assert call(ref, 1) == 1
    assert handled == []


@every_kind
def test_a_call_without_a_limit_waits_as_long_as_the_server_lives(kind: str) -> None:
    ref = spawn(kind)
    answers: list[Any] = []
    stuck = Gate()
    with run(lambda: answers.append(call(ref, stuck, timeout=None))), stuck:
        assert stuck.entered.wait(DEADLINE_S)
    assert answers == ["late"]


@every_kind
def test_cast_says_nothing_whatever_becomes_of_it(kind: str) -> None:
    ref = spawn(kind)
    cast(ref, "unknown")
    watch = Watch(ref)
    cast(ref, Boom())
    watch.reason()
    cast(ref, "to the dead")
    cast("nobody", "to nobody")


@pytest.mark.parametrize("function", [call, cast])
def test_a_server_is_a_ref_or_a_name(function: Any) -> None:
    for wrong in (None, 3, b"name", Plain):
        with pytest.raises(TypeError, match="server"):
            function(wrong, "message")
    with pytest.raises(TypeError, match="give its actor_ref"):
        function(named("a proxy").proxy(), "message")


@every_kind
def test_stop_runs_what_was_queued_and_the_end_hook_and_is_down_on_return(kind: str) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    watch = Watch(ref)
    for number in range(100):
        cast(ref, lambda _, number=number: ran.append(number))
    stop(ref)
    assert [entry for entry in ran if isinstance(entry, int)] == list(range(100))
    assert len(end_hooks(ran)) == 1
    assert not ref.is_alive()
    assert [down.reason for down in watch.downs] == [NORMAL]
    with pytest.raises(NoProcess):
        stop(ref)


@every_kind
def test_a_stop_that_takes_too_long_says_that_it_goes_on(kind: str) -> None:
    """Not that the server is alive: an unmodified actor is dead to others while its end hook runs."""
    with Gate() as stuck:
        ref = spawn(kind, dict.fromkeys(("on_terminate", "on_stop"), lambda *_: stuck(None)))
        watch = Watch(ref)
        with pytest.raises(CallTimeout) as raised:
            stop(ref, timeout=0.05)
        assert str(raised.value) == f"{ref} has not ended within 0.05 s; its stop goes on"
        assert (raised.value.server, raised.value.timeout) == (ref, 0.05)
        assert pickle.loads(pickle.dumps(raised.value)).args == raised.value.args
    assert watch.reason() == NORMAL


@every_kind
def test_many_who_stop_one_all_return(kind: str) -> None:
    for _ in range(10):
        ref = spawn(kind)
        watch = Watch(ref)
        barrier = threading.Barrier(6)

        def end(ref: Any = ref, barrier: Any = barrier) -> None:
            barrier.wait(DEADLINE_S)
            with contextlib.suppress(NoProcess):
                stop(ref, timeout=DEADLINE_S)

        with run(*[end] * 6):
            pass
        assert watch.reason() == NORMAL
        assert len(watch.downs) == 1


@every_kind
def test_kill_runs_no_hook_and_needs_nobody_alive(kind: str) -> None:
    ran: list[Any] = []
    ref = spawn(kind, ran=ran)
    assert call(ref, 1) == 1
    watch = Watch(ref)
    kill(ref)
    kill(ref)
    assert [down.reason for down in watch.downs] == [KILLED]
    assert end_hooks(ran) == []


@every_kind
def test_kill_does_not_wait_for_the_backlog(kind: str) -> None:
    handled: list[Any] = []
    ref = spawn(kind)
    with Gate() as stuck:
        stuck.grip(ref)
        for _ in range(10):
            cast(ref, lambda _: handled.append(1))
        kill(ref)
        assert not ref.is_alive()
    eventually(lambda: handled == [])
    assert call(Pooled.start_link(), 1) == 1
    assert handled == []


@every_server
def test_a_kill_in_the_midst_of_on_terminate_ends_it(kind: str) -> None:
    with Gate() as stuck:
        ref = spawn(kind, {"on_terminate": stuck})
        watch = Watch(ref)
        stopped = ref.stop(block=False)
        assert stuck.entered.wait(DEADLINE_S)
        kill(ref)
        assert [down.reason for down in watch.downs] == [KILLED]
        assert stopped.get(timeout=0) is True
    assert len(watch.downs) == 1


@every_server
def test_a_reply_given_before_the_end_is_delivered(kind: str) -> None:
    ref = spawn(kind)
    watch = Watch(ref)
    answered = call(ref, lambda actor: actor.stop() or "goodbye")
    assert answered == "goodbye"
    assert watch.reason() == NORMAL


@every_kind
def test_an_exit_under_call_is_told_to_the_caller_as_the_end(kind: str) -> None:
    ref = spawn(kind)
    with pytest.raises(ServerDied) as raised:
        call(ref, Exit())
    assert raised.value.reason == NORMAL
    assert raised.value.server is ref


def test_a_ctrl_c_while_waiting_for_a_start_leaves_no_orphan(monkeypatch: pytest.MonkeyPatch) -> None:
    from supervision.process import process
    from supervision.runtime.waits import Reply

    class Interrupted(Reply):
        def wait(self, timeout: float | None) -> bool:
            raise KeyboardInterrupt

    entered = threading.Event()
    with Gate() as stuck:
        monkeypatch.setattr(process, "Reply", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            Pooled.start_link({"on_start": lambda: (entered.set(), stuck(None))}, name="it")
        monkeypatch.undo()
        with pytest.raises(NoProcess):
            call("it", 1)
