"""Pykka's own behaviour as a contract: its suite, played with us, differs where the list says so and nowhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pykka
import pytest
from pykka_suite.differences import DIFFERENCES, Difference, as_table, expected
from pykka_suite.playing import (
    VARIANTS,
    NotToBeHad,
    Outcome,
    Source,
    _compare,
    installed_version,
    play,
    releases,
    source,
)
from pykka_suite.private_names import CHECKS, fault_of

PAGE = Path(__file__).parent / "README.md"
MANY = {f"tests/test_it.py::test_{number}": Outcome("passed", "") for number in range(200)}


@pytest.fixture(scope="module")
def pykkas() -> Iterator[Source]:
    try:
        with source(installed_version()) as found:
            yield found
    except NotToBeHad as why:
        if os.environ.get("OIDC_ACTOR_REQUIRE_PROVIDERS") == "1":
            pytest.fail(f"{why}, and OIDC_ACTOR_REQUIRE_PROVIDERS=1 forbids skipping", pytrace=False)
        pytest.skip(str(why))


def test_pykkas_own_suite_differs_where_it_is_expected_to_and_nowhere_else(pykkas: Source) -> None:
    for done in play(pykkas, tuple(VARIANTS)):
        new = {test: done.outcomes[test].shown for test in done.new}
        assert (done.variant, new, done.gone) == (done.variant, {}, ())
        assert {one.how for one in done.outcomes.values()} <= {"passed", "failed"}, "none is skipped"


@pytest.mark.parametrize("name", CHECKS)
def test_each_private_name_of_pykkas_is_as_we_take_it(name: str) -> None:
    assert fault_of(name) is None


def test_every_release_between_the_bounds_is_found(pykkas: Source) -> None:
    found = releases()
    assert found[0] == "4.4.2"
    assert installed_version() in found


def test_a_private_name_that_is_gone_is_named_with_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(pykka.ActorRegistry, "_actor_refs_lock")
    told = fault_of("ActorRegistry._actor_refs_lock")
    assert told is not None
    assert told.startswith(f"pykka {installed_version()} has changed ActorRegistry._actor_refs_lock: AttributeError")


# --- the list ---------------------------------------------------------------------------------------------------------


def test_a_difference_is_listed_once_for_each_variant_and_says_why() -> None:
    places = [(one.test, variant) for one in DIFFERENCES for variant in one.variants]
    assert len(places) == len(set(places))
    assert {variant for _, variant in places} <= set(VARIANTS)
    assert all(one.shows and one.reason.endswith(".") for one in DIFFERENCES)


def test_the_table_of_the_page_is_the_list() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert "\n".join(as_table(DIFFERENCES)) in page
    assert "\n".join(f"| {variant} | {what} |" for variant, what in VARIANTS.items()) in page


@pytest.mark.parametrize("known", DIFFERENCES, ids=lambda one: f"{one.test}-{one.variants[0]}")
def test_a_listed_test_that_differs_no_more_or_in_another_way_is_seen(known: Difference) -> None:
    variant, test = known.variants[0], f"tests/{known.test}[threading]"
    alone = {**MANY, **{f"tests/{one.test}": Outcome("passed", "") for one in DIFFERENCES}}
    as_listed = {
        at: Outcome("failed", one.shows) if (one := expected(at, variant)) else outcome for at, outcome in alone.items()
    }
    here = test.removesuffix("[threading]")
    for shown, new, gone in [
        (Outcome("failed", f"E {known.shows} and so on"), (), ()),
        (Outcome("failed", "something else"), (here,), ()),
        (Outcome("passed", ""), (), (known.test,)),
    ]:
        done = _compare(variant, {**as_listed, here: shown}, 1.0, alone)
        assert (done.new, done.gone, done.is_as_expected) == (new, gone, not (new or gone))


def test_a_test_that_is_not_listed_and_differs_is_new() -> None:
    (test, *_) = MANY
    outcomes = {**MANY, test: Outcome("failed", ".on_stop_was_called")}
    assert _compare("imported", outcomes, 1.0, MANY).new == (test,)
