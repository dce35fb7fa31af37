"""Whatever goes wrong between members, their store and the provider: no refresh token is sent twice, and all get a token."""

import os

import pytest
from fleet_model import Faults, World, replace

from oidc_actor.machine.health import sharing_of

SEEDS = range(int(os.environ.get("OIDC_ACTOR_FLEETS", "8")))


@pytest.mark.parametrize("own", [False, True])
def test_one_request_for_each_life(own: bool) -> None:
    for seed in SEEDS:
        world = World(seed, 4, own=own, faults=Faults()).run(100)
        assert all(world.served)
        assert not world.seen_too_often()
        assert len(world.requests) <= 100 / 7  # refreshed when 10 s to 12 s of 20 s are over
        assert world.provider.revoked == 0


@pytest.mark.parametrize(
    "faults",
    [
        Faults(loses=0.1),
        Faults(crashes=0.05),
        Faults(dies=0.03),
        Faults(cuts=0.03),
        Faults(refuses=0.2),
        Faults(times_out=0.1),
        Faults(loses=0.1, crashes=0.05, dies=0.02, cuts=0.02, refuses=0.1),
        Faults(loses=0.1, crashes=0.05, dies=0.02, cuts=0.02, refuses=0.1, times_out=0.1, flushes=0.03),
    ],
    ids=str,
)
def test_a_login_that_can_be_repeated(faults: Faults) -> None:
    for seed in SEEDS:
        world = World(seed, 3, own=False, faults=faults).run(200)
        assert not world.seen_too_often(), seed
        world.heal().run(70)
        assert all(world.served), seed
        before = len(world.requests)
        world.run(100)
        assert len(world.requests) - before <= 100 / 7, seed


@pytest.mark.parametrize(
    "faults",
    [
        Faults(loses=0.1),
        Faults(crashes=0.05),
        Faults(cuts=0.03, cut_s=4.0),
        Faults(refuses=0.2),
        Faults(loses=0.1, crashes=0.05, cuts=0.02, cut_s=3.0, refuses=0.1),
    ],
    ids=str,
)
def test_a_login_that_cannot_be_repeated_is_kept(faults: Faults) -> None:
    """But a holder that is cut off from the store after it has redeemed the login, for longer than the token lives, loses it."""
    for seed in SEEDS:
        world = World(seed, 3, own=True, faults=faults).run(200)
        assert not world.seen_too_often(), seed
        world.heal().run(70)
        assert all(world.served), seed


@pytest.mark.parametrize(
    "faults",
    [Faults(dies=0.02), Faults(dies=0.02, loses=0.1, cuts=0.02, crashes=0.03), Faults(times_out=0.03)],
    ids=str,
)
def test_a_login_that_a_lost_holder_may_have_spent_is_tried_once(faults: Faults) -> None:
    for seed in SEEDS:
        world = World(seed, 3, own=True, faults=faults).run(200)
        assert not world.seen_too_often(), seed


FLUSHED = Faults(flushes=0.1)


@pytest.mark.parametrize(
    "faults",
    [
        FLUSHED,
        replace(FLUSHED, loses=0.05, crashes=0.03),
        replace(FLUSHED, late=0.1),
    ],
    ids=str,
)
def test_a_store_that_loses_its_record_costs_no_login(faults: Faults) -> None:
    for seed in SEEDS:
        world = World(seed, 2 + seed % 5, own=True, faults=faults).run(150)
        assert world.flushed
        assert not world.seen_too_often(), seed
        world.heal().run(70)
        assert all(world.served), seed


@pytest.mark.parametrize("lifetime_s", [8.0, 12.0, 20.0])
def test_a_store_that_is_flushed_every_three_seconds_costs_no_login_and_no_read(lifetime_s: float) -> None:
    for seed in SEEDS:
        world = World(seed, 8, own=True, faults=Faults(), lifetime_s=lifetime_s).run(10 + 3 * seed / len(SEEDS))
        for _ in range(20):
            world.flush()
            for _ in range(6):
                world.run(0.5)
                assert all(world.served), seed
        assert not world.provider.revoked, seed


def test_a_fleet_whose_store_is_flushed_as_it_begins_does_not_begin_twice() -> None:
    for seed in range(5 * len(SEEDS)):
        world = World(seed, 6, own=True, faults=Faults())
        while not world.requests:
            world.run(0.05)
        world.run(seed / len(SEEDS) / 5)
        world.flush()
        world.run(60)
        assert not world.provider.revoked, seed
        assert all(world.served), seed


LATE = Faults(late=0.1)
REJECTED = Faults(rejects=0.03, crashes=0.02, loses=0.05)
REFUSED = Faults(refuses=0.2, loses=0.1, late=0.05)
SET = Faults(steps=0.02, loses=0.03)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("faults", [LATE, REJECTED, REFUSED, SET], ids=str)
def test_what_holds_of_any_fleet(faults: Faults, own: bool) -> None:
    """No live token is displaced by one that ends sooner, and no rejected one shown again: the members themselves assert that."""
    for seed in SEEDS:
        world = World(seed, 2 + seed % 5, own=own, faults=faults).run(150)
        assert not world.seen_too_often(), seed
        assert not world.began_together or faults is SET, seed  # a lease of before the clock was set holds no longer
        assert max(member.calls for member in world.members) < 5 * 150, seed
        world.heal().run(70)
        assert all(world.served), seed
        assert not [member for member in world.members if sharing_of(member.state) == "alone"], seed


@pytest.mark.parametrize("own", [False, True])
def test_a_store_that_forgets_its_last_second_costs_a_request_each_time(own: bool) -> None:
    for seed in SEEDS:
        world = World(seed, 2 + seed % 5, own=own, faults=Faults(fails_over=0.03)).run(150)
        assert sum(times - 1 for times in world.provider.seen.values()) <= world.flushed, seed


def test_a_holder_that_is_killed_after_it_has_sent_leaves_a_login_that_is_tried_once() -> None:
    for seed in SEEDS:
        world = World(seed, 2 + seed % 5, own=True, faults=Faults(kills=0.5)).run(150)
        assert not world.seen_too_often(), seed
        assert not world.began_together, seed


def test_a_holder_that_cannot_store_what_came_does_not_redeem_the_same_again() -> None:
    """Its token is rejected meanwhile, so that it wants another one at once."""
    for seed in SEEDS:
        faults = Faults(cuts_holders=0.4, cut_s=6.0, rejects=0.2)
        world = World(seed, 2 + seed % 2, own=True, faults=faults).run(150)
        assert not world.seen_too_often(), seed


def test_a_process_that_starts_after_a_flush_does_not_begin_anew() -> None:
    for seed in SEEDS:
        world = World(seed, 6, own=True, faults=Faults()).run(10)  # the one that redeems it is not killed just then
        world.faults = Faults(flushes=0.02, dies=0.03)
        assert world.run(150).provider.seen["seed"] == 1, seed
