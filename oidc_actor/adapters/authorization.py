"""The header fields that carry a token or prove a key: values whose ``repr`` does not show them, and which a token gets.

Here, and in no other module, is it decided whether a manager's token goes out plainly or with a DPoP proof (RFC 9449 section 7),
because it is bound to a key.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from secrets import token_urlsafe
from typing import Any, NoReturn, Self

from oidc_actor.credentials.dpop import DPoPKey
from oidc_actor.reading.directory import locate
from oidc_actor.reading.token_source import ServerOrSource, server_of
from oidc_actor.reading.waiting_reads import ServerRef
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import fingerprint
from oidc_actor.values.tokens import TokenResponse

_BEARER, _DPOP = "Bearer ", "DPoP "
_NO_BEARER = frozenset({"DPoP", "N_A"})
"""The types of tokens that are not simply sent. Providers name others in many ways, and mean bearer tokens."""


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


# --- which of them a manager's token gets ---------------------------------------------------------------------------


def present(
    server: ServerOrSource, token: TokenResponse, method: str, url: object, *, nonce: str | None = None
) -> dict[str, str]:
    """Make the fields that one request carries. It may sign (a fraction of a millisecond), and never waits.

    With a proof they are of no use for a second request: a proof names its method and address, and is taken once.

    Args:
        server: The manager's ref or name, or a source of its tokens.
        token: Its token.
        method: The request's method.
        url: Its address: a text, or what ``str`` makes one of.
        nonce: What the proof has to carry; ``None`` for the newest nonce of the address's origin.

    Returns:
        ``Authorization``, and ``DPoP`` where the token is bound; no ``repr`` shows the values.

    Raises:
        ManagerNotRunning: The manager is not there.
        ConfigError: It is no access token.
        SecretUnavailable: Its DPoP key cannot be read now.
    """
    key = key_of(server, token) if token.token_type in _NO_BEARER else None
    if key is None:
        return {"Authorization": Authorization(_BEARER + token.access_token)}
    proof = key.proof(
        method, str(url), now_wall=time.time(), jti=token_urlsafe(16), access_token=token.access_token, nonce=nonce
    )
    return {"Authorization": Authorization.dpop(token.access_token), "DPoP": Proof(proof.reveal())}


def authorization_of(server: ServerOrSource, token: TokenResponse) -> Authorization:
    """Make the one field of those that stays the same from request to request; arguments and errors as for `present`."""
    kind = Authorization.bearer if key_of(server, token) is None else Authorization.dpop
    return kind(token.access_token)


def key_of(server: ServerOrSource, token: TokenResponse) -> DPoPKey | None:
    """Find the key that a token is bound to.

    Args:
        server: The manager's ref or name, or a source of its tokens.
        token: Its token.

    Returns:
        The key; ``None`` for a bearer token, which some providers give although a bound one was asked for.

    Raises:
        ManagerNotRunning: The manager is not there.
        ConfigError: It is no access token (RFC 8693 section 2.2.1), and no server's business but the provider's.
    """
    if token.token_type == "N_A":  # noqa: S105 - a type's name
        raise ConfigError(
            f"expected an access token of the manager {server_of(server)!s}, got a token that its provider says is none (N_A), "
            "and which may be a refresh token: leave out requested_token_type=, or hand it to another manager by ManagerToken"
        )
    return _own_key(server_of(server), token) if token.token_type in _NO_BEARER else None


def note_nonce(server: ServerRef, url: str, nonce: str | None) -> bool:
    """Keep the nonce that an answer to a DPoP token brought (RFC 9449 section 8.2), for the proofs to come.

    Where a 401 says ``use_dpop_nonce``, call this and send the request again, once, with new `headers`.

    Args:
        server: The manager's ref or name.
        url: What was asked.
        nonce: The value of the answer's ``DPoP-Nonce``; ``None`` where there is none.

    Returns:
        Whether there was one that a proof can carry, and a key to make it with.

    Raises:
        ManagerNotRunning: The manager is not there.
    """
    if nonce is None:
        return False
    key = _own_key(server)
    return key is not None and key.note_nonce(url, nonce)


def _own_key(server: ServerRef, token: TokenResponse | None = None) -> DPoPKey | None:
    cell = locate(server)
    former, identity = (
        cell.former
    )  # a token that was read just before other credentials came is bound to the key before
    if token is None or former is not token:
        identity = cell.identity
    auth: Any = identity
    key = auth[0].dpop
    return key if isinstance(key, DPoPKey) else None
