"""`Overlap`: two secrets of which either may be the one that the provider takes, while one replaces the other."""

from __future__ import annotations

from typing import ClassVar

from oidc_actor.values.errors import SecretUnavailable
from oidc_actor.values.secrets import (
    GivenSecret,
    Sealed,
    Secret,
    SecretFile,
    SecretSource,
    StoredSecret,
    holds_secrets,
    put,
    resolve_secret,
    store_secret,
)


class Overlap(Sealed, SecretSource):
    """A client's secret in its overlap window: where the provider refuses the one, the other is tried in the same attempt.

    The one that worked is asked first the next time, by all who have this object. A slow probe tries one, in turn. One that
    cannot be read is passed over. Compares by its two sources.
    """

    __slots__ = ("_next", "_sources")
    fits: ClassVar[tuple[str, ...] | None] = ("client_secret",)
    _sources: tuple[StoredSecret, StoredSecret]
    _next: int

    @holds_secrets
    def __init__(self, first: GivenSecret, second: GivenSecret) -> None:
        """Check and keep the sources. Reads and calls nothing.

        Args:
            first: The secret that is tried first: a text, a callable, or `SecretFile`.
            second: The other one.

        Raises:
            ConfigError: Where one is none of these.
        """
        sources = store_secret(first, "first"), store_secret(second, "second")
        put(self, _sources=sources, _next=0)

    @holds_secrets
    def read(self, which: int | None = None) -> tuple[int, Secret]:
        """Read one of the two.

        Args:
            which: 0 or 1; ``None`` for the one that is asked first, or where that cannot be read the other.

        Returns:
            Which it is, and the secret.

        Raises:
            SecretUnavailable: It cannot be read, or neither can.
        """
        if which is not None:
            return which, resolve_secret(self._sources[which], "client_secret")
        first = self._next  # another thread may change it meanwhile
        try:
            return first, resolve_secret(self._sources[first], "client_secret")
        except SecretUnavailable as error:
            try:
                return 1 - first, resolve_secret(self._sources[1 - first], "client_secret")
            except SecretUnavailable:
                raise error from None

    def ask_first(self, which: int) -> None:
        """Have one asked first from now on. Any thread; what was said last holds.

        Args:
            which: 0 or 1.
        """
        put(self, _next=which)

    def fetch(self) -> Secret | str:
        """Read the one that is asked first, or where that cannot be read the other; raises nothing."""
        try:
            return self.read()[1]
        except SecretUnavailable as error:
            return str(error).removeprefix("client_secret cannot be read: ")

    @property
    def texts(self) -> tuple[Secret, ...]:
        """Those that are given as texts."""
        return tuple(source for source in self._sources if isinstance(source, Secret))

    @property
    def files(self) -> tuple[SecretFile, ...]:
        """The files of both."""
        return tuple(file for source in self._sources if isinstance(source, SecretSource) for file in source.files)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Overlap):
            return NotImplemented
        return self._sources == other._sources

    def __hash__(self) -> int:
        return hash((Overlap, self._sources))

    def __repr__(self) -> str:
        return "Overlap(***, ***)"
