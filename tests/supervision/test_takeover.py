"""Live Pykka actors that are taken over: nothing is lost on the way, whatever they are doing at that moment."""

import queue
import threading
from typing import Any

import pykka
import pytest
from pykka import ActorDeadError, ActorRegistry
from pykka._envelope import Envelope
from pykka.messages import _ActorStop
from specimens import DEADLINE_S, Boom, Plain, Pooled, Stuck, Watch, eventually, run

from supervision import (
    NORMAL,
    ChildSpec,
    NoProcess,
    StartError,
    Supervisor,
    call,
    cast,
    monitor,
    register,
    whereis,
)
from supervision.lifecycle import Life, Phase, life_of, takeover


def is_ours(ref: Any) -> bool:
    return isinstance(getattr(ref.actor_inbox, "life", None), Life)


def test_messages_sent_before_during_and_after_are_handled_once_and_in_order() -> None:
    handled: dict[int, list[int]] = {number: [] for number in range(4)}
    ref = Plain.start()

    def send(sender: int) -> None:
        for number in range(500):
            ref.tell(lambda _, number=number: handled[sender].append(number))
            if number == 250:
                assert monitor(ref, lambda _: None)

    with run(*[lambda sender=sender: send(sender) for sender in handled]):
        pass
    assert call(ref, "done") == "done"
    assert handled == {sender: list(range(500)) for sender in handled}


def test_the_message_in_hand_finishes_first_and_its_asker_gets_the_answer() -> None:
    ref = Plain.start()
    with Stuck() as stuck:
        in_hand = ref.ask(stuck, block=False)
        queued = ref.ask("queued", block=False)
        assert stuck.entered.wait(DEADLINE_S)
        register("it", ref)
        assert is_ours(ref)
        later = ref.ask("later", block=False)
        stuck.go()
    assert [future.get(timeout=DEADLINE_S) for future in (in_hand, queued, later)] == ["late", "queued", "later"]


def test_an_idle_actor_is_taken_over_without_waiting_for_its_next_message() -> None:
    ref = Plain.start()
    assert ref.ask(1) == 1
    assert whereis("it") is None
    register("it", ref)
    eventually(lambda: life_of(ref).phase == Phase.RUNNING)  # type: ignore[union-attr]
    assert call("it", 2) == 2


def test_who_still_holds_the_old_queue_reaches_the_actor() -> None:
    ref = Plain.start()
    old = ref.actor_inbox
    register("it", ref)
    handled = threading.Event()
    old.put(Envelope(lambda _: handled.set()))
    assert handled.wait(DEADLINE_S)
    watch = Watch(ref)
    ref.stop(timeout=DEADLINE_S)
    watch.reason()
    with pytest.raises(ActorDeadError):
        old.put(Envelope(1))


def test_what_is_left_in_the_queue_of_one_that_ended_meanwhile_is_answered() -> None:
    """Pykka drains the queue "while not empty" and leaves; what is put after that is ours to answer."""
    ended = Pooled.start_link()
    ended.stop(timeout=DEADLINE_S)
    old: queue.Queue[Any] = queue.Queue()
    asked, stopped = pykka.ThreadingFuture[Any](), pykka.ThreadingFuture[Any]()
    for envelope in (Envelope(1, asked), Envelope("a tell"), Envelope(_ActorStop(), stopped)):
        old.put(envelope)
    takeover.forward(old, ended.actor_inbox)
    for future in (asked, stopped):
        with pytest.raises(ActorDeadError):
            future.get(timeout=0)


def test_twenty_at_once_take_over_the_same_actor_once() -> None:
    ref = Plain.start()
    lives: list[Any] = []
    barrier = threading.Barrier(20)

    def adopt() -> None:
        barrier.wait(DEADLINE_S)
        lives.append(life_of(ref))

    with run(*[adopt] * 20):
        pass
    assert len(set(lives)) == 1


def test_its_thread_may_be_in_our_loop_before_the_take_over_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = takeover.forward

    def slow(old: Any, mailbox: Any, guest: Any = None) -> None:
        forward(old, mailbox, guest)
        eventually(lambda: mailbox.life.phase == Phase.RUNNING)

    monkeypatch.setattr(takeover, "forward", slow)
    ref = Plain.start()
    assert ref.ask(1) == 1
    watch = Watch(ref)
    thread = call(ref, lambda _: threading.current_thread())
    eventually(lambda: life_of(ref).busy is None)  # type: ignore[union-attr]
    assert ref.stop(timeout=DEADLINE_S) is True
    assert watch.reason() == NORMAL
    thread.join(DEADLINE_S)  # an error that ends it fails this test, too
    assert not thread.is_alive()


def test_an_inbox_of_the_classs_own_that_is_a_queue_is_fine() -> None:
    class Newest(pykka.ThreadingActor):
        use_daemon_thread = True

        @staticmethod
        def _create_actor_inbox() -> Any:
            return queue.LifoQueue()

        def on_receive(self, message: Any) -> Any:
            return message

    ref = Newest.start()
    register("it", ref)
    assert call("it", 1) == 1


def test_an_inbox_that_is_no_queue_is_refused_by_name() -> None:
    class Box:
        def __init__(self) -> None:
            self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
            self.put, self.get, self.empty = self._queue.put, self._queue.get, self._queue.empty

    class Odd(pykka.ThreadingActor):
        use_daemon_thread = True
        _create_actor_inbox = staticmethod(Box)

    ref = Odd.start()
    with pytest.raises(TypeError, match="Box"):
        monitor(ref, lambda _: None)
    assert ref.stop(timeout=DEADLINE_S) is True
    with pytest.raises(StartError) as raised:
        Supervisor.start_link([ChildSpec("it", Odd)])
    assert isinstance(raised.value.cause, TypeError)
    assert ActorRegistry.get_all() == []


def test_what_pykka_offers_works_on_as_before() -> None:
    class Proxied(pykka.ThreadingActor):
        colour = "red"

        def double(self, number: int) -> int:
            return 2 * number

    for ref in (Proxied.start(), Supervisor.which_children(Supervisor.start_link([ChildSpec("it", Proxied)]))[0].ref):
        proxy = ref.proxy()
        register("it", ref)
        assert proxy.double(2).get(timeout=DEADLINE_S) == 4
        proxy.colour = "blue"
        assert proxy.colour.get(timeout=DEADLINE_S) == "blue"
        proxy.double.defer(2)
        assert ref in ActorRegistry.get_by_class_name("Proxied")
        assert ActorRegistry.get_by_urn(ref.actor_urn) is ref
        assert proxy.stop().get(timeout=DEADLINE_S) is None
        eventually(lambda ref=ref: not ref.is_alive())
        assert whereis("it") is None


def test_a_server_that_pykka_started_and_whose_start_fails_is_gone() -> None:
    boom = Boom()
    ref = Pooled.start({"on_start": boom})
    eventually(lambda: not ref.is_alive())
    assert ActorRegistry.get_all() == []
    cast(ref, "into the void")


def test_an_actor_of_another_kind_is_no_process() -> None:
    class Foreign(pykka.Actor):
        _create_actor_inbox = staticmethod(queue.Queue)  # type: ignore[assignment]
        _create_future = staticmethod(pykka.ThreadingFuture)
        stopped_by = threading.Event

        def _start_actor_loop(self) -> None:
            threading.Thread(target=self._actor_loop, daemon=True).start()

    ref = Foreign.start()
    with pytest.raises(NoProcess):
        register("it", ref)
    assert ref.stop(timeout=DEADLINE_S) is True
