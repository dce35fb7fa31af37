"""The value of an ``Authorization`` header as a text that its own ``repr`` does not show."""

from __future__ import annotations

from typing import NoReturn

from oidc_actor.secrets import fingerprint

_SCHEME = "Bearer "


class Authorization(str):
    """``Bearer <token>`` (RFC 6750 section 2.1): a text to every library, a fingerprint to whoever prints what holds it.

    Libraries keep headers in dictionaries, and dictionaries in errors (`aiohttp.ClientResponseError` has the request's);
    the ``repr`` of those shows the ``repr`` of this. It refuses pickling.
    """

    __slots__ = ()

    @classmethod
    def bearer(cls, token: str) -> Authorization:
        """Make the value for a token."""
        return cls(_SCHEME + token)

    @staticmethod
    def is_bearer(value: str) -> bool:
        """Tell whether a header's value is one of these, by its text."""
        return value.startswith(_SCHEME)

    @property
    def token(self) -> str:
        """The token's text; keep it out of local variables."""
        return self.removeprefix(_SCHEME)

    def __repr__(self) -> str:
        return f"<{_SCHEME}{fingerprint(self.token)}>"

    def __copy__(self) -> Authorization:
        return self

    def __deepcopy__(self, memo: object) -> Authorization:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("an Authorization holds a token and is not pickled; ask the manager where it is needed")
