"""The decorator of values: `dataclasses.dataclass`, in a fifth of its time.

The standard one writes and compiles six functions for each class, which takes half a millisecond. With some 130 values that was
two thirds of the time of an import of `oidc_actor`. Here ``__init__`` alone is compiled; the other functions are the same for
all classes but for the fields that they know. It sets these by the slots' own descriptors, so that a value, too, is made in less
time.
"""

from __future__ import annotations

import dataclasses
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

        def make(cls: type[Any]) -> type[Any]:
            inherits = any(dataclasses.is_dataclass(base) for base in cls.__bases__)
            # A class that inherits from a frozen dataclass has to be frozen by the standard decorator.
            cls = dataclasses.dataclass(init=False, repr=False, eq=False, slots=True, frozen=inherits)(cls)
            fields = dataclasses.fields(cls)
            methods = {} if inherits else _freezing(cls, [one.name for one in fields])
            if init:
                methods["__init__"] = _init(cls, fields)
            if repr:
                methods["__repr__"] = _showing([one.name for one in fields if one.repr])
            if eq:
                methods |= _comparing([one.name for one in fields if one.compare])
            for name, method in methods.items():
                if cls.__dict__.get(name) is None:
                    method.__name__, method.__qualname__ = name, f"{cls.__qualname__}.{name}"
                    setattr(cls, name, method)
            return cls

        return make


class _Factory:
    """Stands for a default that is made anew for each value."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()


def _init(cls: type[Any], fields: Sequence[dataclasses.Field[Any]]) -> Callable[..., None]:
    known: dict[str, object] = {"_FACTORY": _FACTORY}
    parameters, lines = ["self"], []
    for one in fields:
        assert not one.kw_only, one.name
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
    init.__annotations__ = {one.name: one.type for one in fields if one.init} | {"return": None}
    return init


def _freezing(cls: type[Any], names: list[str]) -> dict[str, Callable[..., Any]]:
    def set_field(self: Any, name: str, value: object) -> None:
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(cls, self).__setattr__(name, value)

    def delete_field(self: Any, name: str) -> None:
        if type(self) is cls or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(cls, self).__delattr__(name)

    def values(self: Any) -> list[Any]:
        return [getattr(self, name) for name in names]

    def restore(self: Any, values: list[Any]) -> None:
        for name, value in zip(names, values, strict=True):
            object.__setattr__(self, name, value)

    cls.__dataclass_params__.frozen = True
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
