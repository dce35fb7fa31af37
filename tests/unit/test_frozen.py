"""Values are the dataclasses that the standard decorator makes, as far as anyone can tell."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from dataclasses import asdict, field, fields, is_dataclass, replace
from typing import Any, get_type_hints

import pytest

from supervision.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Empty:
    """Without a field."""


@dataclass(frozen=True, slots=True)
class One:
    """With one."""

    a: int


@dataclass(frozen=True, slots=True)
class Value:
    """With all kinds of fields."""

    a: int
    hidden: str = field(repr=False)
    b: float = 1.5
    c: list[int] = field(default_factory=list)
    apart: object = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "apart", self.a)


@dataclass(frozen=True, slots=True)
class Child(One):
    """A value more."""

    b: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Itself:
    """Equal to itself only."""

    a: int


@dataclass(frozen=True, slots=True)
class Own:
    """With functions of its own."""

    a: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own)

    def __repr__(self) -> str:
        return "own"

    def __hash__(self) -> int:
        return 7


def standard(cls: type[Any]) -> type[Any]:
    """The same class, by the standard decorator."""
    kept = ("__module__", "__qualname__", "__doc__", "__annotations__", "__post_init__")
    given = {name: cls.__dict__[name] for name in kept if name in cls.__dict__}
    for one in fields(cls):
        if one.name in given["__annotations__"]:
            given[one.name] = field(
                default=one.default,
                default_factory=one.default_factory,
                init=one.init,
                repr=one.repr,
                compare=one.compare,
            )
    return dataclasses.dataclass(frozen=True, slots=True)(type(cls.__name__, cls.__bases__, given))


VALUES = [(Empty, ()), (One, (1,)), (Value, (1, "x")), (Value, (1, "x", 2.5, [3])), (Child, (1, (2,))), (Child, (1,))]


@pytest.mark.parametrize(("cls", "given"), VALUES)
def test_it_is_as_the_standard_one(cls: type[Any], given: tuple[object, ...]) -> None:
    ours, theirs, other = cls(*given), standard(cls)(*given), standard(cls)
    assert repr(ours) == repr(theirs)
    assert asdict(ours) == asdict(theirs)
    assert str(inspect.signature(cls)) == str(inspect.signature(other))
    assert get_type_hints(cls.__init__) == get_type_hints(other.__init__)
    assert cls.__match_args__ == other.__match_args__
    assert cls.__slots__ == other.__slots__
    assert cls.__init__.__qualname__ == f"{cls.__qualname__}.__init__"
    assert is_dataclass(cls)
    assert not hasattr(ours, "__dict__")
    assert ours == cls(*given)
    assert ours != theirs
    assert [one.name for one in fields(cls)] == [one.name for one in fields(other)]


@pytest.mark.parametrize(("cls", "given"), VALUES)
def test_it_is_copied_pickled_and_replaced(cls: type[Any], given: tuple[object, ...]) -> None:
    value = cls(*given)
    assert pickle.loads(pickle.dumps(value)) == value == copy.deepcopy(value) == replace(value)
    assert value.__replace__() == value  # `copy.replace` of Python 3.13
    for name in [one.name for one in fields(cls)]:
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(value, name, 1)
        with pytest.raises(dataclasses.FrozenInstanceError, match=f"cannot delete field '{name}'"):
            delattr(value, name)
    with pytest.raises(dataclasses.FrozenInstanceError):
        value.more = 1


def test_values_compare_and_hash_by_the_fields_that_count() -> None:
    assert hash(One(1)) == hash(One(1)) == hash((1,))
    assert hash(Child(1, (2,))) == hash((1, (2,)))
    assert hash(Empty()) == hash(())
    assert {One(1), One(1), One(2)} == {One(1), One(2)}
    assert One(1) != Child(1)
    first, second = Value(1, "x"), Value(1, "x")
    object.__setattr__(second, "apart", "not compared")
    assert first == second
    assert Itself(1) != Itself(1)
    assert len({Itself(1), Itself(1)}) == 2
    with pytest.raises(TypeError, match="unhashable"):
        hash(Value(1, "x"))


def test_what_a_class_defines_stays() -> None:
    assert repr(Own(1)) == "own"
    assert Own(1) == Own(2)
    assert hash(Own(1)) == 7


def test_each_value_has_a_default_of_its_own() -> None:
    assert Value(1, "x").c is not Value(1, "x").c
    assert Value(2, "x").apart == 2


def test_a_missing_and_an_unknown_argument_are_named() -> None:
    with pytest.raises(TypeError, match=r"One\.__init__\(\) missing 1 required positional argument: 'a'"):
        One()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"One\.__init__\(\) got an unexpected keyword argument 'b'"):
        One(1, b=2)  # type: ignore[call-arg]


@dataclasses.dataclass(frozen=True)
class Theirs(Value):
    """What a program makes of a value."""

    d: int = 4


class Shadowing(Value):
    """A program's own, with an attribute that has the name of a field."""

    b = 9.0


def test_an_argument_counts_where_a_subclass_has_an_attribute_of_its_name() -> None:
    value = Shadowing(1, "x", 2.5)
    assert (value.b, repr(value)) == (2.5, "Shadowing(a=1, b=2.5, c=[])")
    assert pickle.loads(pickle.dumps(value)) == copy.copy(value) == replace(value) == value != Shadowing(1, "x")
    assert replace(value, b=3.5).b == 3.5


def test_it_has_children_of_the_standard_decorator() -> None:
    value = Theirs(1, "x", d=5)
    assert Theirs(1, "x").d == 4
    assert copy.copy(value) == copy.deepcopy(value) == pickle.loads(pickle.dumps(value)) == value
    with pytest.raises(TypeError, match="frozen"):

        @dataclasses.dataclass
        class _Mutable(Value):
            d: int = 4


def test_a_value_within_itself_is_shown() -> None:
    value = Value(1, "x", 2.5, [])
    value.c.append(value)  # type: ignore[arg-type]
    assert repr(value) == "Value(a=1, b=2.5, c=[...])"


def test_what_it_cannot_make_is_refused() -> None:
    for kind in (
        "InitVar[int]",
        dataclasses.InitVar[int],
        dataclasses.InitVar,
        "dataclasses.KW_ONLY",
        dataclasses.KW_ONLY,
    ):
        with pytest.raises(TypeError, match="a: expected no kw_only and no InitVar"):
            dataclass(frozen=True, slots=True)(type("_Wrong", (), {"__annotations__": {"a": kind}}))
    space = {"__annotations__": {"a": "int"}, "a": field(kw_only=True)}
    with pytest.raises(TypeError, match="a: expected no kw_only and no InitVar"):
        dataclass(frozen=True, slots=True)(type("_Wrong", (), space))


def test_a_class_that_says_it_has_no_hash_has_none() -> None:
    @dataclass(frozen=True, slots=True)
    class Unhashable:
        a: int
        __hash__ = None  # type: ignore[assignment]

    with pytest.raises(TypeError, match="unhashable"):
        hash(Unhashable(1))


def test_the_one_slot_of_a_base_may_be_a_text() -> None:
    class Base:
        __slots__ = "ab"

    @dataclass(frozen=True, slots=True)
    class Sub(Base):
        a: int
        ab: int = 2

    assert Sub.__slots__ == ("a",)  # type: ignore[comparison-overlap]
    assert repr(Sub(1)).endswith("Sub(a=1, ab=2)")
