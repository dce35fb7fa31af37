"""The manager's decisions, row by row: what a crashed one's successor takes over."""

import pytest
from machine_driver import Driver, Reader, with_token

from oidc_actor.machine.effects import ScheduleTick
from oidc_actor.machine.events import Refresh, Tick
from oidc_actor.machine.transitions import adopt
from oidc_actor.values.secrets import Secret

pytestmark = pytest.mark.P4


def test_a_successor_keeps_the_token_and_the_refresh_point() -> None:
    driver = with_token(300).wait(10)
    successor = Driver(adopt(driver.state, under_way=False, rejected=False), now=driver.now).start()
    assert successor.state.token is driver.state.token
    assert successor.fetch is None
    assert successor.of(ScheduleTick) == [ScheduleTick(230)]


def test_a_successor_waits_for_its_predecessors_attempt() -> None:
    driver = Driver().start().sent()
    driver.join()
    successor = Driver(adopt(driver.state, under_way=True, rejected=False), now=driver.now).start()
    assert successor.fetch is None
    assert successor.state.waiters == ()
    reader = successor.join()
    successor.succeeds()
    assert reader.outcomes == [successor.state.token]


def test_a_successor_keeps_the_minimum_interval_and_the_backoff() -> None:
    driver = Driver().start().sent()
    successor = Driver(adopt(driver.state, under_way=False, rejected=False), now=driver.now).start()
    assert successor.fetch is None
    assert successor.of(ScheduleTick) == [ScheduleTick(1)]


def test_a_successor_does_not_take_over_a_rejected_token() -> None:
    driver = with_token(300).wait(10)
    successor = Driver(adopt(driver.state, under_way=False, rejected=True), now=driver.now).start()
    assert successor.state.token is None
    assert successor.fetch is not None


def test_a_successor_knows_that_a_rejection_wakes_a_backoff() -> None:
    driver = with_token(300).wait(10)
    driver.refresh()
    state = driver.fails().state._replace(retry_at=driver.now + 60)
    driver.wait(2)
    assert Driver(adopt(state, under_way=False, rejected=False), now=driver.now).start().fetch is None
    assert Driver(adopt(state, under_way=False, rejected=True), now=driver.now).start().fetch is not None


def test_who_rejects_while_the_manager_crashes_gets_the_replacement() -> None:
    driver = with_token(300).wait(10)
    successor = Driver(adopt(driver.state, under_way=False, rejected=True), now=driver.now).start()
    reader = Reader(successor.now + 5, wants_refresh=True)
    successor.do(Refresh(reader, Secret("a")))
    assert successor.fetch is None
    successor.succeeds("b")
    assert reader.outcomes == [successor.state.token]
    assert successor.fetch is None


def test_a_rejection_in_an_attempt_that_is_taken_over_asks_for_no_second_one() -> None:
    driver = with_token(300).wait(10)
    driver.refresh()
    successor = Driver(adopt(driver.state, under_way=True, rejected=True), now=driver.now).start()
    successor.succeeds("b").wait(2).do(Tick())
    assert successor.fetch is None
