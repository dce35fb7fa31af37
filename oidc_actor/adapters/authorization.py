"""The values of the header fields that carry a token or prove a key, as texts that their own ``repr`` does not show."""

from __future__ import annotations

from typing import NoReturn, Self

from oidc_actor.secrets import fingerprint

_BEARER, _DPOP = "Bearer ", "DPoP "


class Unprintable(str):
    """A text to every library, a fingerprint to whoever prints what holds it. It refuses pickling.

    Libraries keep headers in dictionaries, and dictionaries in errors (`aiohttp.ClientResponseError` has the request's);
    the ``repr`` of those shows the ``repr`` of this.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {fingerprint(self)}>"

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"expected no pickling: {type(self).__name__} is not pickled, it holds a token or proves a key; "
            "ask the manager where it is needed"
        )


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
        """The token's text; keep it out of local variables."""
        return self.partition(" ")[2]

    def __repr__(self) -> str:
        return f"<{self.partition(' ')[0]} {fingerprint(self.token)}>"


class Proof(Unprintable):
    """The value of ``DPoP``: what proves for one request that its sender holds the key (RFC 9449 section 4)."""

    __slots__ = ()
