"""What is wrong with a configuration: all of it at once, each with its key. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from oidc_actor.values.errors import ConfigError


class Problems:
    """Collects problems while a configuration is read."""

    def __init__(self) -> None:
        self._found: list[str] = []
        # What is named, by key, whatever is wrong beside it: it may be there later, so that its absence is no problem.
        self.read: list[tuple[str, Path]] = []  # files that somebody else makes
        self.made: list[tuple[str, Path]] = []  # files that the sidecar makes, in directories that somebody else makes

    def __len__(self) -> int:
        return len(self._found)

    def add(self, key: str, text: str) -> None:
        """Note a problem.

        Args:
            key: The key's whole path, such as ``managers.billing.scopes``.
            text: What was expected, what came, the fix. Shows no secret.
        """
        self._found.append(f"{key}: {text}")

    def unknown(self, prefix: str, table: Mapping[str, Any], known: Iterable[str]) -> None:
        """Note every key of a table that does not exist, with the one that may have been meant."""
        legal = set(known)
        for name in table:
            if name not in legal:
                self.add(f"{prefix}{name}", f"no such key; {meant(name, legal, 'the keys here are')}")

    def raise_any(self, source: str) -> None:
        """Raise for what was found.

        Args:
            source: What was read, for the error's first line.

        Raises:
            ConfigError: Something was; one line for each problem.
        """
        if self._found:
            count = "1 problem" if len(self._found) == 1 else f"{len(self._found)} problems"
            raise ConfigError("\n".join([f"{source}: {count}", *(f"  {problem}" for problem in self._found)]))


def meant(name: str, legal: Iterable[str], otherwise: str) -> str:
    """Say which of the legal names may have been meant, or what they are.

    Args:
        name: The name that is none of them.
        legal: The names.
        otherwise: Stands before the list of all of them, where none is near.
    """
    names = sorted(legal)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"did you mean {near[0]!r}?" if near else f"{otherwise} {', '.join(names) or 'none'}"
