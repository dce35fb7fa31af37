"""``Worker.child_spec(...)``: the specification of any ``Server`` class, refused with what it would fail with."""

import functools
from collections.abc import Callable
from typing import Any

import pytest
from children import Watch, quiet, ref_of

from supervision import (
    Backoff,
    ChildSpec,
    DynamicSupervisor,
    Server,
    StartError,
    Supervisor,
    call,
    cast,
    whereis,
)


class Worker(Server):
    def __init__(self, size: int, *, colour: str = "red") -> None:
        super().__init__()
        self.got = size, colour

    def on_receive(self, message: object) -> object:
        if message == "crash":
            raise ValueError
        return self.got


class Inherits(Worker):
    """Nothing of its own."""


class TakesAll(Server):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.got = args, kwargs

    def on_receive(self, message: object) -> object:
        return self.got


# --- what it says -----------------------------------------------------------------------------------------------------


def test_its_defaults_are_a_workers() -> None:
    assert Worker.child_spec(1) == ChildSpec("Worker", Worker, (1,))
    assert Inherits.child_spec(1) == ChildSpec("Inherits", Inherits, (1,))


def test_its_id_is_the_name_unless_one_is_given() -> None:
    assert Worker.child_spec(1, name="w").id == "w"
    assert Worker.child_spec(1, name="w", id=("w", 1)).id == ("w", 1)
    assert Worker.child_spec(1, id=0).id == 0


def test_fields_go_to_the_specification_and_the_rest_to_the_class() -> None:
    backoff = Backoff(initial=1)
    significant: dict[str, Any] = {"restart": "transient", "significant": True}
    spec = Worker.child_spec(
        3, id="i", name="n", shutdown="infinity", backoff=backoff, type="supervisor", colour="blue", **significant
    )
    assert spec == ChildSpec(
        *("i", Worker, (3,), {"colour": "blue"}, "transient", "infinity", "supervisor", True, "n", backoff)
    )


def test_each_incarnation_has_the_arguments_and_the_name() -> None:
    sup = Supervisor.start_link([Worker.child_spec(4, name="w", colour="blue")])
    first = whereis("w")
    watch = Watch(first)
    cast("w", "crash")
    watch.reason()
    assert quiet(sup)
    assert whereis("w") is ref_of(sup, "w") is not first
    assert call("w", "?") == (4, "blue")


def test_two_of_one_class_need_two_ids() -> None:
    with pytest.raises(ValueError, match="the id 'Worker' is there twice"):
        Supervisor.start_link([Worker.child_spec(1), Worker.child_spec(2)])
    Supervisor.start_link([Worker.child_spec(1, name="a"), Worker.child_spec(2, name="b")])


# --- what it refuses --------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[Callable[[], object], str]] = {
    "unknown keyword": (lambda: Worker.child_spec(1, sise=2), r"\(size, colour\).*'sise'"),
    "too many": (lambda: Worker.child_spec(1, 2), r"\(size, colour\).*too many"),
    "twice": (lambda: Worker.child_spec(1, size=2), r"\(size, colour\).*'size'"),
    "of an inherited constructor": (lambda: Inherits.child_spec(sise=2), r"^Inherits\.child_spec: .*'sise'"),
    "args": (lambda: Worker.child_spec(args=(1,)), r"got args=.*write ChildSpec\(id, Worker, args, kwargs\)"),
    "kwargs": (lambda: Worker.child_spec(kwargs={}), r"got kwargs="),
    "start": (lambda: Worker.child_spec(start=1), r"got start="),
    "a field of the wrong type": (lambda: Worker.child_spec(1, significant=1), r"ChildSpec\.significant: expected"),
}


@pytest.mark.parametrize("which", REFUSED)
def test_what_could_only_fail_is_refused_before_anything_starts(which: str) -> None:
    make, text = REFUSED[which]
    with pytest.raises(TypeError, match=text):
        make()


def test_a_bad_field_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"ChildSpec\.restart: expected"):
        Worker.child_spec(1, restart="always")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"ChildSpec\.significant: a permanent child"):
        Worker.child_spec(1, significant=True)


def test_no_argument_is_shown() -> None:
    with pytest.raises(TypeError) as caught:
        Worker.child_spec("hunter2", "hunter2", colour="hunter2")
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(TakesAll.child_spec("hunter2", password="hunter2"))


# --- what it cannot know, and lets pass -------------------------------------------------------------------------------


def test_what_is_missing_may_come_from_extra_args() -> None:
    pool = DynamicSupervisor.start_link(extra_args=(7,))
    ref = DynamicSupervisor.start_child(pool, Worker.child_spec(colour="blue"))
    assert call(ref, "?") == (7, "blue")
    with pytest.raises(StartError, match="size"):
        Supervisor.start_link([Worker.child_spec()])


def test_a_constructor_that_takes_all_gets_all() -> None:
    (ref,) = (DynamicSupervisor.start_child(DynamicSupervisor.start_link(), TakesAll.child_spec(1, 2, three=3)),)
    assert call(ref, "?") == ((1, 2), {"three": 3})


def logged(init: Callable[..., None]) -> Callable[..., None]:
    """A decorator that takes an argument for itself, and shows the signature of what it wraps."""

    @functools.wraps(init)
    def wrapper(self: Any, *args: Any, verbose: bool = False, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        self.verbose = verbose

    return wrapper


class Decorated(Server):
    @logged
    def __init__(self, size: int) -> None:
        super().__init__()

    def on_receive(self, message: object) -> object:
        return self.verbose  # type: ignore[attr-defined]


def test_a_wrapped_constructor_counts_by_what_the_wrapper_takes() -> None:
    ref = DynamicSupervisor.start_child(DynamicSupervisor.start_link(), Decorated.child_spec(1, verbose=True))
    assert call(ref, "?") is True


class StartsInItsOwnWay(Server):
    """What it is started with is what its ``start_link`` takes, not its constructor."""

    def __init__(self, parts: list[str]) -> None:
        super().__init__()
        self.parts = parts

    @classmethod
    def start_link(cls, text: str, *, name: str | None = None) -> Any:  # type: ignore[override]
        return super().start_link(text.split(), name=name)

    def on_receive(self, message: object) -> object:
        return self.parts


def test_a_start_link_of_the_classs_own_says_what_it_takes() -> None:
    Supervisor.start_link([StartsInItsOwnWay.child_spec("a b", name="own")])
    assert call("own", "?") == ["a", "b"]
    with pytest.raises(TypeError, match=r"\(text, name\).*'parts'"):
        StartsInItsOwnWay.child_spec(parts=[])


class Nameless(Server):
    @classmethod
    def start_link(cls) -> Any:  # type: ignore[override]
        return super().start_link()


def test_a_name_that_a_start_link_does_not_take_is_refused() -> None:
    with pytest.raises(TypeError, match="'name'"):
        Nameless.child_spec(name="n")
    Supervisor.start_link([Nameless.child_spec()])
