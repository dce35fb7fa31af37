"""Single values of a configuration: problems with their keys, paths, secret references, modes and groups.

A secret is referred to as ``{ file = "<path>" }`` or ``{ env = "<variable>" }`` and never stands in the file itself:
configurations are committed, copied and shown, and have mode 0644. A file is read again when it changes; the environment once.
"""

from __future__ import annotations

import difflib
import grp
import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import Secret, SecretFile, secret_problem


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


SECRETS = frozenset(
    {"client_secret", "password", "refresh_token", "private_key", "client_assertion", "assertion"}
    | {"subject_token", "actor_token"}
)
"""Keys whose text may not stand in the file, wherever they are in it."""

KINDS = ("file", "env")
_FORMS = '{ file = "<path>" } or { env = "<variable>" }'
_INLINE = "a secret does not belong in this file"


def secret(key: str, value: object, base: Path, problems: Problems) -> Secret | SecretFile | None:
    """Read where a secret is.

    Args:
        key: The key's whole path.
        value: What it says.
        base: Where relative paths start.
        problems: Takes what is wrong; nothing it is told has the secret in it.

    Returns:
        The secret's source, or ``None`` where something is wrong.
    """
    if not isinstance(value, dict):
        problems.add(key, f"expected {_FORMS}, got {kind_of(value)}: {_INLINE}")
        return None
    before = len(problems)
    problems.unknown(f"{key}.", value, KINDS)
    if len(problems) > before:
        return None
    if len(value) != 1:
        problems.add(key, f"expected {_FORMS}, and one of them only")
        return None
    ((kind, place),) = value.items()
    return _file(f"{key}.file", place, base, problems) if kind == "file" else _env(f"{key}.env", place, problems)


def path_at(value: object, base: Path) -> Path | ConfigError:
    """Read a path.

    Args:
        value: What the configuration says.
        base: Where a relative one starts.
    """
    if not isinstance(value, str) or not value or "\0" in value:
        return ConfigError(f"expected a path, got {shown(value)}")
    return base / value


def kind_of(value: object) -> str:
    """What a value is that must not be shown."""
    return "a text" if isinstance(value, str) else type(value).__name__


def shown(value: object) -> str:
    """A wrong value for people; of a table or a list the kind only, because anything may be in it."""
    return type(value).__name__ if isinstance(value, dict | list) else repr(value)


def check_plain(key: str, value: object, problems: Problems) -> None:
    """Note a value that has to be a plain one and is a table, and every secret that stands in it.

    Args:
        key: The value's key, with its whole path.
        value: The value, which the library looks at next.
        problems: Takes the keys.
    """
    if isinstance(value, dict):
        problems.add(key, f"expected a plain value, got a table with {', '.join(value) or 'nothing'}")
    else:
        refuse_inline(key, value, problems)


def refuse_inline(key: str, value: object, problems: Problems) -> None:
    """Note every secret that stands in a value which is taken as it is.

    Args:
        key: The value's key, with its whole path.
        value: The value; a secret may be at any depth.
        problems: Takes the keys.
    """
    for place, text in _texts(key, value):
        if place != key and place.rpartition(".")[2] in SECRETS:
            problems.add(place, f"expected no secret here, got a text: {_INLINE}")
        elif "PRIVATE KEY-----" in text:
            problems.add(place, f"expected no private key here, got one: {_INLINE}; use key = {_FORMS}")


def _texts(key: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _texts(f"{key}.{name}", one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(key, one)


def _file(key: str, place: object, base: Path, problems: Problems) -> SecretFile | None:
    found = path_at(place, base)
    if isinstance(found, Path):
        problems.read.append((key, found))
        return SecretFile(found)
    problems.add(key, str(found))
    return None


def _env(key: str, name: object, problems: Problems) -> Secret | None:
    if not isinstance(name, str) or not name.isidentifier():  # it may be the secret itself
        problems.add(key, f"expected the name of an environment variable, got {kind_of(name)} that is none")
        return None
    text = os.environ.get(name)
    problem = "none" if text is None else secret_problem(text)
    if text is None or problem is not None:
        problems.add(key, f"expected the secret in the environment variable {name!r}, got {problem}; set it")
        return None
    return Secret(text)


PRIVATE = 0o600
"""For the owner alone: the mode of sockets and token files that nothing else is said of."""

_MAX_GID = 2**32 - 2  # the last number means "leave it" to chown(2)


def socket_mode(value: object) -> int | ConfigError:
    """Read the socket's mode. To connect takes the right to write; the owner has to have both rights.

    Args:
        value: What the configuration says.
    """
    mode = _mode(value, '"0660"')
    if isinstance(mode, int) and mode & PRIVATE != PRIVATE:
        return ConfigError(f'expected a mode in which the owner may read and write, such as "0660", got {shown(value)}')
    return mode


def token_file_mode(value: object) -> int | ConfigError:
    """Read a token file's mode. Nobody but the owner may write: who writes it chooses what is sent for the token.

    Args:
        value: What the configuration says.
    """
    mode = _mode(value, '"0640"')
    if isinstance(mode, int) and (mode & ~0o644 or not mode & 0o400):
        return ConfigError(
            'expected a mode in which the owner may read and nobody else may write or execute, such as "0640", '
            f"got {shown(value)}"
        )
    return mode


def group(value: object) -> int | ConfigError:
    """Read a group: its name, or its number where it has none on this machine.

    Args:
        value: What the configuration says.
    """
    number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value) else value
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _MAX_GID:
        return number
    if not isinstance(number, str) or not number or "\0" in number:
        return ConfigError(f"expected a group's name or number, got {shown(value)}")
    try:
        return grp.getgrnam(number).gr_gid
    except (KeyError, UnicodeError):
        return ConfigError(
            f"expected a group's name or number, got {shown(value)}: there is no such group here; create it"
        )


def _mode(value: object, example: str) -> int | ConfigError:
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value):
        return int(value, 8)
    return ConfigError(f"expected a mode as octal text such as {example}, got {shown(value)}")


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
