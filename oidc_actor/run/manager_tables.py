"""One table ``[managers.<name>]``: a manager's options, as `TokenManager` takes them.

A secret is ``{ file = "<path>" }`` or ``{ env = "<variable>" }`` and never stands in the file itself: configurations are
committed, copied and shown, and have mode 0644. A file is read again when it changes; the environment once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from oidc_actor.credentials import ClientCredentials, Credentials, Password, RefreshToken
from oidc_actor.errors import ConfigError
from oidc_actor.options import Options, read_options
from oidc_actor.provider import OIDCConfig
from oidc_actor.run.problems import Problems
from oidc_actor.secrets import Secret, SecretFile, secret_problem

GRANTS: dict[str, type[Credentials]] = {cls.grant_type: cls for cls in (ClientCredentials, Password, RefreshToken)}
"""The values of ``grant``."""

OPTIONS = (
    "issuer_url",
    "refresh_buffer_seconds",
    "timeout_seconds",
    "min_interval_seconds",
    "default_lifetime_seconds",
    "allow_insecure_http",
    "ca_bundle",
)
"""The options of a manager that have the same name in a table; the others are its credentials'."""

OWN = ("grant", "token_endpoint", "token_file")

SECRETS = frozenset(
    {"client_secret", "password", "refresh_token", "private_key", "client_assertion", "key", "assertion"}
    | {"subject_token", "actor_token"}
)
"""Keys whose text may not stand in the file."""

_INLINE = 'expected {{ file = "<path>" }} or {{ env = "<variable>" }}, got {}: a secret does not belong in this file'
_Given: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ManagerConfig:
    """One manager, checked. Equal ones need no restart.

    Attributes:
        name: What readers call it.
        options: Its options, as of `TokenManager.child_spec`, without a name.
        token_file: The file that its token is kept in, or ``None`` for none.
    """

    name: str
    options: Mapping[str, Any] = field(repr=False)
    token_file: Path | None = None


def read_manager(name: str, table: Mapping[str, Any], base: Path, problems: Problems) -> ManagerConfig | None:
    """Read one table.

    Args:
        name: The manager's name.
        table: The table.
        base: Where relative paths start.
        problems: Takes what is wrong.

    Returns:
        The manager, or ``None`` where something is wrong.
    """
    prefix = f"managers.{name}."
    before = len(problems)
    grant = table.get("grant", "client_credentials")
    if not isinstance(grant, str) or grant not in GRANTS:
        problems.add(f"{prefix}grant", f"expected one of {', '.join(GRANTS)}, got {grant!r}")
        grant = "client_credentials"
    of_credentials = {one.name for one in fields(GRANTS[grant])}
    problems.unknown(prefix, table, {*OPTIONS, *OWN, *of_credentials})
    token_file = _path(table.get("token_file"), base, f"{prefix}token_file", problems)
    given = {key: value for key, value in table.items() if key in OPTIONS}
    if "ca_bundle" in given and isinstance(given["ca_bundle"], str) and given["ca_bundle"]:
        given["ca_bundle"] = str(base / given["ca_bundle"])
    if "token_endpoint" in table:
        given["oidc_config"] = _config(table["token_endpoint"], f"{prefix}token_endpoint", problems)
    auth: _Given = {}
    for key in of_credentials & set(table):
        found = _resolved(key, table[key], base)
        if not isinstance(found, ConfigError):
            auth[key] = found
            continue
        problems.add(f"{prefix}{key}", str(found))
        if key in _TEXTS:
            auth[key] = _PLACEHOLDER
    given["auth"] = {"type": f"oidc_{grant}", **auth}
    options = _options(given, prefix, problems)
    if options is None or len(problems) > before:
        return None
    return ManagerConfig(name, {**given, "auth": options.auth}, token_file)


_PLACEHOLDER = "placeholder"
"""Takes the place of what is wrong, so that what else is wrong is found too. It never reaches a manager."""

_NO_URL = "https://placeholder.invalid"
_NO_CONFIG = OIDCConfig(None, _NO_URL)
_TEXTS = ("client_id", "client_secret", "username", "password", "refresh_token")
_MISSING = "missing"
_ONE_OF = "expected exactly one of issuer_url and oidc_config"


def _options(given: _Given, prefix: str, problems: Problems) -> Options | None:
    """Have the library check everything, again and again until it has found all there is to find."""
    for _ in range(50):
        found = read_options(given)
        if isinstance(found, Options):
            return found
        key, text = _parted(str(found), given)
        problems.add(prefix.rstrip(".") if key is None else f"{prefix}{key}", text)
        if key is not None:
            _mend(key, given, missing=text == _MISSING)
        elif str(found).startswith(_ONE_OF):
            given["issuer_url"], given["oidc_config"] = _NO_URL, None
        else:
            return None
    return None


def _parted(text: str, given: _Given) -> tuple[str | None, str]:
    """The key that an error of the library is about, and the rest of its text."""
    auth = given["auth"]
    text = text.removeprefix(f"auth of type {auth['type']!r}: ").removeprefix("auth: ")
    if text.endswith(" is missing"):
        return text.removesuffix(" is missing").split(", ")[0], _MISSING
    key, separator, rest = text.partition(": ")
    key = key.removeprefix("oidc_config.")
    if separator and (key in auth or key in given or key == "token_endpoint"):
        return key, rest
    return None, text.replace("oidc_config", "token_endpoint")


def _mend(key: str, given: _Given, *, missing: bool) -> None:
    auth = given["auth"]
    if missing or key in _TEXTS:
        auth[key] = _PLACEHOLDER
    elif key in auth:
        del auth[key]
    elif key == "issuer_url":
        given[key] = _NO_URL
    elif key == "token_endpoint":
        given["oidc_config"] = _NO_CONFIG
    else:
        del given[key]


def _config(value: object, key: str, problems: Problems) -> OIDCConfig:
    if isinstance(value, str):
        return OIDCConfig(token_endpoint=value)
    problems.add(key, f"expected an https URL, got {type(value).__name__}")
    return _NO_CONFIG


def _path(value: object, base: Path, key: str, problems: Problems) -> Path | None:
    if value is None or (isinstance(value, str) and value and "\0" not in value):
        return None if value is None else base / str(value)
    problems.add(key, f"expected a path, got {value!r}")
    return None


def _resolved(key: str, value: object, base: Path) -> object:
    """A value with its places of secrets turned into secrets; an error, without the text, for one that stands there."""
    if isinstance(value, dict) and key != "extra":
        if "file" in value or "env" in value:
            return _source(value, base)
        inner = {name: _resolved(name, one, base) for name, one in value.items()}
        wrong = [(name, one) for name, one in inner.items() if isinstance(one, ConfigError)]
        return ConfigError("; ".join(f"{name}: {one}" for name, one in wrong)) if wrong else inner
    if key.endswith("_file") and isinstance(value, str) and value:
        return str(base / value)
    if key in SECRETS:
        return ConfigError(_INLINE.format("a text" if isinstance(value, str) else type(value).__name__))
    return value


def _source(table: Mapping[str, object], base: Path) -> Secret | SecretFile | ConfigError:
    (kind, place), *more = table.items()
    if more or not isinstance(place, str) or not place or "\0" in place:
        return ConfigError('expected { file = "<path>" } or { env = "<variable>" }, and one of them only')
    if kind == "file":
        return SecretFile(base / place)
    found = os.environ.get(place, "")
    problem = secret_problem(found)
    if problem is not None:
        return ConfigError(f"expected the secret in the environment variable {place!r}, got {problem}; set it")
    return Secret(found)
