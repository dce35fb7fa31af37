"""`PerProcess`: a forked child has a value of its own, whatever the parent's threads were just doing with theirs."""

import gc
import itertools
import os
import sys
import threading
import weakref

import pytest
from processes import NEEDS_FORK, in_child

from supervision.runtime.per_process import PerProcess, in_forked_child

pytestmark = NEEDS_FORK


def test_the_value_is_made_once_and_kept() -> None:
    made = itertools.count()
    own = PerProcess(lambda: next(made))
    assert (own.value, own.value, next(made)) == (0, 0, 1)


def test_a_child_has_its_own_and_the_parent_keeps_its() -> None:
    own: PerProcess[list[str]] = PerProcess(list)
    own.value.append("parent's")
    before = own.value

    def check() -> None:
        assert own.value == []
        assert own.value is not before
        own.value.append("child's")

    in_child(check)
    assert own.value is before
    assert before == ["parent's"]


def test_a_grandchild_has_its_own() -> None:
    own: PerProcess[list[str]] = PerProcess(list)
    own.value.append("parent's")

    def check() -> None:
        own.value.append("child's")

        def check_below() -> None:
            assert own.value == []

        in_child(check_below)
        assert own.value == ["child's"]

    in_child(check)


def test_a_lock_that_another_thread_holds_at_the_fork_is_free_in_the_child() -> None:
    lock = PerProcess(threading.Lock)
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        with lock.value:
            held.set()
            go.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(5)

    def check() -> None:
        with lock.value:
            pass

    try:
        in_child(check)
        assert lock.value.locked()
    finally:
        go.set()
        thread.join(5)
    assert not lock.value.locked()


def test_one_that_the_forking_thread_holds_is_let_go_of_in_both() -> None:
    """A ``with`` block lets go of what it has entered; the child's own is free meanwhile."""
    lock = PerProcess(threading.Lock)
    with lock.value:
        in_child(lambda: None if lock.value.acquire(timeout=0) else pytest.fail("the child's lock is held"))
    assert not lock.value.locked()


def test_hooks_come_when_all_values_are_new_and_in_their_order() -> None:
    seen: list[object] = []
    first = PerProcess(list[str])
    first.value.append("parent's")
    in_forked_child(lambda: seen.append([*first.value, *later.value]))
    in_forked_child(lambda: seen.append("second"))
    later = PerProcess(list[str])
    later.value.append("parent's")

    def check() -> None:
        assert seen == [[], "second"]

    in_child(check)
    assert seen == []


def test_values_are_made_anew_in_the_order_in_which_they_were_made() -> None:
    order: list[str] = []
    kept = [PerProcess(lambda letter=letter: order.append(letter)) for letter in "abc"]
    assert order == list("abc")

    def check() -> None:
        assert order == list("abcabc")

    in_child(check)
    assert len(kept) == 3


def test_one_of_an_object_goes_with_the_object() -> None:
    class Owner:
        def __init__(self) -> None:
            self.lock = PerProcess(self.make)
            self.count = 0

        def make(self) -> threading.Lock:
            return threading.Lock()

    owner = Owner()
    gone = weakref.ref(owner)
    del owner
    gc.collect()
    assert gone() is None
    in_child(lambda: None)


def test_a_fork_while_threads_make_and_drop_them() -> None:
    enough = threading.Event()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)

    def churn() -> None:
        while not enough.is_set():
            PerProcess(threading.Lock)

    threads = [threading.Thread(target=churn, daemon=True) for _ in range(2)]
    for thread in threads:
        thread.start()
    own = PerProcess(os.getpid)

    def check() -> None:
        assert own.value == os.getpid()

    try:
        for _ in range(20):
            in_child(check)
    finally:
        enough.set()
        sys.setswitchinterval(interval)
        for thread in threads:
            thread.join(5)
