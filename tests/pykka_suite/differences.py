"""Where Pykka's own suite says something else with `supervision` than without, and why that is meant to be so.

A test of Pykka's that differs and is not here is a fault of ours, and so is one that is here and does not differ any more. The
table of README.md is made from this list.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Difference:
    """Tests of Pykka's that fail with us for one reason.

    Attributes:
        tests: the file and the name of each, without parameters.
        variants: where they fail.
        shows: part of what each then says; a failure that says something else is another difference.
        reason: why.
        is_race: whether it depends on which thread is faster, so that it may not be seen.
    """

    tests: tuple[str, ...]
    variants: tuple[str, ...]
    shows: str
    reason: str
    is_race: bool = False


SUPERVISED = ("monitored", "named")
SERVER = ("server", "server-thread")

DIFFERENCES = (
    Difference(
        (
            "test_actor.py::test_all_actors_are_stopped_on_base_exception",
            "test_logging.py::test_base_exception_is_logged",
        ),
        (*SUPERVISED, *SERVER),
        ".on_stop_was_called",
        "An exception that is no `Exception` is a crash of the one actor that raised it: a `Down` and a restart, no `on_stop`. "
        "Pykka stops every actor.",
    ),
    Difference(
        ("test_logging.py::test_exception_in_on_start_is_logged",),
        SUPERVISED,
        "Timeout: Waited",
        "What `on_start` raises goes to the caller that starts the child, as the cause of a `StartError`. In a restart it is "
        "the event `child_restart_failed`.",
    ),
    Difference(
        ("test_logging.py::test_exception_in_on_stop_is_logged",),
        SUPERVISED,
        "end_hook_failed",
        "It is logged as the event `end_hook_failed`, as for every kind of actor, and changes nothing of the end.",
    ),
    Difference(
        ("test_threading_actor.py::test_actor_thread_is_not_daemonic_by_default",),
        SUPERVISED,
        ".daemon",
        "Supervised actors run on daemon threads: an actor that is stuck must not keep the interpreter from its exit.",
    ),
    Difference(
        (
            "test_registry.py::test_actor_is_registered_when_started",
            "test_registry.py::test_actor_is_unregistered_when_stopped",
            "test_registry.py::test_actor_may_be_registered_manually",
            "test_registry.py::test_actor_may_be_unregistered_multiple_times_without_error",
            "test_registry.py::test_actors_may_be_looked_up_by_class",
            "test_registry.py::test_actors_may_be_looked_up_by_superclass",
            "test_registry.py::test_actors_may_be_looked_up_by_class_name",
            "test_registry.py::test_actors_may_be_looked_up_by_urn",
            "test_registry.py::test_broadcast_sends_message_to_all_actors_of_given_class",
            "test_registry.py::test_broadcast_sends_message_to_all_actors_of_given_class_name",
        ),
        ("named",),
        "ActorRef na",
        "The registry holds incarnations. A ref that is a name is equal to one of the same name only, because it outlives them.",
    ),
    Difference(
        (
            "test_logging.py::test_exception_is_logged_when_not_reply_requested",
            "test_logging.py::test_exception_in_on_failure_is_logged",
        ),
        ("named",),
        "'urn:uuid:",
        "A ref that is a name shows its actor until that has ended, and the name from then on, here the URN in quotes.",
        is_race=True,
    ),
    Difference(
        ("test_actor.py::test_on_start_failure_causes_actor_to_stop",),
        ("named",),
        "NoIncarnation",
        "Nothing has the name after a failed start, so there is no `actor_stopped` to wait for: an `ActorDeadError` says so.",
    ),
    Difference(
        ("proxy/test_proxy.py::test_eq_to_another_proxy_for_same_actor_and_attr_path",),
        ("named",),
        "ActorProxy for",
        "`ActorProxy(ref)` holds the incarnation of that moment, as Pykka has it. `ref.proxy()` follows the name, and is "
        "another one.",
    ),
    Difference(
        (
            "proxy/test_static_method_calls.py::test_exception_in_deferred_method_call_triggers_on_failure",
            "test_actor.py::test_on_failure_is_called_when_exception_cannot_be_returned",
            "test_actor.py::test_actor_is_stopped_when_unhandled_exceptions_are_raised",
            "test_logging.py::test_exception_is_logged_when_not_reply_requested",
        ),
        SERVER,
        ".on_failure_was_called",
        "A `Server` has one end hook, `on_terminate(reason)`: it has no `on_failure`.",
    ),
    Difference(
        (
            "test_actor.py::test_on_start_can_stop_actor_before_receive_loop_is_started",
            "test_actor.py::test_on_stop_is_called_when_actor_is_stopped",
        ),
        SERVER,
        ".on_stop_was_called",
        "For the same reason it has no `on_stop`.",
    ),
    Difference(
        (
            "test_logging.py::test_exception_in_on_stop_is_logged",
            "test_logging.py::test_exception_in_on_failure_is_logged",
        ),
        SERVER,
        "Timeout: Waited",
        "So nothing is raised in either.",
    ),
    Difference(
        ("test_logging.py::test_exception_in_on_start_is_logged",),
        SERVER,
        "start_failed",
        "A `Server` writes log events of its own, here `start_failed`.",
    ),
    Difference(
        ("test_logging.py::test_unexpected_messages_are_logged",),
        SERVER,
        "unexpected_m",
        "The event `unexpected_message` names the message's type only, because a message may hold a secret.",
    ),
)


def name_of(test: str) -> str:
    """A test of pytest's as it is in the list: without the folder ``tests`` and the parameters."""
    return test.removeprefix("tests/").partition("[")[0]


def expected(test: str, variant: str) -> Difference | None:
    """The difference that a test is expected to show in a variant."""
    here = (one for one in DIFFERENCES if variant in one.variants and name_of(test) in one.tests)
    return next(here, None)


def listed(variant: str) -> list[str]:
    """Each test that is expected to differ in a variant."""
    return [test for one in DIFFERENCES if variant in one.variants for test in one.tests]


def certain(variant: str) -> list[str]:
    """Those of them that differ whichever thread is faster."""
    return [test for one in DIFFERENCES if variant in one.variants and not one.is_race for test in one.tests]


def as_table(differences: Iterable[Difference]) -> Iterator[str]:
    """The lines of README.md's table."""
    yield "| tests | variants | because |"
    yield "| --- | --- | --- |"
    for one in differences:
        yield f"| {'<br>'.join(f'`{test}`' for test in one.tests)} | {', '.join(one.variants)} | {one.reason} |"
