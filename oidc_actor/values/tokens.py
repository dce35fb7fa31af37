"""A token as the provider gave it: frozen, never printed, never dumped."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeAlias

from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import Sealed, fingerprint, holds_secrets, put
from supervision.frozen import dataclass

_FIELDS = ("access_token", "token_type", "expires_in", "refresh_token", "id_token", "scope", "issued_at", "extra")

DEEPEST = 32
"""Levels of lists and objects that a member may have; one with more is left out."""


class ExtraMembers(Sealed, Mapping[str, Any]):
    """The other members of a token response: frozen, never printed, not to be pickled; compares like any mapping.

    An object within it is another of these, and a list is a tuple.
    """

    __slots__ = ("_members",)
    _members: dict[str, Any]

    @holds_secrets
    def __init__(self, members: Mapping[str, Any], _depth: int = 0) -> None:
        frozen = {name: _frozen(value, _depth) for name, value in members.items()}
        put(self, _members={name: value for name, value in frozen.items() if value is not _TOO_DEEP})

    def plain(self) -> dict[str, Any]:
        """Return the members as JSON has them: dicts and lists, the caller's own. They may be secrets."""
        return {name: _plain(value) for name, value in self._members.items()}

    def __getitem__(self, name: str) -> Any:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __hash__(self) -> int:
        return hash(frozenset(self._members.items()))

    def __repr__(self) -> str:
        return f"ExtraMembers({len(self)})"


_TOO_DEEP = object()


def _frozen(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return ExtraMembers(value, depth + 1) if depth < DEEPEST else _TOO_DEEP
    if isinstance(value, list | tuple):
        items = tuple(_frozen(one, depth + 1) for one in value) if depth < DEEPEST else (_TOO_DEEP,)
        return _TOO_DEEP if _TOO_DEEP in items else items
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, ExtraMembers):
        return value.plain()
    return [_plain(one) for one in value] if isinstance(value, tuple) else value


NO_EXTRA = ExtraMembers({})


class TokenResponse(Sealed):
    """An access token and what came with it (RFC 6749 section 5.1).

    It compares by value; its ``repr`` shows a fingerprint; it refuses pickling, and is no dataclass, so that
    ``dataclasses.asdict`` cannot write it out.

    Attributes:
        access_token: The access token's text.
        token_type: ``"Bearer"`` or ``"DPoP"``.
        expires_in: Lifetime in seconds, counted from `issued_at`; ``None`` where it is not known.
        refresh_token: The refresh token's text, or ``None``.
        id_token: The ID token's text, not verified, or ``None``.
        scope: The scopes granted, separated by spaces; ``None`` where the provider did not say.
        issued_at: When the request that brought the token was started, in UTC.
        extra: The other members of the response, by name; empty where there were none. What is in it may be a secret, and is
            never printed.
    """

    __slots__ = _FIELDS
    access_token: str
    token_type: str
    expires_in: float | None
    refresh_token: str | None
    id_token: str | None
    scope: str | None
    issued_at: datetime
    extra: ExtraMembers

    @holds_secrets
    def __init__(
        self,
        access_token: str,
        token_type: str = "Bearer",  # noqa: S107 - a type's name
        expires_in: float | None = None,
        refresh_token: str | None = None,
        id_token: str | None = None,
        scope: str | None = None,
        issued_at: datetime | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Make a token; for tests and for tokens obtained elsewhere.

        Args:
            access_token: The access token's text.
            token_type: How it is presented.
            expires_in: Lifetime in seconds from `issued_at`; ``None`` where it is not known.
            refresh_token: The refresh token's text.
            id_token: The ID token's text.
            scope: The scopes granted.
            issued_at: An aware datetime; ``None`` for now.
            extra: Further members, as JSON has them; ``None`` for none.

        Raises:
            ConfigError: Where a text is none, the lifetime no finite number, the time naive, or the further members
                are no mapping from texts to what JSON can say.
        """
        _check(access_token, expires_in, issued_at)
        _check_texts(token_type, refresh_token=refresh_token, id_token=id_token, scope=scope)
        put(self, access_token=access_token, token_type=token_type, expires_in=expires_in, scope=scope)
        put(self, refresh_token=refresh_token, id_token=id_token)
        put(self, issued_at=datetime.now(UTC) if issued_at is None else issued_at.astimezone(UTC))
        put(self, extra=_read_extra(extra))

    @classmethod
    @holds_secrets
    def new(
        cls,
        access_token: str,
        *,
        expires_in: float | None = None,
        token_type: str = "Bearer",  # noqa: S107 - a type's name
        refresh_token: str | None = None,
        scope: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> TokenResponse:
        """Make a token that has just been obtained, as the function of `Custom` returns it.

        Args:
            access_token: The access token's text.
            expires_in: Lifetime in seconds; ``None`` where it is not known.
            token_type: How it is presented.
            refresh_token: What the next token can be had with; ``None`` for nothing new.
            scope: The scopes granted, separated by spaces.
            extra: Further members, as JSON has them; an ``expires_at`` among them tells the lifetime where ``expires_in`` does
                not.

        Returns:
            The token.

        Raises:
            ConfigError: Where a value is wrong, as for the class itself.
        """
        return cls(access_token, token_type, expires_in, refresh_token, None, scope, None, extra)

    @property
    def expires_at(self) -> datetime | None:
        """When the token ends, in UTC; ``None`` where its lifetime is not known."""
        if self.expires_in is None:
            return None
        try:
            return self.issued_at + timedelta(seconds=self.expires_in)
        except OverflowError:
            return datetime.max.replace(tzinfo=UTC) if self.expires_in > 0 else datetime.min.replace(tzinfo=UTC)

    def expired(self) -> bool:
        """Tell whether the token has ended, by the wall clock.

        A manager does not ask this: it keeps deadlines on a clock that no step of the wall clock moves.

        Returns:
            ``False`` where the lifetime is not known.
        """
        return self.expiring_soon(0)

    def expiring_soon(self, buffer_seconds: float = 60) -> bool:
        """Tell whether the token ends within a time, by the wall clock.

        Args:
            buffer_seconds: How far to look ahead, in seconds.

        Returns:
            ``False`` where the lifetime is not known.
        """
        end = self.expires_at
        return end is not None and (end - datetime.now(UTC)).total_seconds() <= buffer_seconds

    def with_refresh_token(self, refresh_token: str | None) -> TokenResponse:
        """Return the same token beside another refresh token: RFC 6749 section 6 lets a response leave it out.

        Args:
            refresh_token: The refresh token that stays in use, or ``None``.

        Returns:
            A new value.
        """
        given = dict(zip(_FIELDS, self._values(), strict=True))
        return TokenResponse(**{**given, "refresh_token": refresh_token})

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TokenResponse):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        if not hasattr(self, "issued_at"):
            return "TokenResponse(incomplete)"
        life = "unknown lifetime" if self.expires_in is None else f"expires_in={self.expires_in:g}"
        issued = self.issued_at.isoformat(timespec="seconds")
        return f"TokenResponse({self.token_type} {fingerprint(self.access_token)}, {life}, issued_at={issued})"

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in _FIELDS)


def _check(access_token: object, expires_in: object, issued_at: object) -> None:
    if not isinstance(access_token, str) or not access_token:
        raise ConfigError(f"expected a non-empty text, got {type(access_token).__name__}", ("access_token",))
    if expires_in is not None and not _is_finite_number(expires_in):
        raise ConfigError(f"expected a finite number of seconds or None, got {expires_in!r}", ("expires_in",))
    if issued_at is not None and (not isinstance(issued_at, datetime) or issued_at.utcoffset() is None):
        raise ConfigError(f"expected an aware datetime or None, got {issued_at!r}", ("issued_at",))


def _check_texts(token_type: object, **others: object) -> None:
    if not isinstance(token_type, str) or not token_type:
        raise ConfigError(f"expected a non-empty text, got {type(token_type).__name__}", ("token_type",))
    for name, text in others.items():
        if text is not None and not isinstance(text, str):
            raise ConfigError(f"expected a text or None, got {type(text).__name__}", (name,))


def _read_extra(extra: object) -> ExtraMembers:
    if extra is None:
        return NO_EXTRA
    if isinstance(extra, ExtraMembers):
        return extra
    if not isinstance(extra, Mapping) or not _is_json(extra, 0):
        problem = (
            f"expected a mapping from texts to what JSON can say, at most {DEEPEST} levels deep, got another value"
        )
        raise ConfigError(problem, ("extra",))
    return ExtraMembers(extra)


def _is_json(value: object, depth: int) -> bool:
    if depth > DEEPEST:
        return False
    if isinstance(value, Mapping):
        return all(isinstance(name, str) and _is_json(one, depth + 1) for name, one in value.items())
    if isinstance(value, list | tuple):
        return all(_is_json(one, depth + 1) for one in value)
    return value is None or isinstance(value, str | bool | int | float)


def _is_finite_number(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


TokenTypeHint: TypeAlias = Literal["access_token", "refresh_token"]
"""What a token that is to be revoked is (RFC 7009 section 2.1)."""


LifetimeSource: TypeAlias = Literal["expires_in", "expires_at", "exp", "default"]


@dataclass(frozen=True, slots=True)
class ParsedToken:
    """A token, and how its lifetime was decided.

    Attributes:
        token: The token.
        lifetime_s: Seconds it lives, counted from the start of the request; positive.
        lifetime_source: Where that is from; ``"default"`` deserves a warning.
    """

    token: TokenResponse
    lifetime_s: float
    lifetime_source: LifetimeSource
