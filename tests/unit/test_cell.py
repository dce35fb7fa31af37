"""The cell: what readers see, what a successor finds, and who may write."""

import math
import queue
import threading
from dataclasses import FrozenInstanceError

import pytest
from fakes import AUTH, Stopwatch
from machine_driver import CONFIG, DOWN

import supervision
from oidc_actor import TokenResponse
from oidc_actor.machine.events import FetchFailed
from oidc_actor.machine.state import State
from oidc_actor.reading.cell import EMPTY, Cell, Snapshot, by_name
from oidc_actor.reading.directory import locate, take_cell
from oidc_actor.reading.waiters import GONE, Subscription, ThreadWaiter
from supervision import Crash, NoProcess, Server

TOKEN = TokenResponse("the-token", expires_in=300)
CRASH = Crash(RuntimeError())


class Owner(Server):
    """Stands for a manager."""


@pytest.fixture
def owner():
    ref = Owner.start_link()
    yield ref
    supervision.kill(ref)


@pytest.fixture
def successor():
    ref = Owner.start_link()
    yield ref
    supervision.kill(ref)


@pytest.fixture
def cell(owner):
    made = Cell("m", "identity", Stopwatch())
    made.set_owner(owner, None)
    return made


def waiter() -> ThreadWaiter:
    return ThreadWaiter(2000.0, 0.0, wants_refresh=False)


@pytest.mark.P2
def test_an_empty_snapshot_is_always_dead() -> None:
    assert EMPTY.deadline == -math.inf
    assert (EMPTY.text, EMPTY.token) == ("", None)


def test_a_snapshot_is_frozen_and_shows_no_token() -> None:
    snapshot = Snapshot(TOKEN, 1300.0)
    assert (snapshot.text, snapshot.deadline, snapshot.token) == ("the-token", 1300.0, TOKEN)
    assert "the-token" not in repr(snapshot)
    with pytest.raises(FrozenInstanceError):
        snapshot.text = "other"


@pytest.mark.P1
def test_publishing_swaps_the_snapshot_as_a_whole(cell: Cell, owner) -> None:
    cell.publish(owner, TOKEN, 1300.0)
    assert cell.snapshot.token is TOKEN
    cell.publish(owner, TokenResponse("next"), 1600.0)
    assert (cell.snapshot.text, cell.snapshot.deadline) == ("next", 1600.0)


def test_only_that_very_token_is_taken_back(cell: Cell, owner) -> None:
    assert not cell.reject("")
    cell.publish(owner, TOKEN, 1300.0)
    assert not cell.reject("another")
    assert not cell.reject("")
    assert cell.reject("the-token")
    assert cell.snapshot.deadline == -math.inf
    assert not cell.reject("the-token")
    assert cell.rejected is TOKEN


def test_the_writes_of_one_that_was_replaced_do_not_count(cell: Cell, owner, successor) -> None:
    cell.set_owner(successor, None)
    cell.publish(owner, TOKEN, 1300.0)
    assert cell.snapshot is EMPTY
    assert not cell.save(owner, State(CONFIG, AUTH))
    assert cell.state is None
    assert not cell.expect(owner, 1, 1)
    cell.close(owner)
    assert not cell.closed
    cell.owner_ended(owner, CRASH)
    assert cell.is_served


def test_a_result_is_kept_until_it_is_taken(cell: Cell, owner) -> None:
    result = FetchFailed(1, 2, 1000.0, DOWN)
    cell.deliver(result)
    assert cell.take_result(owner) is None
    assert cell.expect(owner, 1, 2)
    cell.deliver(FetchFailed(1, 1, 1000.0, DOWN))
    assert cell.take_result(owner) is None
    cell.deliver(result)
    assert cell.take_result(owner) is result
    assert cell.take_result(owner) is None
    cell.deliver(result)
    assert cell.take_result(owner) is None


def test_a_result_that_was_given_up_comes_too_late(cell: Cell, owner) -> None:
    cell.expect(owner, 1, 1)
    cell.forget_request(owner)
    cell.deliver(FetchFailed(1, 1, 1000.0, DOWN))
    assert cell.take_result(owner) is None


def test_a_result_is_taken_by_nobody_who_was_replaced(cell: Cell, owner, successor) -> None:
    result = FetchFailed(1, 1, 1000.0, DOWN)
    cell.expect(owner, 1, 1)
    cell.set_owner(successor, None)
    cell.forget_request(owner)
    cell.deliver(result)
    assert cell.take_result(owner) is None
    assert cell.take_result(successor) is result


def test_a_result_can_be_taken_after_the_end(cell: Cell, owner, successor) -> None:
    result = FetchFailed(1, 1, 1000.0, DOWN)
    cell.expect(owner, 1, 1)
    cell.deliver(result)
    cell.close(owner)
    assert cell.take_result(successor) is None
    assert cell.take_result(owner) is result


def test_waiters_are_known_to_an_incarnation_once(cell: Cell, owner, successor) -> None:
    reader = waiter()
    cell.add_waiter(reader)
    assert reader.outcome is None
    assert cell.new_waiters(owner) == [reader]
    assert cell.new_waiters(owner) == []
    assert not cell.is_new(owner, reader)
    cell.set_owner(successor, None)
    assert cell.is_new(successor, reader)
    assert cell.new_waiters(successor) == []
    cell.remove_waiter(reader)
    cell.remove_waiter(reader)
    assert cell.new_waiters(successor) == []


def test_an_incarnation_that_was_killed_takes_no_waiter_from_its_successor(cell: Cell, owner, successor) -> None:
    reader = waiter()
    cell.add_waiter(reader)
    cell.set_owner(successor, None)
    assert cell.new_waiters(successor) == [reader]
    assert cell.new_waiters(owner) == []
    assert not cell.is_new(owner, reader)
    assert not cell.is_new(successor, reader)


def test_a_waiter_that_was_dismissed_is_none_of_the_one_made_anew(cell: Cell, owner, successor) -> None:
    reader = waiter()
    cell.add_waiter(reader)
    cell.forked = True
    cell.owner_ended(owner, CRASH)
    cell.set_owner(successor, None, anew=True)
    assert cell.new_waiters(successor) == []
    assert reader.wait(0) is GONE


def told(cell: Cell, count: int) -> list[str]:
    """Have the cell's manager be one that counts, and give the types of its first messages."""
    heard: queue.SimpleQueue[object] = queue.SimpleQueue()

    class Hearing(Server):
        def on_receive(self, message: object) -> None:
            heard.put(message)

    ref = Hearing.start_link()
    cell.set_owner(ref, None)
    try:
        for reader in [waiter() for _ in range(count)]:
            cell.add_waiter(reader)
        for listener in [waiter() for _ in range(count)]:
            cell.add_waiter(listener, quietly=True)
        supervision.stop(ref)
    finally:
        supervision.kill(ref)
    return [type(heard.get_nowait()).__name__ for _ in range(heard.qsize())]


@pytest.mark.P3
def test_a_herd_sends_one_message_and_a_quiet_listener_none(cell: Cell) -> None:
    assert told(cell, 50) == ["WaitersArrived"]


def test_whoever_comes_behind_a_quiet_listener_or_a_known_reader_is_announced(cell: Cell, owner) -> None:
    cell.add_waiter(waiter(), quietly=True)
    assert told(cell, 1) == ["WaitersArrived"]
    cell.set_owner(owner, None)
    assert len(cell.new_waiters(owner)) == 3
    assert told(cell, 1) == ["WaitersArrived"]


def test_closing_empties_it_and_dismisses_who_waits(cell: Cell, owner) -> None:
    cell.publish(owner, TOKEN, 1300.0)
    reader = waiter()
    cell.add_waiter(reader)
    cell.close(owner)
    assert reader.wait(0) is GONE
    assert cell.snapshot is EMPTY
    late = waiter()
    cell.add_waiter(late)
    assert late.wait(0) is GONE
    assert late not in cell.waiting
    assert not cell.subscribe(Subscription(cell, print))
    cell.publish(owner, TOKEN, 1300.0)
    assert cell.snapshot is EMPTY
    assert not cell.set_owner(owner, None)


@pytest.mark.parametrize("reason", [supervision.NORMAL, supervision.SHUTDOWN, supervision.Shutdown("x")])
def test_an_orderly_end_closes_it(reason, cell: Cell, owner) -> None:
    cell.owner_ended(owner, reason)
    assert cell.closed


@pytest.mark.P4
@pytest.mark.parametrize("reason", [CRASH, supervision.KILLED, supervision.NOPROC])
def test_a_crash_leaves_the_token_but_nobody_to_wait_for(reason, cell: Cell, owner) -> None:
    cell.publish(owner, TOKEN, 1300.0)
    reader = waiter()
    cell.add_waiter(reader)
    cell.owner_ended(owner, reason)
    assert reader.wait(0) is GONE
    late = waiter()
    cell.add_waiter(late)
    assert late.wait(0) is GONE
    assert late not in cell.waiting
    assert cell.snapshot.token is TOKEN


def test_a_waiter_keeps_its_first_outcome() -> None:
    reader = waiter()
    reader.resolve(TOKEN)
    reader.resolve(GONE)
    assert reader.wait(0) is TOKEN


def test_a_waiter_wakes_its_thread() -> None:
    reader = waiter()
    threading.Timer(0, reader.resolve, [TOKEN]).start()
    assert reader.wait(10) is TOKEN


# --- the tables -------------------------------------------------------------------------------------------------------------


def claimed(ref, name: str | None = "m", identity: object = "identity", clock=None) -> Cell:
    return take_cell(ref, name=name, identity=identity, clock=clock or CLOCK, supervisor=None)


CLOCK = Stopwatch()


@pytest.fixture(autouse=True)
def _no_names():
    yield
    for cell in list(by_name.values()):
        cell.close(None)


@pytest.mark.P4
def test_the_same_name_and_identity_is_the_same_cell(owner, successor) -> None:
    assert claimed(owner) is claimed(successor)
    assert locate("m").ref is successor
    assert locate(owner) is locate(successor) is locate("m")


@pytest.mark.P4
@pytest.mark.parametrize("other", [{"identity": "other"}, {"clock": Stopwatch()}], ids=["identity", "clock"])
def test_another_identity_is_another_cell_and_closes_the_first(other, owner, successor) -> None:
    first = claimed(owner)
    second = claimed(successor, **other)
    assert first is not second
    assert first.closed
    assert by_name == {"m": second}


def test_nameless_ones_share_nothing(owner, successor) -> None:
    assert claimed(owner, None) is not claimed(successor, None)
    assert by_name == {}


def test_a_closed_cell_is_nobodys(owner, successor) -> None:
    first = claimed(owner)
    first.close(None)
    assert by_name == {}
    for server in ("m", owner):
        with pytest.raises(NoProcess):
            locate(server)
    assert claimed(successor) is not first


def test_a_cell_is_forgotten_with_the_last_who_knows_its_ref() -> None:
    import gc
    import weakref

    class Ref:
        """The least that a ref is: an object, known by identity."""

    ref = Ref()
    gone = weakref.ref(claimed(ref, None))
    gc.collect()
    assert gone() is not None
    del ref
    gc.collect()
    assert gone() is None
