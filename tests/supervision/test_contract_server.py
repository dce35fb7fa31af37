""".github/design/supervision.md 1.12: the rows of GenServer: hooks, ends, logs. Each for every kind of actor it applies to."""

import logging
from typing import Any

import pytest
from children import KINDS, Probe, Scripted, ThreadProbe, Watch, World, die, ref_of
from threads import DEADLINE_S, eventually

from supervision import (
    KILLED,
    NORMAL,
    SHUTDOWN,
    CallTimeout,
    Crash,
    Exit,
    NoProcess,
    Server,
    ServerDied,
    Shutdown,
    SupervisionError,
    Supervisor,
    call,
    cast,
    send_after,
    stop,
)

BOOM = Scripted("boom")
SERVERS = (Probe, ThreadProbe)


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def ref(request: pytest.FixtureRequest, world: World) -> Any:
    """A supervised actor that is not restarted."""
    return ref_of(Supervisor.start_link([world.spec("a", request.param, restart="temporary")]), "a")


# --- hooks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("runtime", ["pool", "thread"])
def test_on_continue_runs_after_the_start_and_before_any_message(runtime: str, world: World) -> None:
    """[OTP] ``[:continue, :early]``: also before a message that was sent while it still started."""
    log: list[str] = []

    class Continues(Server):
        def on_start(self) -> None:
            cast(self.actor_ref, "early")

        def on_continue(self) -> None:
            log.append("continue")

        def on_receive(self, message: Any) -> Any:
            log.append(message)

    Continues.runtime = runtime  # type: ignore[assignment]
    ref = Continues.start_link()
    call(ref, "late")
    assert log == ["continue", "early", "late"]


def test_start_link_does_not_wait_for_on_continue(gate: Any) -> None:
    class Continues(Server):
        def on_continue(self) -> None:
            gate(self)

    ref = Continues.start_link()
    assert gate.entered.wait(DEADLINE_S)
    assert ref.is_alive()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        (Exit(), NORMAL),
        (Exit(SHUTDOWN), SHUTDOWN),
        (Exit(Shutdown("x")), Shutdown("x")),
        (Exit(KILLED), KILLED),
        (BOOM, Crash(BOOM)),
    ],
)
@pytest.mark.parametrize("kind", SERVERS)
def test_on_terminate_runs_once_with_the_reason_the_watchers_get(
    kind: type, how: BaseException, reason: Any, world: World
) -> None:
    reasons: list[Any] = []

    class Child(kind):  # type: ignore[misc, valid-type]
        def on_terminate(self, reason: Any) -> None:
            reasons.append(reason)

        def on_stop(self) -> None:
            reasons.append("on_stop")

        def on_failure(self, *_: Any) -> None:
            reasons.append("on_failure")

    ref = Child.start_link(world, "a")
    world.gone("a")
    assert die(ref, how) == reason
    assert reasons == [reason]


def test_on_terminate_does_not_run_after_a_kill_nor_after_a_failed_start(world: World) -> None:
    world.script("b", "fail")
    ref = Probe.start_link(world, "a")
    world.gone("a")
    assert die(ref) == KILLED
    with pytest.raises(Exception, match="did not start"):
        Probe.start_link(world, "b")
    assert world.log() == ["start a", "fail b"]


# --- stop -------------------------------------------------------------------------------------------------------------


def test_stop_runs_the_end_hook_and_is_down_on_return(ref: Any, world: World) -> None:
    watch = Watch(ref)
    assert stop(ref) is None
    assert world.log() == ["start a", "stop a"]
    assert [down.reason for down in watch.downs] == [NORMAL]
    with pytest.raises(NoProcess):
        stop(ref)


def test_stop_handles_what_is_in_the_mailbox_first(ref: Any) -> None:
    handled: list[int] = []
    for number in range(50):
        cast(ref, lambda _, number=number: handled.append(number))
    stop(ref)
    assert handled == list(range(50))


def test_a_stop_that_times_out_goes_on(ref: Any, gate: Any) -> None:
    watch = Watch(ref)
    cast(ref, gate)
    assert gate.entered.wait(DEADLINE_S)
    with pytest.raises(CallTimeout):
        stop(ref, timeout=0.01)
    gate.go()
    assert watch.reason() == NORMAL


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "5", True])
def test_a_bad_timeout_is_an_error_and_the_server_lives(ref: Any, timeout: Any) -> None:
    """``stop3``; and the same for a call, which the server does not hear of."""
    heard: list[str] = []
    for attempt in (
        lambda: stop(ref, timeout=timeout),
        lambda: call(ref, lambda _: heard.append("heard"), timeout=timeout),
    ):
        with pytest.raises((TypeError, ValueError), match="timeout"):
            attempt()
    assert call(ref, "alive") == "alive"
    assert heard == []


def test_stopping_oneself_is_an_error_at_once(ref: Any) -> None:
    def stops_itself(actor: Any) -> str:
        with pytest.raises(SupervisionError, match="Exit"):
            stop(actor.actor_ref)
        return "lives"

    assert call(ref, stops_itself) == "lives"


@pytest.mark.parametrize("reason", [NORMAL, SHUTDOWN, Shutdown("x"), KILLED])
def test_exit_in_a_call_ends_it_and_the_caller_hears_the_reason(reason: Any, ref: Any) -> None:
    watch = Watch(ref)
    with pytest.raises(ServerDied) as caught:
        call(ref, Exit(reason))
    assert caught.value.reason == reason == watch.reason()


def test_reply_then_stop(ref: Any) -> None:
    """OTP's ``{stop, reason, reply, state}``: answer, and be gone after it."""
    watch = Watch(ref)

    def last_words(actor: Any) -> str:
        cast(actor.actor_ref, Exit(SHUTDOWN))
        return "last words"

    assert call(ref, last_words) == "last words"
    assert watch.reason() == SHUTDOWN


# --- log and timers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "errors"), [(Exit(), 0), (Exit(SHUTDOWN), 0), (Exit(Shutdown(1)), 0), (BOOM, 1)])
def test_an_error_is_logged_unless_the_end_is_orderly(
    how: BaseException, errors: int, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "supervision"):
        die(Probe.start_link(world, "a"), how)
    assert [record.event for record in caplog.records].count("server_crashed") == errors
    assert sum(record.levelno >= logging.ERROR for record in caplog.records) == errors


def test_cancel_is_final(ref: Any) -> None:
    heard: list[str] = []
    timer = send_after(3_600, ref, lambda _: heard.append("never"))
    assert timer.cancel() is True
    assert timer.cancel() is False
    done = send_after(0, ref, lambda _: heard.append("now"))
    eventually(lambda: heard == ["now"])
    assert done.cancel() is False
