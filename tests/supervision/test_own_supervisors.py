"""A supervisor of one's own: a class that says its children or options in ``init`` (OTP: a callback module)."""

import inspect
import threading
from typing import Any, ClassVar

import pykka
import pytest
from children import Scripted, Watch, World, crash, die, quiet, ref_of, states
from threads import DEADLINE_S, run

from supervision import (
    SHUTDOWN,
    AlreadyStarted,
    ChildSpec,
    DynamicSupervisor,
    Ignore,
    MaxChildren,
    Server,
    StartError,
    SupervisionError,
    Supervisor,
    call,
    kill,
    whereis,
)


class Named(Server):
    def __init__(self, *args: object) -> None:
        super().__init__()
        self.args = args

    def on_receive(self, message: object) -> object:
        if isinstance(message, BaseException):
            raise message
        return self.args


class Billing(Supervisor):
    """So many workers, which are restarted together."""

    ran: ClassVar[list[tuple[int, str, threading.Thread]]] = []

    @classmethod
    def init(cls, count: int, *, prefix: str = "w") -> Any:
        cls.ran.append((count, prefix, threading.current_thread()))
        return [Named.child_spec(i, name=f"{prefix}{i}") for i in range(count)], {"strategy": "one_for_all"}


class Workers(DynamicSupervisor):
    @classmethod
    def init(cls, most: int) -> Any:
        return {"max_children": most, "extra_args": ("first",), "max_restarts": 1}


@pytest.fixture(autouse=True)
def _none_ran() -> None:
    Billing.ran.clear()


# --- what init says ---------------------------------------------------------------------------------------------------


def test_its_children_and_its_options_are_those_of_init() -> None:
    sup = Billing.start_link(2, name="billing", prefix="b")
    assert whereis("billing") is sup
    assert states("billing", Billing) == {"b0": "running", "b1": "running"}
    others = whereis("b0"), whereis("b1")
    assert crash(sup, "b0")
    assert not {whereis("b0"), whereis("b1")} & {*others, None}
    assert str(Supervisor.tree("billing")).startswith("Billing (billing)\n")


def answers(*all_of_them: Any) -> Any:
    given = list(all_of_them)

    class Answers(Supervisor):
        @classmethod
        def init(cls) -> Any:
            answer = given.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer

    return Answers


@pytest.mark.parametrize("kind", [list, tuple, iter])
@pytest.mark.parametrize("options", [None, {}, {"max_restarts": 0, "max_seconds": 1}], ids=str)
def test_the_children_come_with_and_without_options(kind: Any, options: Any) -> None:
    children = kind([ChildSpec("a", Named)])
    assert states(answers(children if options is None else (children, options)).start_link()) == {"a": "running"}


def test_two_children_in_a_tuple_are_two_children() -> None:
    sup = answers((ChildSpec("a", Named), ChildSpec("b", Named))).start_link()
    assert states(sup) == {"a": "running", "b": "running"}


def test_the_window_is_that_of_init() -> None:
    sup = answers(([ChildSpec("a", Named)], {"max_restarts": 0})).start_link()
    watch = Watch(sup)
    die(ref_of(sup, "a"), Scripted("a"))
    assert watch.reason() == SHUTDOWN


def test_a_dynamic_one_has_its_options() -> None:
    pool = Workers.start_link(1, name="pool")
    ref = Workers.start_child("pool", ChildSpec("w", Named, (2,)))
    assert call(ref, "?") == ("first", 2)
    with pytest.raises(MaxChildren):
        DynamicSupervisor.start_child(pool, ChildSpec("w", Named))
    watch = Watch(pool)
    for _ in range(2):
        (row,) = Workers.which_children(pool)
        die(row.ref, Scripted("w"))
        quiet(pool, Workers)
    assert watch.reason() == SHUTDOWN


# --- when and where it runs -------------------------------------------------------------------------------------------


def test_it_runs_on_the_supervisors_own_thread_at_each_start() -> None:
    top = Supervisor.start_link([Billing.child_spec(1, name="billing")])
    inner = whereis("billing")
    assert inner
    kill(inner)
    assert quiet(top)
    assert whereis("billing") not in (None, inner)
    assert [ran[:2] for ran in Billing.ran] == [(1, "w")] * 2
    threads = {ran[2] for ran in Billing.ran}
    assert len(threads) == 2
    assert all(thread.name.startswith("Billing-") for thread in threads)
    assert whereis("w0") is not None


def test_it_has_its_name_while_init_runs_and_cannot_wait_for_itself() -> None:
    seen: list[Any] = []

    class Looks(Supervisor):
        @classmethod
        def init(cls) -> Any:
            seen.append(whereis("looks"))
            with pytest.raises(SupervisionError, match="itself"):
                Supervisor.which_children("looks")
            return []

    assert [Looks.start_link(name="looks")] == seen


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_what_init_raises_is_a_start_error() -> None:
    boom = Scripted("in init")
    with pytest.raises(StartError) as caught:
        answers(boom).start_link(name="sup")
    assert caught.value.child_id == "sup"
    assert caught.value.cause is boom
    assert whereis("sup") is None


def test_ignore_in_init_declines() -> None:
    assert answers(Ignore()).start_link(name="sup") is None
    assert whereis("sup") is None
    top = Supervisor.start_link([answers(Ignore()).child_spec(id="a")])
    assert states(top) == {"a": "stopped"}


def test_a_failing_init_is_an_attempt_that_is_made_again(world: World) -> None:
    kind = answers([world.spec("a")], Scripted("once"), [world.spec("b")])
    top = Supervisor.start_link([kind.child_spec(name="sup")])
    kill("sup")
    assert quiet(top)
    assert states("sup") == {"b": "running"}
    assert world.live() == ["b"]


BAD: dict[str, tuple[Any, type[Exception], str]] = {
    "nothing": (None, TypeError, r"^Answers\.init: children: expected an iterable of ChildSpec.*got None$"),
    "a class": ([Named], TypeError, r"^Answers\.init: children: expected a ChildSpec"),
    "one child": (ChildSpec("a", Named), TypeError, r"^Answers\.init: children: expected an iterable"),
    "an id twice": ([ChildSpec("a", Named)] * 2, ValueError, r"^Answers\.init: .*'a' is there twice"),
    "a bad strategy": (([], {"strategy": "all"}), ValueError, r"^Answers\.init: strategy: expected one of"),
    "a bad window": (([], {"max_restarts": "3"}), TypeError, r"^Answers\.init: max_restarts: expected"),
    "an unknown option": (([], {"stratgy": 1}), TypeError, r"^Answers\.init: expected no options but strategy.*stratgy"),
    "a name": (([], {"name": "n"}), TypeError, r"^Answers\.init: expected no options but .*got name"),
    "a class that is no actor's": ([ChildSpec("a", dict)], TypeError, r"^Answers\.init: ChildSpec\.start of 'a'"),
    "options that are none": (([], [("strategy", "one_for_all")]), TypeError, r"^Answers\.init: children: expected"),
}  # fmt: skip


@pytest.mark.parametrize("which", BAD)
def test_what_it_may_not_return(which: str) -> None:
    answer, kind, text = BAD[which]
    with pytest.raises(StartError) as caught:
        answers(answer).start_link()
    assert type(caught.value.cause) is kind
    assert caught.match("'Answers' did not start")
    with pytest.raises(kind, match=text):
        raise caught.value.cause


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (
            None,
            r"^Answers\.init: expected a dict of options, with some of max_children, .*got a value of type NoneType",
        ),
        ([], r"^Answers\.init: expected a dict"),
        ({"strategy": "one_for_one"}, r"^Answers\.init: expected no options but max_children, .*got strategy"),
        ({"max_children": "3"}, r"^Answers\.init: max_children: expected"),
        ({"extra_args": 3}, r"^Answers\.init: extra_args: expected"),
    ],
)
def test_what_a_dynamic_ones_may_not_return(options: Any, text: str) -> None:
    class Answers(DynamicSupervisor):
        @classmethod
        def init(cls) -> Any:
            return options

    with pytest.raises(StartError) as caught:
        Answers.start_link()
    with pytest.raises(TypeError, match=text):
        raise caught.value.cause


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), ((1, 2), {}), ((1,), {"perfix": "x"})], ids=str)
def test_arguments_that_init_does_not_take_are_refused_before_anything_starts(args: Any, kwargs: Any) -> None:
    with pytest.raises(TypeError, match=r"^Billing\.start_link: expected the arguments \(count, prefix\)"):
        Billing.start_link(*args, name="billing", **kwargs)
    if args:  # one that is missing may come from `extra_args`
        with pytest.raises(TypeError, match=r"^Billing\.child_spec: expected the arguments \(count, prefix\)"):
            Billing.child_spec(*args, **kwargs)
    assert Billing.ran == []


@pytest.mark.parametrize("base", [Supervisor, DynamicSupervisor])
def test_an_init_that_could_not_be_called_on_the_class_is_refused_at_definition(base: Any) -> None:
    def init(self: Any) -> Any: ...

    async def later(cls: Any) -> Any: ...

    with pytest.raises(
        TypeError, match=r"^Own\.init: expected a plain classmethod, got a function: write @classmethod"
    ):
        type("Own", (base,), {"init": init})
    with pytest.raises(TypeError, match=r"^Own\.init: expected a plain classmethod, got an async one"):
        type("Own", (base,), {"init": classmethod(later)})
    with pytest.raises(TypeError, match=r"^Own\.init"):
        type("Own", (type("Mixin", (), {"init": init}), base), {})
    type("Own", (base,), {"init": staticmethod(dict)})


def test_a_constructor_of_its_own_that_could_not_be_called_is_refused_at_definition() -> None:
    def constructor(self: Any, count: int) -> None: ...

    with pytest.raises(
        TypeError, match=r"^Own\.__init__ of a supervisor with an init: expected the arguments \(count\)"
    ):
        type("Own", (Billing,), {"__init__": constructor})

    class Passes(Billing):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.of_its_own = True

    assert states(Passes.start_link(1)) == {"w0": "running"}


def test_a_class_in_place_of_its_specification_is_told_apart() -> None:
    for kind in (Billing, Named, Supervisor):
        with pytest.raises(
            TypeError, match=rf"children: expected a ChildSpec, got .*: write {kind.__name__}\.child_spec"
        ):
            Supervisor.start_link([kind])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"write ChildSpec\(id, Plain, args\)"):
        Supervisor.start_link([type("Plain", (pykka.ThreadingActor,), {})])  # type: ignore[list-item]


def test_a_taken_name() -> None:
    first = Billing.start_link(0, name="billing")
    with pytest.raises(AlreadyStarted) as caught:
        Billing.start_link(0, name="billing")
    assert caught.value.ref is first
    assert len(Billing.ran) == 1


# --- as a child -------------------------------------------------------------------------------------------------------


def test_its_specification_is_a_supervisors() -> None:
    expected = ChildSpec("Billing", Billing, (2,), {"prefix": "x"}, type="supervisor")
    assert Billing.child_spec(2, prefix="x") == expected
    assert Billing.child_spec(2, name="b").id == "b"
    assert Workers.child_spec(2, id="i", name="b", restart="transient", shutdown=1.0, significant=True) == ChildSpec(
        *("i", Workers, (2,), {}, "transient", 1.0, "supervisor", True, "b")
    )


def test_they_nest() -> None:
    class App(Supervisor):
        @classmethod
        def init(cls) -> Any:
            return [Billing.child_spec(1, name="billing"), Workers.child_spec(3, name="workers")]

    top = App.start_link()
    assert states(top) == {"billing": "running", "workers": "running"}
    assert whereis("w0") is not None
    App.stop(top)
    assert (whereis("w0"), whereis("workers")) == (None, None)


def test_it_hangs_below_a_plain_specification_too() -> None:
    Supervisor.start_link([ChildSpec("b", Billing, (1,), type="supervisor", name="billing")])
    assert states("billing") == {"w0": "running"}


def test_one_that_fails_below_names_the_child() -> None:
    class Deep(Supervisor):
        @classmethod
        def init(cls) -> Any:
            return [ChildSpec("bad", Named, (), {"no": "such argument"})]

    with pytest.raises(StartError) as caught:
        Supervisor.start_link([Deep.child_spec(name="deep")])
    assert caught.value.child_id == "deep"
    assert "bad" in str(caught.value)


# --- classes ----------------------------------------------------------------------------------------------------------


def test_a_start_link_of_its_own_may_call_the_one_above() -> None:
    """Elixir's pattern: ``def start_link(n), do: Supervisor.start_link(__MODULE__, n, name: __MODULE__)``."""

    class Fixed(Billing):
        @classmethod
        def start_link(cls, count: int) -> Any:  # type: ignore[override]
            return super().start_link(count, name="fixed", prefix="f")

    Supervisor.start_link([Fixed.child_spec(2)])
    assert states("fixed") == {"f0": "running", "f1": "running"}
    with pytest.raises(TypeError, match=r"\(count\).*'prefix'"):
        Fixed.child_spec(2, prefix="x")


def test_an_init_may_be_inherited_mixed_in_and_extended() -> None:
    class More(Billing):
        @classmethod
        def init(cls, count: int, *, prefix: str = "w") -> Any:
            children, options = super().init(count, prefix=prefix)
            return [*children, Named.child_spec(name="more")], options

    class Inherits(More):
        pass

    assert states(Inherits.start_link(1)) == {"w0": "running", "more": "running"}


def test_a_class_without_an_init_takes_its_children_as_ever(world: World) -> None:
    class Plain(Supervisor):
        pass

    assert inspect.signature(Plain.start_link) == inspect.signature(Supervisor.start_link)
    assert inspect.signature(Plain.child_spec) == inspect.signature(Supervisor.child_spec)
    assert next(iter(inspect.signature(Supervisor.start_link).parameters)) == "children"
    assert [*inspect.signature(Billing.start_link).parameters] == ["args", "name", "kwargs"]
    assert states(Plain.start_link(world.specs("ab"))) == {"a": "running", "b": "running"}
    with pytest.raises(TypeError, match="children"):
        Plain.start_link()  # type: ignore[call-arg]


def test_many_at_once_take_one_name_once() -> None:
    """Only the start that has the name asks its ``init``."""
    barrier = threading.Barrier(8)
    got: list[Any] = []

    def start() -> None:
        barrier.wait(DEADLINE_S)
        try:
            got.append(Billing.start_link(0, name="one"))
        except AlreadyStarted as error:
            got.append(error.ref)

    with run(*[start] * 8):
        pass
    assert len(set(got)) == len(Billing.ran) == 1
