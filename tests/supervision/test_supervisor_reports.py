"""A supervisor's log events: why a restart failed, and everything by the names that it was given."""

import gc
import logging
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from actors import Plain, Pooled, Threaded
from children import Watch, states
from holding import Gate
from threads import eventually

from supervision import (
    Backoff,
    ChildNotFound,
    ChildSpec,
    DynamicSupervisor,
    Exit,
    Ignore,
    Server,
    Shutdown,
    StartError,
    Supervisor,
    cast,
    kill,
    register,
    whereis,
)


class Kept(logging.Handler):
    """Keeps records, as a queue or a test would."""

    def __init__(self, *events: str) -> None:
        super().__init__()
        self.events = events
        self.records: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        if not self.events or record.event in self.events:  # type: ignore[attr-defined]
            self.records.append(record)

    def of(self, event: str) -> Any:
        """The first record of an event, once it is there."""
        eventually(lambda: any(record.event == event for record in self.records), event)
        return next(record for record in self.records if record.event == event)


@pytest.fixture
def failures() -> Iterator[Kept]:
    kept, logger = Kept("child_restart_failed", "supervisor_gave_up"), logging.getLogger("supervision")
    logger.addHandler(kept)
    yield kept
    logger.removeHandler(kept)


@pytest.fixture
def events() -> Iterator[Kept]:
    kept, logger = Kept(), logging.getLogger("supervision")
    level = logger.level
    logger.addHandler(kept)
    logger.setLevel(logging.DEBUG)
    yield kept
    logger.removeHandler(kept)
    logger.setLevel(level)


class Once:
    """Nothing at the first call, an error from then on; in any hook of any child."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.calls = 0

    def __call__(self) -> None:
        self.calls += 1
        if self.calls > 1:
            raise self.error


def chained() -> BaseException:
    try:
        try:
            raise KeyError("no port")
        except KeyError as cause:
            raise OSError(98, "port 8080 is taken") from cause
    except OSError as error:
        return error


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit("from __str__")


def by_hook(cls: Any, hook: str) -> Callable[[Any], ChildSpec]:
    return lambda once: ChildSpec("it", cls, ({hook: once},), name="it")


def by_callable(cls: Any) -> Callable[[Any], ChildSpec]:
    def spec(once: Any) -> ChildSpec:
        def start() -> Any:
            once()
            return cls.start_link() if issubclass(cls, Server) else cls.start()

        return ChildSpec("it", start, name="it")

    return spec


def by_subtree(once: Any) -> ChildSpec:
    return Supervisor.child_spec([ChildSpec("deep", Pooled, ({"on_start": once},))], id="it", name="it")


FAILING = {
    **{
        f"{cls.__name__}.{hook}": by_hook(cls, hook)
        for cls in (Pooled, Threaded, Plain)
        for hook in ("__init__", "on_start")
    },
    **{f"a callable, {cls.__name__}": by_callable(cls) for cls in (Pooled, Plain)},
    "a subtree": by_subtree,
}
every_failing = pytest.mark.parametrize("spec", FAILING.values(), ids=FAILING.keys())
EVENTS = ("child_restart_failed", "supervisor_gave_up")


def static(spec: ChildSpec) -> Any:
    return Supervisor.start_link([spec], max_restarts=2)


def dynamic(spec: ChildSpec) -> Any:
    sup = DynamicSupervisor.start_link(max_restarts=2)
    DynamicSupervisor.start_child(sup, spec)
    return sup


every_sup = pytest.mark.parametrize("start", [static, dynamic])


@every_failing
@every_sup
def test_why_a_restart_failed_is_logged_with_its_traceback(start: Any, spec: Any, failures: Kept) -> None:
    watch = Watch(start(spec(Once(chained()))))
    kill("it")
    watch.reason()
    assert {record.event for record in failures.records} == set(EVENTS)
    for record in failures.records:
        assert "port 8080 is taken" in record.fields["error"]
        text = logging.Formatter().format(record)
        assert "Traceback (most recent call last)" in text
        assert "no port" in text, "the cause"
        assert "in __call__" in text
        assert text.count("The above exception was the direct cause") >= 1


@every_sup
def test_an_exit_of_its_own_counts_as_any_other_error(start: Any, failures: Kept) -> None:
    watch = Watch(start(ChildSpec("it", Pooled, ({"on_start": Once(SystemExit("done"))},), name="it")))
    kill("it")
    watch.reason()
    assert [record.fields["error"] for record in failures.records] == ["SystemExit: done"] * len(failures.records)


def grouped() -> BaseException:
    try:
        raise ExceptionGroup("two disks", [OSError("disk a"), ValueError("disk b")])
    except ExceptionGroup as error:
        error.add_note("seen by the doctor")
        return error


@every_failing
def test_notes_and_the_members_of_a_group_are_in_the_traceback(spec: Any, failures: Kept) -> None:
    watch = Watch(static(spec(Once(grouped()))))
    kill("it")
    watch.reason()
    assert {record.event for record in failures.records} == set(EVENTS)
    for record in failures.records:
        assert "two disks (2 sub-exceptions)" in record.fields["error"]
        for text in ("OSError: disk a", "ValueError: disk b", "seen by the doctor"):
            assert text in record.fields["exception"]


@every_sup
def test_a_name_that_is_taken_is_told(start: Any, failures: Kept) -> None:
    starts: list[None] = []

    def start_it() -> Any:
        if starts:
            register("the name", other)  # from the second start on
        starts.append(None)
        return Pooled.start_link(name="the name")

    other = Pooled.start_link()
    watch = Watch(start(ChildSpec("it", start_it)))
    kill("the name")
    watch.reason()
    assert {record.event for record in failures.records} == set(EVENTS)
    for record in failures.records:
        assert "AlreadyStarted: 'the name' is already started" in record.fields["error"]
        assert "Traceback" in record.fields["exception"]


@every_sup
@pytest.mark.parametrize("by_start_link", [True, False])
def test_a_start_that_takes_too_long_is_told_with_where_it_is(start: Any, by_start_link: bool, failures: Kept) -> None:
    slow = Gate()

    class Slow(Server):
        starts = 0

        def on_start(self) -> None:
            Slow.starts += 1
            if Slow.starts > 1:
                slow()

    spec = (
        ChildSpec("it", lambda: Slow.start_link(name="it", start_timeout=0.2))
        if by_start_link
        else ChildSpec("it", Slow, name="it", start_timeout=0.2)
    )
    with slow:
        watch = Watch(start(spec))
        kill("it")
        watch.reason()
    what = "on_start" if by_start_link else "on_start of Slow"
    assert {record.event for record in failures.records} == set(EVENTS)
    for record in failures.records:
        assert record.fields["error"] == f"TimeoutError: {what} took longer than start_timeout=0.2 s"
        where = record.fields["exception"].partition("it was at, the innermost last:")[2]
        assert ".Slow.on_start\n" in where
        assert "Gate.__call__" in where


@every_sup
@pytest.mark.parametrize("cls", [Pooled, Plain])
def test_a_constructor_that_takes_too_long_is_told_with_where_it_is(start: Any, cls: Any, failures: Kept) -> None:
    class Slow(cls):  # type: ignore[misc]
        starts = 0

        def __init__(self) -> None:
            super().__init__()
            Slow.starts += 1
            if Slow.starts > 1:
                slow()

    with Gate() as slow:
        watch = Watch(start(ChildSpec("it", Slow, name="it", start_timeout=0.2)))
        kill("it")
        watch.reason()
        slow.go()
    for record in failures.records:
        where = record.fields["exception"].partition("it was at, the innermost last:\n")[2]
        assert where.partition("\n")[0].endswith(".Slow.__init__")


@every_sup
def test_an_ignored_restart_is_told(start: Any, events: Kept) -> None:
    sup = start(ChildSpec("it", Pooled, ({"on_start": Once(Ignore())},), name="it"))
    kill("it")
    assert events.of("child_ignored").fields["child"] == "it"
    assert [record.event for record in events.records][-1] == "child_ignored"
    kind = Supervisor if issubclass(sup.actor_class, Supervisor) else DynamicSupervisor
    assert states(sup, kind) in ({"it": "stopped"}, {})


@every_sup
def test_what_is_long_is_cut_in_the_middle(start: Any, failures: Kept) -> None:
    error = OSError("a" * 100_000 + " the end")
    watch = Watch(start(ChildSpec("it", Pooled, ({"on_start": Once(error)},), name="it")))
    kill("it")
    watch.reason()
    fields = failures.of("supervisor_gave_up").fields
    assert len(fields["error"]) < 1_100
    assert len(fields["exception"]) < 20_100
    assert fields["error"].startswith("OSError: aaa")
    assert fields["exception"].startswith("Traceback")
    assert all(fields[name].endswith(" the end") for name in ("error", "exception"))


@every_sup
@pytest.mark.parametrize("cls", [Pooled, Threaded, Plain])
def test_no_values_of_arguments_and_variables_are_in_it(start: Any, cls: Any, failures: Kept) -> None:
    class Child(cls):  # type: ignore[misc]
        starts = 0

        def __init__(self, password: str, *, key: str) -> None:
            super().__init__()
            self.password, self.key = password, key

        def on_start(self) -> None:
            Child.starts += 1
            local = self.password + self.key
            if Child.starts > 1:
                raise OSError(len(local), "no")

    spec = ChildSpec("it", Child, ("hunter2",), {"key": "hunter3"}, name="it")
    watch = Watch(start(spec))
    kill("it")
    watch.reason()
    text = "".join(logging.Formatter().format(record) for record in failures.records)
    assert "OSError: [Errno 14] no" in text
    assert "hunter" not in text


@every_sup
def test_one_that_has_no_text_does_no_harm(start: Any, failures: Kept) -> None:
    watch = Watch(start(ChildSpec("it", Pooled, ({"on_start": Once(Unprintable())},), name="it")))
    kill("it")
    watch.reason()
    assert failures.of("supervisor_gave_up").fields["error"] == "Unprintable: <Unprintable>"


@every_sup
@pytest.mark.parametrize("cls", [Pooled, Threaded, Plain])
def test_the_crash_that_was_one_too_many_is_in_it(start: Any, cls: Any, failures: Kept) -> None:
    sup = start(ChildSpec("it", cls, name="it"))
    for number in range(3):
        ref = whereis("it")
        assert ref is not None
        watch = Watch(ref)
        cast(ref, ValueError(f"crash {number}"))
        watch.reason()
        if number < 2:
            eventually(lambda: whereis("it") is not None)
    Watch(sup).reason()
    record = failures.of("supervisor_gave_up")
    assert record.fields["error"] == "ValueError: crash 2"
    assert "in on_receive" in record.fields["exception"]


def test_a_kill_that_was_one_too_many_has_no_traceback(failures: Kept) -> None:
    sup = Supervisor.start_link([ChildSpec("it", Pooled, name="it")], max_restarts=0)
    watch = Watch(sup)
    kill("it")
    watch.reason()
    fields = failures.of("supervisor_gave_up").fields
    assert fields["error"] == "KILLED"
    assert "exception" not in fields


def test_the_error_of_an_attempt_outlives_the_backoff(failures: Kept) -> None:
    spec = ChildSpec("it", Pooled, ({"on_start": Once(OSError("taken"))},), name="it", backoff=Backoff(0.001, 0.001))
    watch = Watch(Supervisor.start_link([spec], max_restarts=1))
    kill("it")
    watch.reason()
    assert failures.of("supervisor_gave_up").fields["error"] == "OSError: taken"


@pytest.mark.parametrize("cls", [Pooled, Threaded, Plain])
def test_kept_records_keep_no_dead_actor_alive(cls: Any, failures: Kept) -> None:
    made: list[weakref.ref[Any]] = []

    class Child(cls):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            made.append(weakref.ref(self))

        def on_start(self) -> None:
            if len(made) > 1:
                raise OSError("taken")

    watch = Watch(Supervisor.start_link([ChildSpec("it", Child, name="it")], max_restarts=2))
    kill("it")
    watch.reason()
    assert len(failures.records) == 3

    def all_gone() -> bool:
        gc.collect()
        return not any(ref() for ref in made)

    eventually(all_gone, "the records keep one alive")


# --- names ------------------------------------------------------------------------------------------------------------


class Named(Server):
    """Takes its name as an argument, as a manager does."""

    def __init__(self, *_: Any, **options: Any) -> None:
        super().__init__()


NAMINGS: dict[str, Callable[[], ChildSpec]] = {
    "specification": lambda: ChildSpec("the id", Pooled, name="the name"),
    "argument": lambda: ChildSpec("the id", Named.start_link, kwargs={"name": "the name"}),
    "Pykka's": lambda: ChildSpec("the id", Plain, name="the name"),
}
every_naming = pytest.mark.parametrize("spec", NAMINGS.values(), ids=NAMINGS.keys())


@every_naming
def test_every_event_has_the_names_that_were_given(spec: Any, events: Kept) -> None:
    Supervisor.start_link([spec()], name="tokens", max_restarts=1)
    watch = Watch(whereis("tokens"))
    kill("the name")
    events.of("child_restarted")
    kill("the name")
    watch.reason()
    events.of("supervisor_gave_up")
    said = [record for record in events.records if "child" in record.fields]
    assert {record.event for record in said} == {"child_ended", "child_restarted", "supervisor_gave_up"}
    for record in said:
        assert (record.fields["supervisor"], record.fields["child"], record.fields["name"]) == (
            "tokens",
            "the id",
            "the name",
        )


@every_naming
def test_a_dynamic_supervisors_too(spec: Any, events: Kept) -> None:
    sup = DynamicSupervisor.start_link(name="tokens")
    DynamicSupervisor.start_child(sup, spec())
    DynamicSupervisor.stop(sup)
    fields = events.of("child_ended").fields
    assert (fields["supervisor"], fields["child"], fields["name"]) == ("tokens", "the id", "the name")


def test_auto_shutdown_and_the_warning_of_a_window_too(events: Kept) -> None:
    spec = ChildSpec("the id", Pooled, name="the name", significant=True, restart="transient", shutdown=60.0)
    Supervisor.start_link(
        [spec, ChildSpec("other", Pooled)], strategy="one_for_all", auto_shutdown="any_significant", name="tokens"
    )
    warned = events.of("shutdown_exceeds_window").fields
    assert (warned["supervisor"], warned["child"], warned["name"]) == ("tokens", "the id", "the name")
    cast("the name", Exit())
    fields = events.of("supervisor_auto_shutdown").fields
    assert (fields["supervisor"], fields["child"], fields["name"]) == ("tokens", "the id", "the name")


@every_naming
def test_the_tree_has_them(spec: Any) -> None:
    sup = Supervisor.start_link([spec()], name="tokens")
    tree = Supervisor.tree(sup)
    assert tree.name == "tokens"
    assert tree.children[0].name == "the name"
    first, second = str(tree).splitlines()
    assert first == "Supervisor (tokens)"
    assert second.startswith("└─ the id (the name)  running")


def test_without_names_a_supervisor_is_its_ref(events: Kept) -> None:
    sup = Supervisor.start_link([ChildSpec("it", Pooled)])
    Supervisor.terminate_child(sup, "it")
    fields = events.of("child_ended").fields
    assert (fields["supervisor"], fields["name"]) == (str(sup), None)


class NoWords:
    """What an application may use as an id or a detail."""

    def __str__(self) -> str:
        raise SystemExit("from __str__")

    __repr__ = __str__


def test_an_id_and_a_detail_without_text_do_no_harm(events: Kept) -> None:
    child_id = NoWords()
    sup = Supervisor.start_link([ChildSpec(child_id, Pooled, name="it")])
    cast("it", Exit(Shutdown(NoWords())))
    assert events.of("child_restarted").fields["child"] == "<NoWords>"
    assert events.of("child_ended").fields["reason"] == "Shutdown(detail=<NoWords>)"
    assert "<NoWords> (it)  running" in str(Supervisor.tree(sup))


# --- a dynamic supervisor's children by name --------------------------------------------------------------------------


@every_naming
def test_a_child_is_terminated_by_its_name(spec: Any) -> None:
    sup = DynamicSupervisor.start_link()
    DynamicSupervisor.start_child(sup, spec())
    DynamicSupervisor.terminate_child(sup, "the name")
    assert whereis("the name") is None
    assert DynamicSupervisor.which_children(sup) == []


@pytest.mark.parametrize("cls", [Pooled, Threaded, Plain])
def test_also_in_its_backoff(cls: Any) -> None:
    sup = DynamicSupervisor.start_link()
    ref = DynamicSupervisor.start_child(sup, ChildSpec("it", cls, name="the name", backoff=Backoff(3_600, 3_600)))
    watch = Watch(ref)
    kill("the name")
    watch.reason()
    assert [row.state for row in DynamicSupervisor.which_children(sup)] == ["restarting"]
    DynamicSupervisor.terminate_child(sup, "the name")
    assert DynamicSupervisor.which_children(sup) == []


def test_an_id_is_no_name_and_the_error_says_what_there_is() -> None:
    sup = DynamicSupervisor.start_link()
    with pytest.raises(ChildNotFound, match="there are: none"):
        DynamicSupervisor.terminate_child(sup, "x")
    DynamicSupervisor.start_child(sup, ChildSpec("x", Pooled, name="the name"))
    with pytest.raises(ChildNotFound, match=r"no child 'x'.*not by its id; there are: id 'x', name 'the name'$"):
        DynamicSupervisor.terminate_child(sup, "x")
    for number in range(20):
        DynamicSupervisor.start_child(sup, ChildSpec(number, Pooled))
    with pytest.raises(ChildNotFound, match=r"id 8, name None; and 11 more$"):
        DynamicSupervisor.terminate_child(sup, "x")


def test_a_name_of_another_supervisors_child_is_not_found() -> None:
    one, other = DynamicSupervisor.start_link(), DynamicSupervisor.start_link()
    DynamicSupervisor.start_child(one, ChildSpec("it", Pooled, name="the name"))
    with pytest.raises(ChildNotFound):
        DynamicSupervisor.terminate_child(other, "the name")
    assert whereis("the name") is not None


@every_failing
def test_a_first_start_that_fails_is_the_callers(spec: Any, failures: Kept) -> None:
    """It is told, with all that it was caused by, and not logged."""
    once = Once(chained())
    once.calls = 1
    with pytest.raises(StartError, match="port 8080 is taken") as told:
        Supervisor.start_link([spec(once)])
    text = "".join(traceback.format_exception(told.value))
    assert "in __call__" in text
    assert "no port" in text
    assert not failures.records
