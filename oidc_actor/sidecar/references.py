"""Which manager of a configuration trades the token of which other: each must exist, and none may wait for itself. Pure."""

from __future__ import annotations

from collections.abc import Collection
from graphlib import CycleError, TopologicalSorter

from oidc_actor.sidecar.problems import Problems, meant


class References:
    """Collects references while a configuration is read."""

    def __init__(self) -> None:
        self._keys: dict[tuple[str, str], str] = {}  # who names whom, and the key where it does so first

    def add(self, user: str, used: str, key: str) -> None:
        """Note one.

        Args:
            user: The manager that trades a token.
            used: The manager whose token that is.
            key: The key that says so, with its whole path.
        """
        self._keys.setdefault((user, used), key)

    def used_by(self, user: str) -> frozenset[str]:
        """The managers whose tokens a manager trades."""
        return frozenset(used for one, used in self._keys if one == user)

    def check(self, names: Collection[str], problems: Problems) -> None:
        """Note every reference that leads nowhere, or round in a circle.

        Args:
            names: The managers that there are.
            problems: Takes what is wrong.
        """
        edges = set(self._keys)
        for user, used in sorted(edges):
            if used not in names:
                hint = meant(used, set(names) - {user}, "the others of this file are")
                problems.add(self._keys[user, used], f"no manager of this file has this name; {hint}")
                edges.discard((user, used))
        while (circle := _circle(edges)) is not None:
            problems.add(
                self._keys[circle[0], circle[1]],
                f"expected tokens that do not wait for each other, got {' -> '.join(circle)}; let one of them use another source",
            )
            edges.discard((circle[0], circle[1]))


def _circle(edges: Collection[tuple[str, str]]) -> list[str] | None:
    """A circle, from its first name in the alphabet back to it; each uses the next."""
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for user, used in sorted(edges):
        sorter.add(used, user)
    try:
        sorter.prepare()
    except CycleError as error:
        found: list[str] = error.args[1][:-1]
        first = found.index(min(found))
        return [*found[first:], *found[: first + 1]]
    return None
