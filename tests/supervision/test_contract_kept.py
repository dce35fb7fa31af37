""".github/design/supervision.md 3: what has ended is not kept, only the words for how it ended."""

import gc
import logging
import pickle
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from children import KINDS, Scripted, World, crash, die, quiet, ref_of
from threads import eventually

from supervision import (
    Crash,
    Exit,
    Supervisor,
    call,
)


@pytest.fixture
def unlogged() -> Iterator[None]:
    """No log record, which the test runner would keep together with its exception."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exception", [Exit, Scripted])
def test_an_old_incarnation_is_not_kept_alive(exception: Any, kind: Any, world: World, unlogged: None) -> None:
    """Nor are its arguments, nor its exception's frames: ``last_exit`` keeps the exception's words."""
    sup = Supervisor.start_link([world.spec("a", kind)], max_restarts=100)
    actors = []
    for _ in range(3):
        call(ref_of(sup, "a"), lambda actor: actors.append(weakref.ref(actor)))
        die(ref_of(sup, "a"), exception())
        assert quiet(sup)

    def are_gone() -> bool:
        gc.collect()
        return [actor() for actor in actors] == [None] * 3

    eventually(are_gone)


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise SystemExit


def test_an_exception_that_cannot_be_put_in_words_is_remembered_by_its_type(world: World) -> None:
    sup = Supervisor.start_link(world.specs("a"))
    assert crash(sup, "a", Unspeakable())
    assert str(Supervisor.tree(sup).children[0].last_exit) == "Crash(Unspeakable)"


def test_who_watches_gets_the_exception_itself_with_its_traceback(world: World) -> None:
    """What is remembered of it takes nothing from it."""
    sup = Supervisor.start_link(world.specs("a"))
    error = Scripted("a")
    assert die(ref_of(sup, "a"), error) == Crash(error)
    assert quiet(sup)
    assert error.__traceback__ is not None
    kept = Supervisor.tree(sup).children[0].last_exit
    assert isinstance(kept, Crash)
    again = pickle.loads(pickle.dumps(kept))
    assert (str(again), str(again.exception)) == ("Crash(Scripted)", "a")
