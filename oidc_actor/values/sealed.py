"""Values that cannot be changed, pickled or dumped: the root of everything that holds a secret."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import FrozenInstanceError
from typing import Any, NoReturn, Self


class Sealed:
    """A value that is frozen, copies to itself and refuses pickling.

    A subclass lists its fields in ``__slots__``, sets them with `put`, and writes a ``__repr__`` that shows no secret.
    It is no dataclass on purpose: ``dataclasses.asdict`` would write out what it holds.
    """

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        del value  # it may be a secret, and this frame is about to raise
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        refuse_pickling(self)

    def __reduce__(self) -> NoReturn:
        refuse_pickling(self)

    def __getstate__(self) -> NoReturn:
        refuse_pickling(self)

    def __format__(self, format_spec: str) -> str:
        return format(repr(self), format_spec)


def put(value: object, /, **fields: object) -> None:
    """Set fields of a frozen object under construction.

    Args:
        value: The object, not yet seen by anyone else.
        **fields: What to set.
    """
    for name, content in fields.items():
        object.__setattr__(value, name, content)


def refuse_pickling(value: object) -> NoReturn:
    """Raise the error that every secret-holding value answers to pickle with.

    Args:
        value: The object that somebody tries to pickle.

    Raises:
        TypeError: Always.
    """
    name = type(value).__name__
    raise TypeError(
        f"cannot pickle {name!r}: it holds secrets; pass the secret's source instead and build it anew there"
    )


class FrozenMapping(Mapping[str, str]):
    """An immutable, hashable mapping of texts."""

    __slots__ = ("_items",)
    _items: dict[str, str]

    def __init__(self, items: Mapping[str, str]) -> None:
        object.__setattr__(self, "_items", dict(items))

    def __getitem__(self, key: str) -> str:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (dict(self._items),)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._items!r})"
