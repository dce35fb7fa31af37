"""Signal handlers and finalizers that talk to actors, at every instruction of what they interrupt on this thread."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
from actors import Pooled, Threaded
from interruptions import interrupted_at, interrupted_everywhere
from threads import DEADLINE_S, eventually

from supervision import Server, SupervisionError, call, cast, demonitor, monitor, send_after, stop
from supervision.process import mailbox
from supervision.runtime import dispatcher

KINDS = [Pooled, Threaded]


class _Brief(dispatcher._Pool):
    """A pool whose workers leave as soon as there is nothing to do, so that each piece of work finds none."""

    def _wait(self, worker: dispatcher._Worker) -> None:
        return None


@pytest.fixture(params=["warm", "cold"], autouse=True)
def pool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool as it is, or one that grows by each piece of work anew."""
    if request.param == "cold":
        monkeypatch.setattr(dispatcher._pool, "value", _Brief())


def asked(ref: Any) -> None:
    assert ref.ask(1, timeout=DEADLINE_S) == 1


def called(ref: Any) -> None:
    assert call(ref, 1, timeout=DEADLINE_S) == 1


def watched(ref: Any) -> None:
    demonitor(monitor(ref, lambda _: None))


def timed(ref: Any) -> None:
    due = threading.Lock()
    due.acquire()
    send_after(0, ref, lambda _: due.release())
    send_after(100, ref, 1).cancel()
    assert due.acquire(timeout=DEADLINE_S)


@pytest.mark.parametrize("handler", [asked, called, watched, timed], ids=lambda f: f.__name__)
@pytest.mark.parametrize("work", [asked, called, watched, timed], ids=lambda f: f.__name__)
@pytest.mark.parametrize("cls", KINDS, ids=lambda c: c.__name__)
def test_a_handler_is_served_wherever_it_interrupts_a_sender(
    cls: type[Server], work: Callable[[Any], None], handler: Callable[[Any], None]
) -> None:
    ref: Any = cls.start_link()

    assert interrupted_everywhere(lambda: work(ref), lambda: handler(ref)) > 10
    called(ref)
    assert not ref.actor_inbox.process.observers


@pytest.mark.parametrize("send", [cast, lambda ref, message: ref.tell(message)], ids=["cast", "tell"])
@pytest.mark.parametrize("cls", KINDS, ids=lambda c: c.__name__)
def test_no_message_is_lost_and_each_comes_in_its_order(cls: type[Server], send: Any) -> None:
    ref: Any = cls.start_link()
    handled: list[int] = []
    sent = 0

    def work() -> None:
        nonlocal sent
        for _ in range(3):
            sent += 1
            send(ref, lambda _, number=sent: handled.append(number))

    count = interrupted_everywhere(work, lambda: called(ref))
    assert count > 10
    eventually(lambda: len(handled) == sent)
    assert handled == sorted(handled)


@pytest.mark.parametrize("pool", ["warm"], indirect=True)  # else this starts the first thread of all, as no sender does
def test_an_actor_is_served_while_it_is_being_watched_or_stopped_by_what_is_interrupted() -> None:
    """Who stops or kills holds nothing that the actor's turn, or another actor's, needs."""
    other: Any = Pooled.start_link()

    def work() -> None:
        ref: Any = Pooled.start_link()
        ref.stop(timeout=DEADLINE_S)

    assert interrupted_everywhere(work, lambda: called(other)) > 10


@pytest.mark.parametrize("pool", ["warm"], indirect=True)
def test_what_is_interrupted_in_its_wait_for_an_end_may_be_so_by_one_that_brings_it_about() -> None:
    """As the handler of SIGTERM that stops what the program waits for, and waits, too."""
    refs: list[Any] = []

    def work() -> None:
        refs[-1].actor_stopped.wait(0)

    def handler() -> None:
        refs[-1].stop(block=False)
        assert refs[-1].actor_stopped.wait(DEADLINE_S)

    refs.append(Pooled.start_link())
    while interrupted_at(len(refs), work, handler):
        refs.append(Pooled.start_link())
    stop(refs[-1])
    assert not mailbox._closings.value
    assert len(refs) > 10


def test_an_ask_to_oneself_is_refused_like_a_call_instead_of_waiting_for_ever() -> None:
    """A finalizer that asks may be run by the collector on that very actor's thread."""
    ref: Any = Pooled.start_link()

    def handler(_: Any) -> None:
        with pytest.raises(SupervisionError, match="own answer"):
            ref.ask(1)

    call(ref, handler, timeout=DEADLINE_S)


def test_many_senders_and_an_end_lose_no_asker() -> None:
    """An envelope that is put in at the moment of the end is answered, whoever finds it."""
    for _ in range(100):
        ref: Any = Pooled.start_link()
        barrier = threading.Barrier(5)
        answers: list[object] = []

        def ask(ref: Any = ref, barrier: Any = barrier, answers: Any = answers) -> None:
            barrier.wait(DEADLINE_S)
            for _ in range(20):
                try:
                    answers.append(call(ref, 1, timeout=DEADLINE_S))
                except Exception as error:
                    answers.append(type(error).__name__)

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        barrier.wait(DEADLINE_S)
        ref.stop(timeout=DEADLINE_S)
        for thread in threads:
            thread.join(DEADLINE_S)
        assert len(answers) == 80
        assert set(answers) <= {1, "NoProcess", "ServerDied"}
