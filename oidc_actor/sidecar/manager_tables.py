"""One table ``[managers.<name>]``: a manager's options, as `TokenManager` takes them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias

from oidc_actor.credentials.grants import (
    ClientCredentials,
    Credentials,
    JWTBearer,
    Password,
    RefreshToken,
    TokenExchange,
)
from oidc_actor.manager.options import Options, read_options
from oidc_actor.protocol.metadata import OIDCConfig
from oidc_actor.sidecar.permissions import PRIVATE, token_file_mode
from oidc_actor.sidecar.places import check_plain, path_at, refuse_inline, shown
from oidc_actor.sidecar.posts import Posts
from oidc_actor.sidecar.problems import Problems, meant
from oidc_actor.sidecar.proof_tables import ProofTables
from oidc_actor.sidecar.references import References

GRANTS: dict[str, type[Credentials]] = {
    "client_credentials": ClientCredentials,
    "password": Password,
    "refresh_token": RefreshToken,
    "jwt_bearer": JWTBearer,
    "token_exchange": TokenExchange,
}
"""The values of ``grant``; where the protocol's own name is a URN, that is one too."""

OPTIONS = (
    "issuer_url",
    "refresh_buffer_seconds",
    "timeout_seconds",
    "min_interval_seconds",
    "default_lifetime_seconds",
    "allow_insecure_http",
    "ca_bundle",
    "revoke_on_stop",
)
"""The options of a manager that have the same name in a table; the others are its credentials'."""

OWN = ("grant", "token_endpoint", "token_file", "token_file_mode")

_SECRETS = ("client_secret", "password", "refresh_token")
_TOKENS = ("assertion", "subject_token", "actor_token", "client_assertion")
_NO_DPOP = (
    "cannot be used here: a token bound to a key is worth nothing without the key, which whoever reads the token from the "
    "sidecar does not have; leave it out"
)
_Given: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ManagerConfig:
    """One manager, checked. Equal ones need no restart.

    Attributes:
        name: What readers call it.
        options: Its options, as of `TokenManager.child_spec`, without a name.
        token_file: The file that its token is kept in, or ``None`` for none.
        token_file_mode: That file's mode.
        uses: The managers whose tokens it trades.
    """

    name: str
    options: Mapping[str, Any] = field(repr=False)
    token_file: Path | None = None
    token_file_mode: int = PRIVATE
    uses: frozenset[str] = frozenset()


def read_manager(
    name: str, table: Mapping[str, Any], base: Path, posts: Posts, references: References, problems: Problems
) -> ManagerConfig | None:
    """Read one table.

    Args:
        name: The manager's name.
        table: The table.
        base: Where relative paths start.
        posts: Where the tokens of other managers are found, later.
        references: Takes the names of the managers that it uses.
        problems: Takes what is wrong.

    Returns:
        The manager, or ``None`` where something is wrong.
    """
    prefix = f"managers.{name}."
    before = len(problems)
    grant = _grant(table.get("grant", "client_credentials"), f"{prefix}grant", problems)
    _check_names(prefix, table, grant, problems)
    token_file = _token_file(table, base, f"{prefix}token_file", problems)
    mode = _token_file_mode(table, f"{prefix}token_file_mode", problems)
    given = _plain_options(prefix, table, problems)
    if "ca_bundle" in given and isinstance(given["ca_bundle"], str) and given["ca_bundle"]:
        given["ca_bundle"] = str(base / given["ca_bundle"])
    if "token_endpoint" in table:
        given["oidc_config"] = _config(table["token_endpoint"], f"{prefix}token_endpoint", problems)
    tables = ProofTables(name, base, posts, references, problems)
    given["auth"] = {"type": f"oidc_{grant}", **_auth(prefix, table, grant, tables, problems)}
    options = _options(given, prefix, problems)
    if options is None or len(problems) > before:
        return None
    return ManagerConfig(name, {**given, "auth": options.auth}, token_file, mode, references.used_by(name))


def _plain_options(prefix: str, table: Mapping[str, Any], problems: Problems) -> _Given:
    """The manager's own options; one that is needed gets a placeholder where it may not be looked at."""
    found: _Given = {}
    for key in OPTIONS:
        if key not in table:
            continue
        before = len(problems)
        check_plain(f"{prefix}{key}", table[key], problems)
        if len(problems) == before:
            found[key] = table[key]
        elif key == "issuer_url":
            found[key] = _NO_URL
    return found


def _grant(value: object, key: str, problems: Problems) -> str:
    """The grant's short name; of a wrong one the nearest, so that what else is wrong is found too."""
    for name, kind in GRANTS.items():
        if value in (name, kind.grant_type):
            return name
    near = difflib.get_close_matches(value, GRANTS, n=1) if isinstance(value, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    problems.add(key, f"expected one of {', '.join(GRANTS)}, got {shown(value)}{hint}")
    return near[0] if near else "client_credentials"


def _check_names(prefix: str, table: Mapping[str, Any], grant: str, problems: Problems) -> None:
    known = {*OPTIONS, *OWN, *_names(grant)}
    for key in table:
        if key == "dpop":
            problems.add(f"{prefix}{key}", _NO_DPOP)
        elif key not in known:
            others = [other for other in GRANTS if key in _names(other)]
            text = f'belongs to grant = "{others[0]}", got "{grant}"' if others else "no such key; "
            problems.add(f"{prefix}{key}", text if others else text + meant(key, known, "the keys here are"))


def _names(grant: str) -> set[str]:
    return {one.name for one in fields(GRANTS[grant])} - {"dpop"}


def _auth(prefix: str, table: Mapping[str, Any], grant: str, tables: ProofTables, problems: Problems) -> _Given:
    """The options of the credentials; a placeholder for each that is wrong and needed."""
    found: _Given = {}
    for key in table:
        if key not in _names(grant):
            continue
        before = len(problems)
        value = _value(f"{prefix}{key}", key, table[key], tables, problems)
        if len(problems) == before:
            found[key] = value
        elif key in _STAND_INS:
            found |= _STAND_INS[key]
    return found


def _value(path: str, key: str, value: object, tables: ProofTables, problems: Problems) -> object:
    if key in _SECRETS:
        return tables.secret(path, value)
    if key in _TOKENS:
        return tables.token(path, value)
    if key == "private_key":
        return tables.private_key(path, value)
    if key == "client_certificate":
        return tables.certificate(path, value)
    (refuse_inline if key == "extra" else check_plain)(path, value, problems)
    return value


_PLACEHOLDER = "placeholder"
"""Takes the place of what is wrong, so that what else is wrong is found too. It never reaches a manager."""

_NO_URL = "https://placeholder.invalid"
_NO_CONFIG = OIDCConfig(None, _NO_URL)
_TEXTS = ("client_id", "username", *_SECRETS, *_TOKENS)
_STAND_INS: dict[str, _Given] = {
    **{key: {key: _PLACEHOLDER} for key in _TEXTS},
    "private_key": {"client_assertion": _PLACEHOLDER},
    "client_certificate": {"client_certificate": {"cert_file": _PLACEHOLDER}},
}
_MISSING = "missing"
_ONE_OF = "expected exactly one of issuer_url and oidc_config"


def _options(given: _Given, prefix: str, problems: Problems) -> Options | None:
    """Have the library check everything, again and again until it has found all there is to find."""
    seen: set[str] = set()
    while True:
        found = read_options(given)
        if isinstance(found, Options):
            return found
        text = str(found)
        key, rest = _parted(text, given)
        if text in seen:  # a placeholder does not do
            if given["auth"].pop(key, None) is None:
                return None
            continue
        seen.add(text)
        problems.add(prefix.rstrip(".") if key is None else f"{prefix}{key}", rest)
        if key is not None:
            _mend(key, given, missing=rest == _MISSING)
        elif text.startswith(_ONE_OF):
            given["issuer_url"], given["oidc_config"] = _NO_URL, None
        else:
            _drop_one(rest, given["auth"])


def _parted(text: str, given: _Given) -> tuple[str | None, str]:
    """The key that an error of the library is about, and the rest of its text."""
    auth = given["auth"]
    text = text.removeprefix(f"auth of type {auth['type']!r}: ").removeprefix("auth: ")
    text = text.replace("allow_insecure_http=True", "allow_insecure_http = true")
    if text.endswith(" is missing"):
        return text.removesuffix(" is missing").split(", ")[0], _MISSING
    key, separator, rest = text.partition(": ")
    key = key.removeprefix("oidc_config.")
    if separator and (key in auth or key in given or key == "token_endpoint"):
        return key, rest
    return None, text.replace("oidc_config", "token_endpoint")


def _drop_one(text: str, auth: _Given) -> None:
    """Two ways to prove who the client is are one too many, and the library looks no further."""
    auth.pop("client_secret" if text.startswith("expected one of client_secret") else "client_assertion", None)


def _mend(key: str, given: _Given, *, missing: bool) -> None:
    auth = given["auth"]
    if missing or (key in _TEXTS and auth[key] != _PLACEHOLDER):
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


def _token_file(table: Mapping[str, Any], base: Path, key: str, problems: Problems) -> Path | None:
    if "token_file" not in table:
        return None
    found = path_at(table["token_file"], base)
    if isinstance(found, Path) and not os.path.isdir(found):
        problems.made.append((key, found))
        return found
    got = f"the directory {str(found)!r}; add the file's name" if isinstance(found, Path) else None
    problems.add(key, str(found) if got is None else f"expected the path of a file, got {got}")
    return None


def _token_file_mode(table: Mapping[str, Any], key: str, problems: Problems) -> int:
    if "token_file_mode" not in table:
        return PRIVATE
    if "token_file" not in table:
        problems.add(key, 'expected token_file = "<path>" beside it, got none')
    found = token_file_mode(table["token_file_mode"])
    if isinstance(found, int):
        return found
    problems.add(key, str(found))
    return PRIVATE
