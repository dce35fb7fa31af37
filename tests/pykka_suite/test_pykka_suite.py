"""Pykka's own behaviour as a contract: its suite, played with us, differs where the list says so and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pykka
import pytest
from _pytest.outcomes import Failed, Skipped
from integration.node_provider import unavailable
from pykka_suite import playing
from pykka_suite.differences import DIFFERENCES, as_table, certain, expected, listed
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


@contextmanager
def obtained() -> Iterator[Source]:
    """The suite of the Pykka that is installed; the test is skipped where it is not to be had, or fails where it must be."""
    try:
        with source(installed_version()) as found:
            yield found
    except NotToBeHad as why:
        unavailable(str(why))


@pytest.fixture(scope="module")
def pykkas() -> Iterator[Source]:
    with obtained() as found:
        yield found


def test_pykkas_own_suite_differs_where_it_is_expected_to_and_nowhere_else(pykkas: Source) -> None:
    for done in play(pykkas, tuple(VARIANTS)):
        new = {test: done.outcomes[test].shown for test in done.new}
        assert (done.variant, new, done.gone) == (done.variant, {}, ())
        assert {one.how for one in done.outcomes.values()} <= {"passed", "failed"}, "none is skipped"


@pytest.mark.parametrize("name", CHECKS)
def test_each_private_name_of_pykkas_is_as_we_take_it(name: str) -> None:
    assert fault_of(name) is None


@pytest.mark.parametrize(("required", "outcome"), [("0", Skipped), ("1", Failed)])
def test_where_it_is_not_to_be_had_the_reason_is_said_and_ci_fails(
    required: str, outcome: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: str) -> str:
        raise NotToBeHad("there is no network")

    monkeypatch.setattr(playing, "_pip", offline)
    monkeypatch.setenv("OIDC_ACTOR_REQUIRE_PROVIDERS", required)
    with pytest.raises(outcome, match="there is no network"), obtained():
        pass


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
    for variant in VARIANTS:
        assert len(listed(variant)) == len(set(listed(variant)))
    assert {variant for one in DIFFERENCES for variant in one.variants} <= set(VARIANTS)
    assert all(one.shows and one.reason.endswith(".") for one in DIFFERENCES)


def test_the_table_of_the_page_is_the_list() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert "\n".join(as_table(DIFFERENCES)) in page
    assert "\n".join(f"| {variant} | {what} |" for variant, what in VARIANTS.items()) in page


@pytest.mark.parametrize(("variant", "known"), [(variant, test) for variant in VARIANTS for test in listed(variant)])
def test_a_listed_test_that_differs_no_more_or_in_another_way_is_seen(variant: str, known: str) -> None:
    alone = {**MANY, **{f"tests/{test}[1]": Outcome("passed", "") for test in listed(variant)}}
    shown = {test: one.shows for test in alone if (one := expected(test, variant)) is not None}
    as_listed = {**MANY, **{test: Outcome("failed", shows) for test, shows in shown.items()}}
    here = f"tests/{known}[1]"
    for outcome, new, gone in [
        (Outcome("failed", f"E {shown[here]} and so on"), (), ()),
        (Outcome("failed", "something else"), (here,), ()),
        (Outcome("passed", ""), (), (known,) if known in certain(variant) else ()),
    ]:
        done = _compare(variant, {**as_listed, here: outcome}, 1.0, alone)
        assert (done.new, done.gone, done.is_as_expected) == (new, gone, not (new or gone))


def test_a_test_that_is_not_listed_and_differs_is_new() -> None:
    (test, *_) = MANY
    outcomes = {**MANY, test: Outcome("failed", ".on_stop_was_called")}
    assert _compare("imported", outcomes, 1.0, MANY).new == (test,)
