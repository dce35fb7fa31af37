"""A fork does not happen in the middle of an import that another thread makes at its first use."""

import os
import threading

import pytest
from manager.test_fork import in_child
from threads import DEADLINE_S

from oidc_actor.values import lazy_imports as imports
from oidc_actor.values.lazy_imports import importing

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]

order: list[str] = []
about_to_fork = threading.Event()
# The hooks before a fork run in the reverse order of their registration: this one before that of
# `oidc_actor.values.lazy_imports`.
os.register_at_fork(before=about_to_fork.set)


def test_a_fork_waits_for_the_import_under_way() -> None:
    order.clear()
    about_to_fork.clear()
    begun = threading.Event()

    def import_slowly() -> None:
        with importing():
            begun.set()
            assert about_to_fork.wait(DEADLINE_S)
            order.append("imported")

    def check() -> None:
        with importing():
            assert order == ["imported"]

    thread = threading.Thread(target=import_slowly)
    thread.start()
    assert begun.wait(DEADLINE_S)
    in_child(check)
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    with importing():
        pass


def test_a_fork_in_the_middle_of_ones_own_import_goes_on() -> None:
    def check() -> None:
        with importing():
            pass

    with importing():
        in_child(check)
    in_child(check)


def test_a_fork_that_has_not_waited_long_enough_takes_nothing_from_one_that_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(imports, "LONGEST_IMPORT_S", 0.01)
    imports._before_fork()
    other = threading.Thread(target=lambda: (imports._before_fork(), imports._after_in_parent()))
    other.start()
    other.join(DEADLINE_S)
    imports._after_in_parent()
    free = threading.Event()

    def use() -> None:
        with importing():
            free.set()

    threading.Thread(target=use, daemon=True).start()
    assert free.wait(DEADLINE_S)


def test_imports_nest() -> None:
    with importing(), importing():
        pass
