"""Random hierarchies of classes, made once by our decorator and once by the standard one, are the same to a program."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
import re
import sys
from collections.abc import Callable
from dataclasses import MISSING
from typing import Any, ClassVar  # noqa: F401 - the annotations name it

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from supervision.frozen import dataclass

NAMES = ["a", "b", "c", "d"]
ADDRESS = re.compile(" at 0x[0-9a-f]+")
PROPERTY = property(lambda self: 1)
MODULE = sys.modules[__name__]
VALUES = st.sampled_from([0, 1, "x", (1, 2)])

FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "default": VALUES,
        "default_factory": st.sampled_from([list, dict]),
        "init": st.booleans(),
        "repr": st.booleans(),
        "compare": st.booleans(),
        "hash": st.sampled_from([True, False, None]),
        "metadata": st.just({"unit": "s"}),
    },
).filter(lambda options: len({"default", "default_factory"} & set(options)) < 2)
MEMBERS = st.one_of(
    st.tuples(st.just("field"), FIELDS),
    st.tuples(st.just("default"), VALUES),
    st.tuples(st.just("needed"), st.none()),
    st.tuples(st.just("attribute"), VALUES),  # without an annotation: no field
    st.tuples(st.just("property"), VALUES),
)
METHODS = {
    "__repr__": lambda self: "its own",
    "__eq__": lambda self, other: type(self) is type(other) or NotImplemented,
    "__hash__": lambda self: 7,
    "__post_init__": lambda self: object.__setattr__(self, "seen", "after") if hasattr(self, "__dict__") else None,
    "__init__": lambda self, *given: None,
    "__getstate__": lambda self: None,
}
LAYERS = st.fixed_dictionaries(
    {
        "members": st.dictionaries(st.sampled_from(NAMES), MEMBERS, max_size=3),
        "of the class": st.booleans(),
        "methods": st.sets(st.sampled_from(sorted(METHODS)), max_size=1),
    }
)
OURS = st.fixed_dictionaries({}, optional={"init": st.booleans(), "repr": st.booleans(), "eq": st.booleans()})
KINDS = st.one_of(  # how a class is decorated; `None` for one that is not
    st.tuples(st.just("values"), OURS),
    st.none(),
    st.tuples(st.just("standard"), st.sampled_from([{"frozen": True}, {"frozen": True, "slots": True}])),
)
HIERARCHIES = st.lists(st.tuples(KINDS, LAYERS), min_size=1, max_size=4).filter(lambda layers: layers[0][0] is not None)

Decorator = Callable[..., Callable[[type], type]]


def hierarchy(layers: list[tuple[Any, Any]], of_values: Decorator) -> list[type[Any]]:
    """Make the classes, each a subclass of the one before."""
    made: list[type[Any]] = []
    for number, (kind, layer) in enumerate(layers):
        annotations, space = {}, {"__module__": __name__}
        space |= {"__qualname__": f"Layer{number}", "__doc__": "A layer."}  # type: ignore[dict-item]
        for name, (what, value) in layer["members"].items():
            if kind is None and what == "field":  # which only a decorator makes something of
                what, value = "attribute", 0
            if what in {"field", "default", "needed"}:
                annotations[name] = "int"
            if what == "property":
                value = PROPERTY
            if what != "needed":
                space[name] = dataclasses.field(**value) if what == "field" else value
        if layer["of the class"]:
            annotations["known"], space["known"] = "ClassVar[int]", 1
        space |= {name: METHODS[name] for name in layer["methods"]}
        cls: type[Any] = type(f"Layer{number}", (made[-1],) if made else (), space | {"__annotations__": annotations})
        if kind is not None:
            decorator: Decorator = of_values if kind[0] == "values" else dataclasses.dataclass
            cls = decorator(**({"frozen": True, "slots": True} if kind[0] == "values" else {}) | kind[1])(cls)
        made.append(cls)
    return made


def outcome(act: Callable[[], object]) -> object:
    """What comes of it, so that it can be compared: a value by what is seen of it, an error by its type and text."""
    try:
        return seen(act())
    except RecursionError:
        raise
    except Exception as error:
        return type(error), str(error)


def seen(value: Any) -> object:
    """A value by what a program sees of it."""
    if not type(value).__qualname__.startswith("Layer"):
        return ADDRESS.sub("", value) if isinstance(value, str) else value
    found = {name: getattr(value, name, "nothing") for name in [*NAMES, "seen"]}
    return type(value).__qualname__, found, getattr(value, "__dict__", None)


def of_field(one: dataclasses.Field[Any]) -> object:
    default = "missing" if one.default is MISSING else one.default
    factory = "missing" if one.default_factory is MISSING else one.default_factory
    return (
        one.name,
        one.type,
        default,
        factory,
        one.init,
        one.repr,
        one.hash,
        one.compare,
        dict(one.metadata),
        one.kw_only,
    )


def of_class(cls: type[Any]) -> dict[str, object]:
    """What a program sees of a class, and of values of it."""
    arguments: list[tuple[tuple[object, ...], dict[str, object]]] = [
        *(((7, "y", (3,), 0)[:many], {}) for many in range(5)),
        ((), {"a": 5, "b": 6}),
        ((), {"d": 5}),
    ]
    found: dict[str, object] = {
        "fields": [of_field(one) for one in dataclasses.fields(cls)],
        "signature": str(inspect.signature(cls)),
        "to match": outcome(lambda: cls.__match_args__),
        "slots": sorted(cls.__dict__.get("__slots__", ("none",))),
        "on the class": [outcome(lambda: type(getattr(cls, name))) for name in NAMES],  # noqa: B023
    }
    for positional, named in arguments:
        make = lambda: cls(*positional, **named)  # noqa: B023, E731
        found[f"made of {positional} {named}"] = outcome(make)
        try:
            value, twin = make(), make()
        except Exception:
            continue
        done = acts(value, twin)
        found |= {f"{what} of {positional} {named}": outcome(act) for what, act in done.items()}
    return found


def acts(value: Any, twin: Any) -> dict[str, Callable[[], object]]:
    """What a program does with a value; the twin is made of the same."""
    found: dict[str, Callable[[], object]] = {
        "repr": lambda: repr(value),
        "equal": lambda: (value == twin, value != twin, value == 1, value == "y"),
        "hash": lambda: hash(value) == hash(twin) if type(value).__hash__ is object.__hash__ else hash(value),
        "as a dictionary": lambda: dataclasses.asdict(value),
        "as a tuple": lambda: dataclasses.astuple(value),
        "replaced": lambda: dataclasses.replace(value),
        "replaced in part": lambda: dataclasses.replace(value, b=9),
        "copied": lambda: copy.copy(value),
        "copied deeply": lambda: copy.deepcopy(value),
        "pickled": lambda: pickle.loads(pickle.dumps(value)),
        "matched": lambda: matched(value),
    }
    for name in [
        one.name for one in dataclasses.fields(value)
    ]:  # what the standard one says of others differs by version
        found[f"set {name}"] = lambda name=name: setattr(value, name, 1)  # type: ignore[misc]
        found[f"delete {name}"] = lambda name=name: delattr(value, name)  # type: ignore[misc]
    return found


def matched(value: Any) -> object:
    names = getattr(type(value), "__match_args__", ())
    return [getattr(value, name) for name in names]


@settings(
    phases=[Phase.generate, Phase.shrink],
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@given(layers=HIERARCHIES)
def test_a_hierarchy_of_values_is_as_one_of_the_standard_decorator(layers: list[tuple[Any, Any]]) -> None:
    try:
        theirs = hierarchy(layers, dataclasses.dataclass)
    except (TypeError, ValueError):  # a field without a default after one that has one
        return
    ours = hierarchy(layers, dataclass)
    expected, got = [], []
    for classes, known in ((theirs, expected), (ours, got)):
        for cls in classes:
            setattr(MODULE, cls.__qualname__, cls)  # for pickle
        known += [of_class(cls) for cls in classes]
    for mine, other in zip(got, expected, strict=True):
        assert {what: mine[what] for what in mine if mine[what] != other.get(what)} == {
            what: other[what] for what in other if mine.get(what) != other[what]
        }
