"""Reads the values of a configuration one by one, and collects what is wrong with them, each with its key.

A secret is referred to as ``{ file = "<path>" }`` or ``{ env = "<variable>" }`` and never stands in the file itself:
configurations are committed, copied and shown, and have mode 0644. A file is read again when it changes; the environment once.
"""

from __future__ import annotations

import difflib
import grp
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from oidc_actor.values.clock import is_seconds
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import Secret, SecretFile, secret_problem
from oidc_actor.values.urls import is_loopback

SECRETS = frozenset(
    {"client_secret", "password", "refresh_token", "private_key", "client_assertion", "assertion"}
    | {"subject_token", "actor_token"}
)
"""Keys whose text may not stand in the file, at any depth."""

KINDS = ("file", "env")
"""How a secret is referred to."""

PRIVATE = 0o600
"""For the owner alone: the mode of sockets and token files whose mode the configuration does not say."""

_FORMS = '{ file = "<path>" } or { env = "<variable>" }'
_INLINE = "a secret does not belong in this file"
_MAX_GID = 2**32 - 2  # the last number means "leave it" to chown(2)

T = TypeVar("T")


class ConfigReader:
    """Reads values, and collects all that is wrong at once.

    A method that reads a value takes its key, with the whole path such as ``managers.billing.scopes``, and the value. Where this
    is wrong the method notes why, and returns ``None``, which TOML cannot say.

    Attributes:
        base: The directory where relative paths start.
        files_read: Files that the configuration names and the sidecar reads, by key. An absent one is no problem: it may be
            there in time.
        files_made: Files that the sidecar makes, by key, in directories that it does not make.
        uses: Pairs of a manager and another one whose token it trades, with the key that says so first.
    """

    def __init__(self, base: Path) -> None:
        self.base = base
        self.files_read: list[tuple[str, Path]] = []
        self.files_made: list[tuple[str, Path]] = []
        self.uses: dict[tuple[str, str], str] = {}
        self._problems: list[str] = []

    def __len__(self) -> int:
        """How many problems there are so far."""
        return len(self._problems)

    def add(self, key: str, text: str) -> None:
        """Note a problem.

        Args:
            key: The key.
            text: What was expected, what came, the fix. Shows no secret.
        """
        self._problems.append(f"{key}: {text}")

    def unknown(self, prefix: str, table: Mapping[str, Any], known: Iterable[str]) -> bool:
        """Note every key of a table that does not exist, with the key that may be meant; say whether there is any."""
        legal = set(known)
        found = [name for name in table if name not in legal]
        for name in found:
            self.add(f"{prefix}{name}", f"no such key; {meant(name, legal, 'the keys here are')}")
        return bool(found)

    def raise_any(self, source: str) -> None:
        """Raise for what was found.

        Args:
            source: What was read, for the error's first line.

        Raises:
            ConfigError: Something was; one line for each problem.
        """
        if self._problems:
            count = "1 problem" if len(self) == 1 else f"{len(self)} problems"
            raise ConfigError("\n".join([f"{source}: {count}", *(f"  {problem}" for problem in self._problems)]))

    # --- what the library checks --------------------------------------------------------------------------------------

    def build(
        self,
        key: str,
        table: Mapping[str, Any],
        given: dict[str, Any],
        needed: Mapping[str, Any],
        make: Callable[..., T],
    ) -> T | None:
        """Make a value of the library, and note everything that it refuses.

        The library stops at the first mistake. So an option that it refuses is replaced by a stand-in if it is needed, else left
        out, and the library is asked again until it refuses nothing.

        Args:
            key: The table's key.
            table: The table, for the keys of problems: an option that it does not name is noted under the table's own key.
            given: The options that have been read, by name; it is changed.
            needed: A stand-in for each option that may not be left out.
            make: Called with the options. It raises `ConfigError`.

        Returns:
            The value, or ``None`` where something was refused.
        """
        before = len(self)
        replaced: set[str] = set()
        while True:
            try:
                made = make(**given)
            except ConfigError as error:
                name, problem = error.option[-1] if error.option else "", error.problem
            else:
                return made if len(self) == before else None
            if name in needed and name not in given:
                self.add(f"{key}.{name}", "missing")
            elif name not in replaced:  # a stand-in that is refused is no mistake of the configuration
                self.add(f"{key}.{name}" if name in table else key, problem)
            if name in needed and name not in replaced:
                given[name] = needed[name]
                replaced.add(name)
            elif given.pop(name, None) is None:
                return None

    # --- plain values -------------------------------------------------------------------------------------------------

    def plain(self, key: str, value: object) -> Any:
        """Read a value that the library checks, and that is no table. No secret may stand in it."""
        if isinstance(value, dict):
            self.add(key, f"expected a plain value, got a table with {', '.join(value) or 'nothing'}")
            return None
        return self.anything(key, value)

    def anything(self, key: str, value: object) -> Any:
        """Read a value that the library checks, a table maybe. No secret may stand in it, at any depth."""
        before = len(self)
        for place, text in _texts(key, value):
            if place != key and place.rpartition(".")[2] in SECRETS:
                self.add(place, f"expected no secret here, got a text: {_INLINE}")
            elif "PRIVATE KEY-----" in text:
                self.add(place, f"expected no private key here, got one: {_INLINE}; use key = {_FORMS}")
        return value if len(self) == before else None

    def seconds(self, key: str, value: object) -> float | None:
        """Read a duration."""
        if is_seconds(value):
            return float(value)
        self.add(key, f"expected finite seconds of at least 0, got {shown(value)}")
        return None

    def flag(self, key: str, value: object) -> bool | None:
        """Read whether something is wished."""
        if isinstance(value, bool):
            return value
        self.add(key, f"expected true or false, got {shown(value)}")
        return None

    def path(self, key: str, value: object) -> Path | None:
        """Read a path."""
        if isinstance(value, str) and value and "\0" not in value:
            return self.base / value
        self.add(key, f"expected a path, got {shown(value)}")
        return None

    def file(self, key: str, value: object) -> Path | None:
        """Read the path of a file that the sidecar reads."""
        found = self.path(key, value)
        if found is not None:
            self.files_read.append((key, found))
        return found

    def address(self, key: str, value: object) -> tuple[str, int] | None:
        """Read a host and a port of this machine."""
        host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
        host = host.removeprefix("[").removesuffix("]")
        if re.fullmatch(r"[0-9]{1,5}", port) is None or int(port) > 65535 or not host:
            self.add(key, f'expected "127.0.0.1:<port>", got {shown(value)}')
            return None
        if not is_loopback(host):
            wanted = "expected a loopback address such as 127.0.0.1"
            self.add(key, f"{wanted}, got {host!r}: tokens are not served to other machines")
            return None
        return host, int(port)

    # --- secret references --------------------------------------------------------------------------------------------

    def secret(self, key: str, value: object) -> Secret | SecretFile | None:
        """Read where a secret is."""
        if not isinstance(value, dict):
            self.add(key, f"expected {_FORMS}, got {kind_of(value)}: {_INLINE}")
            return None
        if self.unknown(f"{key}.", value, KINDS):
            return None
        if len(value) != 1:
            self.add(key, f"expected {_FORMS}, and one of them only")
            return None
        if "env" in value:
            return self._variable(f"{key}.env", value["env"])
        path = self.file(f"{key}.file", value["file"])
        return None if path is None else SecretFile(path)

    def _variable(self, key: str, name: object) -> Secret | None:
        if not isinstance(name, str) or not name.isidentifier():  # it may be the secret itself
            self.add(key, f"expected the name of an environment variable, got {kind_of(name)} that is none")
            return None
        text = os.environ.get(name)
        problem = "none" if text is None else secret_problem(text)
        if text is None or problem is not None:
            self.add(key, f"expected the secret in the environment variable {name!r}, got {problem}; set it")
            return None
        return Secret(text)

    # --- permissions: modes, as octal text as in ``chmod``, and a group -----------------------------------------------

    def socket_mode(self, key: str, value: object) -> int | None:
        """Read the socket's mode. To connect takes the right to write; the owner has to have both rights."""
        mode = self._mode(key, value, '"0660"')
        if mode is not None and mode & PRIVATE != PRIVATE:
            wanted = 'expected a mode in which the owner may read and write, such as "0660"'
            self.add(key, f"{wanted}, got {shown(value)}")
            return None
        return mode

    def token_file_mode(self, key: str, value: object) -> int | None:
        """Read a token file's mode. Only the owner may write: a program that can write the file chooses what others send."""
        mode = self._mode(key, value, '"0640"')
        if mode is not None and (mode & ~0o644 or not mode & 0o400):
            wanted = 'expected a mode in which the owner may read and nobody else may write or execute, such as "0640"'
            self.add(key, f"{wanted}, got {shown(value)}")
            return None
        return mode

    def group(self, key: str, value: object) -> int | None:
        """Read a group: its name, or its number where it has none on this machine."""
        number = int(value) if isinstance(value, str) and re.fullmatch(r"[0-9]{1,10}", value) else value
        if isinstance(number, int) and not isinstance(number, bool) and 0 <= number <= _MAX_GID:
            return number
        problem = f"expected a group's name or number, got {shown(value)}"
        if not isinstance(number, str) or not number or "\0" in number:
            self.add(key, problem)
            return None
        try:
            return grp.getgrnam(number).gr_gid
        except (KeyError, UnicodeError):
            self.add(key, f"{problem}: there is no such group here; create it")
            return None

    def _mode(self, key: str, value: object, example: str) -> int | None:
        if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value):
            return int(value, 8)
        self.add(key, f"expected a mode as octal text such as {example}, got {shown(value)}")
        return None


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


def kind_of(value: object) -> str:
    """What a value is that must not be shown."""
    return "a text" if isinstance(value, str) else type(value).__name__


def shown(value: object) -> str:
    """A wrong value for people; of a table or a list the kind only, because anything may be in it."""
    return type(value).__name__ if isinstance(value, dict | list) else repr(value)


def _texts(key: str, value: object) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _texts(f"{key}.{name}", one)
    elif isinstance(value, list):
        for one in value:
            yield from _texts(key, one)
