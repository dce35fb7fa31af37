"""Where a configuration says that a secret is: ``{ file = "<path>" }`` or ``{ env = "<variable>" }``, never in the file itself.

Configurations are committed, copied and shown, and have mode 0644. A file is read again when it changes; the environment once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from oidc_actor.sidecar.problems import Problems
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import Secret, SecretFile, secret_problem

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
