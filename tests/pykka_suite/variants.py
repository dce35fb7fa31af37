"""A plugin for the process that plays Pykka's suite: it makes the variant before a test is imported, and writes outcomes down.

``PYKKA_SUITE_VARIANT`` names the variant, ``PYKKA_SUITE_OUTCOMES`` the file, which gets a line for each test that has ended.
"""

from __future__ import annotations

import json
import logging
import math
import os
import queue
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pykka
import pytest
from pykka_suite.differences import expected

WAIT_S = 5
"""Seconds for whatever must come; so it is in Pykka's own suite."""

IN_VAIN_S = 0.4
"""Seconds for what is not expected to come: in a test that is expected to differ, and for the hooks that a ``Server`` has not."""

VARIANT = os.environ.get("PYKKA_SUITE_VARIANT", "alone")

if VARIANT != "alone":
    import supervision
    from supervision import ChildSpec, Down, DynamicSupervisor, Server, StartError, monitor, named, register


def pytest_configure() -> None:
    if VARIANT == "imported":
        put_dictionary_in_place()
    elif VARIANT in ("monitored", "named"):
        watch = Watch()
        _watches.append(watch)
        pykka.Actor.start = classmethod(lambda cls, *args, **kwargs: watch.start(cls, *args, **kwargs))  # type: ignore[assignment, method-assign]
        logging.getLogger("supervision").addFilter(is_not_the_supervisors)


# --- imported ---------------------------------------------------------------------------------------------------------


def put_dictionary_in_place() -> None:
    """Start and stop an actor of ours: from then on our dictionary stands in the place of Pykka's list."""
    supervision.stop(Server.start_link())


# --- monitored --------------------------------------------------------------------------------------------------------


class Watch:
    """Starts each actor in a supervisor's start callable, monitors it before its ``on_start`` is done, counts its ``Down``."""

    def __init__(self) -> None:
        self._pykkas_start: Any = pykka.Actor.start.__func__  # type: ignore[attr-defined]
        self._downs: queue.SimpleQueue[Down] = queue.SimpleQueue()
        self._seen: Counter[pykka.ActorRef[Any]] = Counter()
        self._started: list[pykka.ActorRef[Any]] = []
        self._supervisor = DynamicSupervisor.start_link()
        pykka.ActorRegistry.unregister(self._supervisor)  # tests count who is there

    def start(self, cls: type[pykka.Actor], *args: Any, **kwargs: Any) -> pykka.ActorRef[Any]:
        """Stands in for ``Actor.start``: returns what that returned, and raises what that raised."""
        refs: list[pykka.ActorRef[Any]] = []

        def begin() -> pykka.ActorRef[Any]:
            refs.append(self._pykkas_start(cls, *args, **kwargs))
            monitor(refs[0], self._downs.put)
            if VARIANT == "named":
                register(refs[0].actor_urn, refs[0])
            return refs[0]

        try:
            DynamicSupervisor.start_child(self._supervisor, ChildSpec("actor", begin, restart="temporary"))
        except StartError as error:
            if not refs:
                raise error.cause from None
            # else on_start has failed, and Pykka's start returns before that
        self._started += refs
        return named(refs[0].actor_urn) if VARIANT == "named" else refs[0]

    def check(self) -> None:
        """Each actor that has ended has given one ``Down``, and no actor has given two."""
        dead = [ref for ref in self._started if not ref.is_alive()]
        self._started = [ref for ref in self._started if ref not in dead]
        while not all(self._seen[ref] for ref in dead):
            self._seen[self._downs.get(timeout=WAIT_S).ref] += 1
        while not self._downs.empty():
            self._seen[self._downs.get().ref] += 1
        assert set(self._seen.values()) <= {0, 1}, "an actor has given more than one Down"


_watches: list[Watch] = []


def is_not_the_supervisors(record: logging.LogRecord) -> bool:
    """Whether a record is of the actor: tests count them, and ours come from the harness's supervisor, too."""
    return not record.getMessage().startswith("child_ended")


@pytest.fixture(autouse=True)
def one_down_for_each_actor() -> Iterator[None]:
    """Is set up first, and so looks when everything else of a test is over."""
    yield
    for watch in _watches:
        watch.check()


# --- server -----------------------------------------------------------------------------------------------------------


def server_class() -> type[pykka.Actor]:
    """``Server``, on the pool or on a thread of its own."""
    if VARIANT == "server":
        return Server

    class ThreadedServer(Server):
        runtime = "thread"

    return ThreadedServer


def future_class() -> type[pykka.Future[Any]]:
    """What ``ask`` to a ``Server`` returns."""
    ref = Server.start_link()
    try:
        return type(ref.ask(None, block=False))
    finally:
        ref.stop()


# --- the fixtures of Pykka's suite ------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any, request: Any) -> Iterator[Any]:
    """Pykka's tests get the actor class, the events that they wait for, and the log from fixtures."""
    value = yield
    if fixturedef.argname == "runtime":
        value.event_class = ImpatientEvent
        if VARIANT.startswith("server"):
            value.actor_class, value.future_class = server_class(), future_class()
    elif fixturedef.argname == "events" and VARIANT.startswith("server"):
        value.on_stop_was_called.longest_s = value.on_failure_was_called.longest_s = IN_VAIN_S
    elif fixturedef.argname == "log_handler":
        value.wait_for_message = partial(value.wait_for_message, timeout=math.ceil(_seconds))
    return value


class ImpatientEvent(threading.Event):
    """Does not wait long for what is not expected to come."""

    def __init__(self) -> None:
        super().__init__()
        self.longest_s = _seconds

    def wait(self, timeout: float | None = None) -> bool:
        return super().wait(self.longest_s if timeout is None else min(timeout, self.longest_s))


_seconds: float = WAIT_S


def pytest_runtest_setup(item: pytest.Item) -> None:
    global _seconds
    _seconds = IN_VAIN_S if expected(item.nodeid, VARIANT) else WAIT_S


# --- outcomes ---------------------------------------------------------------------------------------------------------


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """The first line of a test counts: that of the first phase that has not passed, or else of the last phase."""
    if report.outcome != "passed" or report.when == "teardown":
        crash = getattr(report.longrepr, "reprcrash", None)
        shown = "" if crash is None else crash.message
        with Path(os.environ["PYKKA_SUITE_OUTCOMES"]).open("a") as file:
            print(json.dumps([report.nodeid, report.outcome, shown]), file=file)
