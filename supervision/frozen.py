"""The decorator of values: `dataclasses.dataclass`, in a fifth of its time.

The standard one writes and compiles six functions for each class, which takes half a millisecond. With
some 130 values that was two thirds of the time of an import of `oidc_actor`. Here ``__init__`` alone is compiled; the other
functions are the same for all classes but for the fields that they know. It sets these by the slots' own descriptors, so that a
value, too, is made in less time.
"""

from __future__ import annotations

import dataclasses
import inspect
import reprlib
import sys
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(*, init: bool = True, repr: bool = True, eq: bool = True, **others: Any) -> Callable[[type], type]:  # noqa: A002
        """Decorate a class; the result is a dataclass to `dataclasses`, to ``match`` and to pickle.

        Only a class that is ``frozen`` and has ``slots``, and no argument beyond these, is made here. Its fields are those of
        `dataclasses.field`, without ``kw_only``, and no ``InitVar``. Any other is handed to the standard decorator.

        Args:
            init: Whether it gets an ``__init__``; what it defines itself stays, in any case.
            repr: Whether it gets a ``__repr__``.
            eq: Whether two compare by value, and hash so.
            others: As the standard one's.
        """
        if others != {"frozen": True, "slots": True}:
            return dataclasses.dataclass(init=init, repr=repr, eq=eq, **others)

        return lambda cls: _made(cls, init=init, repr=repr, eq=eq)


@dataclasses.dataclass(frozen=True, slots=True)
class _Sample:
    """What the standard decorator notes of a class and of a field."""

    field: int


_PARAMS: Any = _Sample.__dataclass_params__  # type: ignore[attr-defined]
_KIND: Any = _Sample.__dataclass_fields__["field"]._field_type  # type: ignore[attr-defined]


def _made(cls: type[Any], *, init: bool, repr: bool, eq: bool) -> type[Any]:  # noqa: A002
    own = _own_fields(cls)
    fields: dict[str, dataclasses.Field[Any]] = {}
    for base in reversed(cls.__mro__[1:]):
        fields.update(getattr(base, "__dataclass_fields__", {}))
    inherited = set(fields)
    fields.update(own)
    taken = tuple(one.name for one in fields.values() if one.init)
    made: list[type[Any]] = []  # which its functions know once it is there
    methods = _freezing(made, list(fields))
    if repr:
        methods["__repr__"] = _showing([one.name for one in fields.values() if one.repr])
    if eq:
        methods |= _comparing([one.name for one in fields.values() if one.compare])
    namespace = {name: value for name, value in cls.__dict__.items() if name not in own and name not in _OF_A_CLASS}
    namespace |= {"__slots__": tuple(name for name in own if name not in inherited), "__match_args__": taken}
    namespace |= {"__dataclass_fields__": fields, "__dataclass_params__": _PARAMS}
    for name, method in methods.items():
        if namespace.get(name) is None:
            method.__name__, method.__qualname__ = name, f"{cls.__qualname__}.{name}"
            namespace[name] = method
    kind: Any = type(cls)
    made.append(kind(cls.__name__, cls.__bases__, namespace))
    made[0].__qualname__ = cls.__qualname__
    if init and "__init__" not in namespace:
        made[0].__init__ = _init(made[0], list(fields.values()))
    return made[0]


_OF_A_CLASS = ("__dict__", "__weakref__")
"""What a class without slots has for its instances."""


def _own_fields(cls: type[Any]) -> dict[str, dataclasses.Field[Any]]:
    """The fields that a class adds to those of its bases."""
    found = {}
    for name, kind in inspect.get_annotations(cls).items():
        if str(kind).removeprefix("typing.").startswith("ClassVar"):
            continue
        default = cls.__dict__.get(name, dataclasses.MISSING)
        one: Any = default if isinstance(default, dataclasses.Field) else dataclasses.field(default=default)
        assert one.kw_only is not True, name
        assert one.default.__class__.__hash__, f"{name}: each value needs a default of its own"
        one.name, one.type, one.kw_only, one._field_type = name, kind, False, _KIND
        found[name] = one
    return found


class _Factory:
    """Stands for a default that is made anew for each value."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()


def _init(cls: type[Any], fields: Sequence[dataclasses.Field[Any]]) -> Callable[..., None]:
    known: dict[str, object] = {"_FACTORY": _FACTORY}
    parameters, lines = ["self"], []
    for one in fields:
        name, parameter, value = one.name, one.name, one.name
        if one.default is not dataclasses.MISSING:
            known[f"_default_{name}"] = one.default
            parameter += f"=_default_{name}"
            value = name if one.init else f"_default_{name}"
        elif one.default_factory is not dataclasses.MISSING:
            known[f"_make_{name}"] = one.default_factory
            parameter += "=_FACTORY"
            value = f"_make_{name}() if {name} is _FACTORY else {name}" if one.init else f"_make_{name}()"
        elif not one.init:
            continue
        if one.init:
            parameters.append(parameter)
        known[f"_set_{name}"] = getattr(cls, name).__set__
        lines.append(f"  _set_{name}(self, {value})")
    lines.append("  self.__post_init__()" if hasattr(cls, "__post_init__") else "  return")
    # What the function knows is in its closure. Its globals are those of the class's module, in whose words its annotations are.
    text = [f"def made({', '.join(known)}):", f" def __init__({', '.join(parameters)}):", *lines, " return __init__"]
    made: dict[str, Any] = {}
    exec("\n".join(text), sys.modules[cls.__module__].__dict__, made)  # noqa: S102 - names of fields, as the standard one has it
    init: Callable[..., None] = made["made"](**known)
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {one.name: one.type for one in fields if one.init} | {"return": None}
    return init


def _freezing(made: list[type[Any]], names: list[str]) -> dict[str, Callable[..., Any]]:
    def set_field(self: Any, name: str, value: object) -> None:
        if type(self) is made[0] or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(made[0], self).__setattr__(name, value)

    def delete_field(self: Any, name: str) -> None:
        if type(self) is made[0] or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(made[0], self).__delattr__(name)

    def values(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def restore(self: Any, values: list[Any]) -> None:
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)

    return {"__setattr__": set_field, "__delattr__": delete_field, "__getstate__": values, "__setstate__": restore}


def _showing(names: list[str]) -> Callable[[Any], str]:
    @reprlib.recursive_repr()
    def show(self: Any) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return show


def _comparing(names: list[str]) -> dict[str, Callable[..., Any]]:
    # Of one name, and of none, `attrgetter` makes no tuple.
    values: Callable[[Any], Any] = (
        attrgetter(*names) if len(names) > 1 else lambda one: [*map(one.__getattribute__, names)]
    )

    def is_equal(self: Any, other: object) -> Any:
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    def hash_value(self: Any) -> int:
        return hash(tuple(values(self)))

    return {"__eq__": is_equal, "__hash__": hash_value}
