"""Where Pykka's own suite says something else with `supervision` than without, and why that is meant to be so.

A test of Pykka's that differs and is not here is a fault of ours, and so is one that is here and does not differ any more. The
table of README.md is made from this list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """A test of Pykka's that fails with us.

    Attributes:
        test: its file and name, without its parameters.
        variants: where it fails.
        shows: part of what it then says; a failure that says something else is another difference.
        reason: why.
    """

    test: str
    variants: tuple[str, ...]
    shows: str
    reason: str


SERVER = ("server", "server-thread")

_CRASH = (
    "An exception that is no `Exception` is a crash of the one actor that raised it: a `Down` and a restart, no `on_stop`. Pykka "
    "stops every actor."
)
_STARTER = (
    "What `on_start` raises goes to the caller that starts the child, as the cause of a `StartError`. In a restart it is "
    "the event `child_restart_failed`."
)
_HOOKS = "A `Server` has one end hook, `on_terminate(reason)`. It has neither `on_stop` nor `on_failure`."
_EVENTS = "A `Server` writes log events of its own, here `{}`, in the place of Pykka's records."

DIFFERENCES = (
    Difference(
        "test_actor.py::test_all_actors_are_stopped_on_base_exception",
        ("monitored", *SERVER),
        ".on_stop_was_called",
        _CRASH,
    ),
    Difference(
        "test_logging.py::test_base_exception_is_logged",
        ("monitored", *SERVER),
        ".on_stop_was_called",
        _CRASH,
    ),
    Difference(
        "test_logging.py::test_exception_in_on_start_is_logged",
        ("monitored",),
        "Timeout: Waited",
        _STARTER,
    ),
    Difference(
        "test_logging.py::test_exception_in_on_stop_is_logged",
        ("monitored",),
        "end_hook_failed",
        "It is logged as the event `end_hook_failed`, as for every kind of actor, and changes nothing of the end.",
    ),
    Difference(
        "test_threading_actor.py::test_actor_thread_is_not_daemonic_by_default",
        ("monitored",),
        ".daemon",
        "Supervised actors run on daemon threads: an actor that is stuck must not keep the interpreter from its exit.",
    ),
    Difference(
        "proxy/test_static_method_calls.py::test_exception_in_deferred_method_call_triggers_on_failure",
        SERVER,
        ".on_failure_was_called",
        _HOOKS,
    ),
    Difference(
        "test_actor.py::test_on_start_can_stop_actor_before_receive_loop_is_started",
        SERVER,
        ".on_stop_was_called",
        _HOOKS,
    ),
    Difference(
        "test_actor.py::test_on_stop_is_called_when_actor_is_stopped",
        SERVER,
        ".on_stop_was_called",
        _HOOKS,
    ),
    Difference(
        "test_actor.py::test_on_failure_is_called_when_exception_cannot_be_returned",
        SERVER,
        ".on_failure_was_called",
        _HOOKS,
    ),
    Difference(
        "test_actor.py::test_actor_is_stopped_when_unhandled_exceptions_are_raised",
        SERVER,
        ".on_failure_was_called",
        _HOOKS,
    ),
    Difference(
        "test_logging.py::test_exception_is_logged_when_not_reply_requested",
        SERVER,
        ".on_failure_was_called",
        _HOOKS,
    ),
    Difference(
        "test_logging.py::test_exception_in_on_stop_is_logged",
        SERVER,
        "Timeout: Waited",
        _HOOKS,
    ),
    Difference(
        "test_logging.py::test_exception_in_on_failure_is_logged",
        SERVER,
        "Timeout: Waited",
        _HOOKS,
    ),
    Difference(
        "test_logging.py::test_exception_in_on_start_is_logged",
        SERVER,
        "start_failed",
        _EVENTS.format("start_failed"),
    ),
    Difference(
        "test_logging.py::test_unexpected_messages_are_logged",
        SERVER,
        "unexpected_m",
        f"{_EVENTS.format('unexpected_message')} It names the message's type only, because a message may hold a secret.",
    ),
)


def name_of(test: str) -> str:
    """A test of pytest's as it is in the list: without the folder ``tests`` and the parameters."""
    return test.removeprefix("tests/").partition("[")[0]


def expected(test: str, variant: str) -> Difference | None:
    """The difference that a test is expected to show in a variant."""
    here = (one for one in DIFFERENCES if variant in one.variants and one.test == name_of(test))
    return next(here, None)


def as_table(differences: Iterable[Difference]) -> Iterator[str]:
    """The lines of README.md's table."""
    yield "| test | variants | because |"
    yield "| --- | --- | --- |"
    for one in differences:
        yield f"| `{one.test}` | {', '.join(one.variants)} | {one.reason} |"
