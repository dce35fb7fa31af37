"""Who serves under which name: looked up here by whoever reads a manager of the sidecar, a program or another manager.

A manager that is replaced has a name of its own from its successor's, and serves until that has a token.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from oidc_actor.metrics import ready
from oidc_actor.secret_sources.manager_token import ManagerToken
from oidc_actor.sidecar.tallies import Tally
from oidc_actor.values.secrets import Finder, Secret


class Post:
    """What is behind one name. The fleet writes it, under its lock; readers load one attribute at a time, without."""

    __slots__ = ("coming", "generation", "name", "options", "serving", "tally", "token_file", "uses")

    def __init__(self, name: str, options: Mapping[str, Any], uses: frozenset[str]) -> None:
        self.name = name
        self.options = options
        self.uses = uses  # the names of the managers whose tokens it trades
        self.generation = 1
        self.serving = name  # the name of the manager that is read
        self.tally = Tally(name)
        self.coming: str | None = None  # that of its successor, until it has a token
        self.token_file: tuple[Path, int] | None = None  # and its mode


class Posts:
    """All names that can be read. Any thread; only the fleet adds and removes."""

    __slots__ = ("by_name",)

    def __init__(self) -> None:
        self.by_name: dict[str, Post] = {}

    @property
    def names(self) -> list[str]:
        """The names."""
        return list(self.by_name)

    def server_of(self, name: str) -> str | None:
        """The manager to read by a name; ``None`` where there is no such name."""
        post = self.by_name.get(name)
        if post is None:
            return None
        coming = post.coming
        if coming is not None and not ready(post.serving):
            return coming  # the one that serves has nothing to give: better wait for the other
        return post.serving

    def users_of(self, name: str) -> list[str]:
        """The managers that trade the token of the one with this name."""
        users = [post for post in list(self.by_name.values()) if name in post.uses]
        return [server for post in users for server in (post.serving, post.coming) if server is not None]


class PostToken(Finder):
    """The token of whoever serves under a name when it is asked: `ManagerToken` of a sidecar's configuration.

    Compares by what the configuration says, so that replacing one manager leaves those that trade its token as they are.
    """

    __slots__ = ("_kind", "_name", "_posts")

    def __init__(self, posts: Posts, name: str, kind: Literal["access_token", "id_token"] = "access_token") -> None:
        """Choose the manager; it need not exist yet.

        Args:
            posts: Where it is looked up.
            name: Its name in the configuration.
            kind: As of `ManagerToken`.

        Raises:
            ConfigError: Where there is no such kind.
        """
        ManagerToken(name, kind)
        self._posts = posts
        self._name = name
        self._kind = kind

    def look(self) -> Secret | str:
        """Return the token, or why there is none. It never waits."""
        server = self._posts.server_of(self._name)
        return ManagerToken(self._name if server is None else server, self._kind).look()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PostToken) and (self._name, self._kind) == (other._name, other._kind)

    def __hash__(self) -> int:
        return hash((PostToken, self._name, self._kind))

    def __repr__(self) -> str:
        return f"PostToken({self._name!r}, {self._kind!r})"
