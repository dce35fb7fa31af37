"""The values of the header fields that carry a token or prove a key, as texts that their own ``repr`` does not show."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, Self

from oidc_actor.values.secrets import fingerprint

_BEARER, _DPOP = "Bearer ", "DPoP "


class Unprintable(str):
    """A text to every library, a fingerprint to all that print what holds it. It refuses pickling.

    Libraries keep headers in dictionaries, and dictionaries in errors (`aiohttp.ClientResponseError` has the request's);
    the ``repr`` of those shows the ``repr`` of this. What cuts a text before it shows it (rich, structlog, ``reprlib``,
    ``pydoc``) gets a `Part`, and so does a program that takes one apart; what puts it into another text (``str``, ``format``,
    ``join``, ``encode``) gets the text itself, because that is how it is sent.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {fingerprint(self)}>"

    def __iter__(self) -> Iterator[str]:
        return map(Part, super().__iter__())

    def __radd__(self, other: object) -> str:
        return Part(str.__add__(other, self)) if isinstance(other, str) else NotImplemented

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"expected no pickling: {type(self).__name__} is not pickled, it holds a token or proves a key; "
            "ask the manager where it is needed"
        )


class Part(Unprintable):
    """What was made of such a text: a cut, a copy in other letters. A short one could be guessed from its fingerprint."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<part of a secret text>"


def _hiding(name: str) -> Callable[..., Any]:
    method = getattr(str, name)

    @functools.wraps(method)
    def hidden(self: str, *args: Any, **kwargs: Any) -> Any:
        return _as_parts(method(self, *args, **kwargs))

    return hidden


def _as_parts(found: Any) -> Any:
    if isinstance(found, (list, tuple)):
        return type(found)(map(_as_parts, found))
    return Part(found) if isinstance(found, str) else found


_MAKE_TEXTS = (
    "__add__", "__getitem__", "__mod__", "__mul__", "__rmul__", "capitalize", "casefold", "center", "expandtabs", "ljust",
    "lower", "lstrip", "partition", "removeprefix", "removesuffix", "replace", "rjust", "rpartition", "rsplit", "rstrip", "split",
    "splitlines", "strip", "swapcase", "title", "translate", "upper", "zfill",
)  # fmt: skip
"""The methods of a text that make texts of it, but for those by which it is sent."""
for _name in _MAKE_TEXTS:
    setattr(Unprintable, _name, _hiding(_name))


class Authorization(Unprintable):
    """``Bearer <token>`` (RFC 6750 section 2.1) or ``DPoP <token>`` (RFC 9449 section 7.1)."""

    __slots__ = ()

    @classmethod
    def bearer(cls, token: str) -> Authorization:
        """Make the value for a bearer token."""
        return cls(_BEARER + token)

    @classmethod
    def dpop(cls, token: str) -> Authorization:
        """Make the value for a token that is bound to a key."""
        return cls(_DPOP + token)

    @classmethod
    def read(cls, fields: Mapping[str, str]) -> Authorization | None:
        """Find the value among a request's header fields, which may be kept as plain texts."""
        value = fields.get("Authorization")
        return value if value is None or isinstance(value, cls) else cls(value)

    @staticmethod
    def is_ours(value: str) -> bool:
        """Tell whether a header's value is one of these, by its text."""
        return value.startswith((_BEARER, _DPOP))

    @staticmethod
    def needs_proof(value: str) -> bool:
        """Tell whether the token in a header's value is bound to a key."""
        return value.startswith(_DPOP)

    @property
    def token(self) -> str:
        """The token's text."""
        return self.partition(" ")[2]

    def __repr__(self) -> str:
        return f"<{_DPOP if self.startswith(_DPOP) else _BEARER}{fingerprint(self.token)}>"


class Proof(Unprintable):
    """The value of ``DPoP``: what proves for one request that its sender holds the key (RFC 9449 section 4)."""

    __slots__ = ()
