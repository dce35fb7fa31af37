"""The decorator of values: `dataclasses.dataclass`, in a tenth of its time.

The standard one writes and compiles six functions for each class, which takes half a millisecond. With some 130 values that was
two thirds of the time of an import of `oidc_actor`. Here ``__init__`` alone is compiled, once for all classes whose fields are
alike; the other functions are the same for all but for the fields that they know. It sets these by the slots' own descriptors, so
that a value, too, is made in less time.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import reprlib
import sys
import types
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
        known = getattr(base, "__dataclass_fields__", {})
        fields.update({name: one for name, one in known.items() if one._field_type is _KIND})
    fields.update(own)
    slots = [base.__dict__.get("__slots__", ()) for base in cls.__mro__[1:]]
    inherited = {name for names in slots for name in ([names] if isinstance(names, str) else names)}
    taken = tuple(one.name for one in fields.values() if one.init)
    made: list[type[Any]] = []  # which its functions know once it is there
    methods = _freezing(made, list(fields))
    if repr:
        methods["__repr__"] = _showing([one.name for one in fields.values() if one.repr])
    if eq:
        hashed = [one.name for one in fields.values() if (one.compare if one.hash is None else one.hash)]
        methods |= _comparing([one.name for one in fields.values() if one.compare], hashed)
    namespace = {name: value for name, value in cls.__dict__.items() if name not in fields and name not in _OF_A_CLASS}
    namespace |= {"__slots__": tuple(name for name in fields if name not in inherited), "__match_args__": taken}
    namespace |= {"__dataclass_fields__": fields, "__dataclass_params__": _PARAMS}
    for name, function in _OF_ALL.items():
        namespace.setdefault(name, function)
    for name, method in methods.items():
        if name not in namespace or (namespace[name] is None and "__eq__" in cls.__dict__):  # who has that has no hash
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
        text = str(kind)
        if text.removeprefix("typing.").startswith("ClassVar"):
            continue
        default: Any = getattr(cls, name, dataclasses.MISSING)
        if isinstance(default, types.MemberDescriptorType):  # the slot of a base
            default = dataclasses.MISSING
        one: Any = default if isinstance(default, dataclasses.Field) else dataclasses.field(default=default)
        if one.kw_only is True or "KW_ONLY" in text or "InitVar" in text:
            raise TypeError(f"{name}: expected no kw_only and no InitVar; `dataclasses.dataclass` has them")
        if one.default.__class__.__hash__ is None:
            raise ValueError(f"{name}: each value needs a default of its own; give a default_factory")
        one.name, one.type, one.kw_only, one._field_type = name, kind, False, _KIND
        found[name] = one
    return found


class _Factory:
    """Stands for a default that is made anew for each value."""

    def __repr__(self) -> str:
        return "<factory>"


_FACTORY = _Factory()


def _init(cls: type[Any], fields: Sequence[dataclasses.Field[Any]]) -> Callable[..., None]:
    kinds, parameters, defaults, names = [], [], [], []
    known: dict[str, object] = {"_FACTORY": _FACTORY, "_cls": cls}
    for number, one in enumerate(fields):
        has_default, is_made = one.default is not dataclasses.MISSING, one.default_factory is not dataclasses.MISSING
        slot: Any = getattr(cls, one.name, None)
        is_slot = isinstance(slot, types.MemberDescriptorType)  # else a class in between has something else by its name
        known[f"_set_{number}"] = slot.__set__ if is_slot else functools.partial(_set_one, one.name)
        known[f"_default_{number}"] = one.default_factory if is_made else one.default
        kinds.append(_kind(one, has_default=has_default, is_made=is_made))
        if kinds[-1] != "left out":
            names.append(one.name)
        if one.init:
            parameters.append(one.name)
            if has_default or is_made:
                defaults.append(_FACTORY if is_made else one.default)
            elif defaults:
                raise TypeError(f"{one.name}: expected a default, as the fields before have one")
    known["_set_by_name"] = functools.partial(_set_by_name, names)
    code = _compiled(tuple(kinds), hasattr(cls, "__post_init__"))
    # The names of the parameters are put into the code. What it knows is in its closure. Its globals are those of the class's
    # module, in whose words its annotations are.
    code = code.replace(
        co_varnames=("self", *parameters), co_name="__init__", co_qualname=f"{cls.__qualname__}.__init__"
    )
    closure = tuple(types.CellType(known[name]) for name in code.co_freevars)
    module = sys.modules[cls.__module__].__dict__
    init = types.FunctionType(code, module, "__init__", tuple(defaults), closure)
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    init.__annotations__ = {one.name: one.type for one in fields if one.init} | {"return": None}
    return init


def _set_one(name: str, value: Any, content: object) -> None:
    object.__setattr__(value, name, content)


def _set_by_name(names: Sequence[str], value: Any, *contents: object) -> None:
    """Set the fields of a value of a subclass, which may have something else by the name of a field: that hides the slot."""
    for name, content in zip(names, contents, strict=True):
        object.__setattr__(value, name, content)


def _kind(one: dataclasses.Field[Any], *, has_default: bool, is_made: bool) -> str:
    """What the code has to do for a field. A default that the caller gets by not giving another is none of its business."""
    if one.init:
        return "made unless given" if is_made else "given"
    return "made" if is_made else "set" if has_default else "left out"


@functools.cache
def _compiled(kinds: tuple[str, ...], has_more: bool) -> types.CodeType:
    """The code that sets fields of such kinds. To compile it is what takes time: all classes with the same kinds share it."""
    contents, parameters, names = [], ["self"], ["_cls", "_set_by_name"]
    for number, kind in enumerate(kinds):
        given, default = f"p{number}", f"_default_{number}"
        if kind == "left out":
            continue
        if "given" in kind:
            parameters.append(given)
        if kind != "given":
            names += [default, "_FACTORY"]
        names.append(f"_set_{number}")
        value = {"given": given, "set": default, "made": f"{default}()"}.get(kind)
        contents.append((number, value or f"{default}() if {given} is _FACTORY else {given}"))
    lines = ["  if type(self) is _cls:", *(f"   _set_{number}(self, {value})" for number, value in contents)]
    lines += ["  else:", f"   _set_by_name(self, {', '.join(value for _, value in contents)})"]
    lines = lines if contents else []
    lines.append("  self.__post_init__()" if has_more else "  return")
    names = list(dict.fromkeys(names))
    text = [f"def made({', '.join(names)}):", f" def init({', '.join(parameters)}):", *lines, " return init"]
    made: dict[str, Any] = {}
    exec("\n".join(text), made)  # noqa: S102 - of numbers only
    code: types.CodeType = made["made"](*names).__code__
    return code


def _freezing(made: list[type[Any]], names: list[str]) -> dict[str, Callable[..., Any]]:
    def set_field(self: Any, name: str, value: object) -> None:
        if type(self) is made[0] or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        super(made[0], self).__setattr__(name, value)

    def delete_field(self: Any, name: str) -> None:
        if type(self) is made[0] or name in names:
            raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")
        super(made[0], self).__delattr__(name)

    return {"__setattr__": set_field, "__delattr__": delete_field}


# Of all fields, also those that a subclass by another decorator adds: without slots it inherits these functions.
def _values(self: Any) -> list[Any]:
    return [getattr(self, one.name) for one in dataclasses.fields(self)]


def _restore(self: Any, values: list[Any]) -> None:
    for one, value in zip(dataclasses.fields(self), values, strict=True):
        object.__setattr__(self, one.name, value)


def _replace(self: Any, /, **changes: Any) -> Any:
    return dataclasses.replace(self, **changes)


_OF_ALL = {"__getstate__": _values, "__setstate__": _restore, "__replace__": _replace}
"""The functions that are the same for each class; ``__replace__`` is that of `copy.replace`, which Python 3.13 has."""


def _showing(names: list[str]) -> Callable[[Any], str]:
    @reprlib.recursive_repr()
    def show(self: Any) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    return show


def _comparing(names: list[str], hashed: list[str]) -> dict[str, Callable[..., Any]]:
    values = _getter(names)
    hashed_values = values if hashed == names else _getter(hashed)

    def is_equal(self: Any, other: object) -> Any:
        return values(self) == values(other) if type(other) is type(self) else NotImplemented

    def hash_value(self: Any) -> int:
        return hash(tuple(hashed_values(self)))

    return {"__eq__": is_equal, "__hash__": hash_value}


def _getter(names: list[str]) -> Callable[[Any], Any]:
    # Of one name, and of none, `attrgetter` makes no tuple.
    return attrgetter(*names) if len(names) > 1 else lambda one: [*map(one.__getattribute__, names)]
