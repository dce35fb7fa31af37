"""One table ``[managers.<name>]``: a manager's options, as `TokenManager` takes them, and the tables within it.

Those are a private key, a certificate, and tokens that come from elsewhere or are signed here; their keys are the arguments of
`PrivateKey`, `ClientCertificate`, `ManagerToken`, `GitHubActionsToken` and `SignedAssertion`.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from oidc_actor.credentials.grants import (
    ClientCredentials,
    Credentials,
    JWTBearer,
    Password,
    RefreshToken,
    TokenExchange,
)
from oidc_actor.credentials.keys import ClientCertificate, PrivateKey
from oidc_actor.manager.options import Options, read_options
from oidc_actor.protocol.metadata import OIDCConfig
from oidc_actor.secret_sources.github_actions import GitHubActionsToken
from oidc_actor.secret_sources.signed_assertion import SignedAssertion
from oidc_actor.sidecar.config_values import (
    KINDS,
    PRIVATE,
    Problems,
    References,
    check_plain,
    kind_of,
    meant,
    path_at,
    refuse_inline,
    secret,
    shown,
    token_file_mode,
)
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import SecretFile, SecretSource, StoredSecret

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
TokenOf: TypeAlias = Callable[..., SecretSource]
"""Makes the source of another manager's token: called with its name, and with ``kind`` where the configuration says one."""

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
    name: str, table: Mapping[str, Any], base: Path, token_of: TokenOf, references: References, problems: Problems
) -> ManagerConfig | None:
    """Read one table.

    Args:
        name: The manager's name.
        table: The table.
        base: Where relative paths start.
        token_of: Makes the source of another manager's token.
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
    tables = ProofTables(name, base, token_of, references, problems)
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


KEY = ("algorithm", "certificate_file", "key", "kid", "password")
SIGNED = ("audience", "claims", "issuer", "lifetime_seconds", "subject")
CERTIFICATE = ("cert_file", "key_file", "password")
SOURCES = {
    "file": (),
    "env": (),
    "manager": ("kind",),
    "github_actions": ("timeout_seconds",),
    "key": tuple(name for name in (*KEY, *SIGNED) if name != "key"),
}
"""What says where a token comes from, and what may stand beside it."""

_FORMS = (
    '{ file = "<path>" }, { env = "<variable>" }, { manager = "<another of this file>" }, { github_actions = "<audience>" } '
    'or { key = { file = "<path>" }, issuer = "<me>", audience = "<provider>" }'
)
_NOWHERE = SecretFile("nowhere")  # in the place of what is not looked at
_LABEL = re.compile(r"^\w+: ")
Built = TypeVar("Built")


class ProofTables:
    """Reads the tables of one manager."""

    def __init__(self, manager: str, base: Path, token_of: TokenOf, references: References, problems: Problems) -> None:
        """Prepare.

        Args:
            manager: The manager's name.
            base: Where relative paths start.
            token_of: Makes the source of another manager's token.
            references: Takes their names.
            problems: Takes what is wrong.
        """
        self._manager = manager
        self._base = base
        self._token_of = token_of
        self._references = references
        self._problems = problems

    def secret(self, key: str, value: object) -> StoredSecret | None:
        """Read where a secret is. All of these take a key's whole path and its value, and give ``None`` where it is wrong."""
        return secret(key, value, self._base, self._problems)

    def private_key(self, key: str, value: object) -> PrivateKey | None:
        """Read a private key: its place alone, or a table with ``key`` and what else there is to say."""
        if self._made(key, lambda: PrivateKey(_NOWHERE)) is None:  # joserfc is missing
            return None
        if not isinstance(value, dict) or not set(KEY) & set(value):
            place = self.secret(key, value)
            return None if place is None else self._made(key, lambda: PrivateKey(place))
        misplaced = [name for name in KINDS if name in value]
        for name in misplaced:
            self._problems.add(f"{key}.{name}", f'belongs within key, beside the rest: key = {{ {name} = "..." }}')
        rest = {name: one for name, one in value.items() if name not in misplaced}
        if not self._named(key, rest, KEY, () if misplaced else ("key",)) or misplaced:
            return None
        read = {"key": self.secret, "password": self.secret, "certificate_file": self._path}
        given = self._read(key, rest, read)
        if given is None:
            return None
        beside = {name: one for name, one in given.items() if name != "key"}
        if not self._each(key, beside, lambda **one: PrivateKey(_NOWHERE, **one)):
            return None
        return self._made(key, lambda: PrivateKey(**given))

    def certificate(self, key: str, value: object) -> ClientCertificate | None:
        """Read a certificate for mutual TLS."""
        if not isinstance(value, dict):
            self._problems.add(key, f'expected {{ cert_file = "<path>", key_file = "<path>" }}, got {kind_of(value)}')
            return None
        if not self._named(key, value, CERTIFICATE, ("cert_file",)):
            return None
        read = {"cert_file": self._path, "key_file": self._path, "password": self.secret}
        given = self._read(key, value, read)
        return None if given is None else self._made(key, lambda: ClientCertificate(**given))

    def token(self, key: str, value: object) -> StoredSecret | None:
        """Read where a token comes from that somebody else, or a key of one's own, has signed."""
        if not isinstance(value, dict):
            self._problems.add(key, f"expected {_FORMS}, got {kind_of(value)}: a secret does not belong in this file")
            return None
        source = self._source(key, value)
        if source is None:
            return None
        if source in KINDS:
            return self.secret(key, value)
        if not self._named(key, value, (source, *SOURCES[source]), ()):
            return None
        readers: dict[str, Callable[[str, dict[str, Any]], StoredSecret | None]] = {
            "manager": self._of_manager,
            "github_actions": self._of_github,
            "key": self._signed,
        }
        return readers[source](key, value)

    # --- tokens -------------------------------------------------------------------------------------------------------

    def _source(self, key: str, table: Mapping[str, object]) -> str | None:
        found = [one for one in SOURCES if one in table]
        if len(found) == 1:
            return found[0]
        before = len(self._problems)
        self._problems.unknown(f"{key}.", table, {*SOURCES, *(name for names in SOURCES.values() for name in names)})
        if len(self._problems) == before:
            self._problems.add(key, f"expected one of {_FORMS}, got {', '.join(table) or 'nothing'}")
        return None

    def _of_manager(self, key: str, table: dict[str, Any]) -> SecretSource | None:
        name = table["manager"]
        if not isinstance(name, str) or not name:
            self._problems.add(
                f"{key}.manager", f"expected the name of another manager of this file, got {shown(name)}"
            )
            return None
        self._references.add(self._manager, name, f"{key}.manager")
        options = {one: value for one, value in table.items() if one != "manager"}
        if self._read(key, options, {}) is None:
            return None
        if not self._each(key, options, lambda **one: self._token_of(name, **one)):
            return None
        return self._token_of(name, **options)

    def _of_github(self, key: str, table: dict[str, Any]) -> GitHubActionsToken | None:
        audience = table["github_actions"]
        if not isinstance(audience, str) or not audience:
            self._problems.add(f"{key}.github_actions", f"expected the audience as a text, got {shown(audience)}")
            return None
        options = {name: one for name, one in table.items() if name == "timeout_seconds"}
        if self._read(key, options, {}) is None or not self._each(key, options, GitHubActionsToken):
            return None
        return self._made(f"{key}.github_actions", lambda: GitHubActionsToken(audience, **options))

    def _signed(self, key: str, table: dict[str, Any]) -> SignedAssertion | None:
        before = len(self._problems)
        signer = self.private_key(key, {name: one for name, one in table.items() if name in KEY})
        given = {name: one for name, one in table.items() if name in SIGNED}
        self._named(key, given, SIGNED, ("issuer", "audience"))
        for name, one in given.items():
            (refuse_inline if name == "claims" else check_plain)(f"{key}.{name}", one, self._problems)
        dummy = {"private_key": _NOWHERE, "issuer": "me", "audience": "provider"}
        if signer is not None:  # without joserfc there is nothing to try with
            self._each(key, given, lambda **one: SignedAssertion(**{**dummy, **one}))
        if signer is None or len(self._problems) > before:
            return None
        return self._made(key, lambda: SignedAssertion(signer, **given))

    # --- tables -------------------------------------------------------------------------------------------------------

    def _path(self, key: str, value: object) -> Path | None:
        found = path_at(value, self._base)
        if isinstance(found, Path):
            self._problems.read.append((key, found))
            return found
        self._problems.add(key, str(found))
        return None

    def _named(self, key: str, table: Mapping[str, object], known: Iterable[str], needed: Iterable[str]) -> bool:
        """Whether the names in a table are right."""
        before = len(self._problems)
        self._problems.unknown(f"{key}.", table, known)
        for name in needed:
            if name not in table:
                self._problems.add(f"{key}.{name}", "missing")
        return len(self._problems) == before

    def _read(
        self, key: str, table: Mapping[str, Any], readers: Mapping[str, Callable[[str, object], object]]
    ) -> dict[str, Any] | None:
        """A table's values, read; those that have no reader are taken as they are, for now."""
        before = len(self._problems)
        found = {}
        for name, value in table.items():
            found[name] = readers[name](f"{key}.{name}", value) if name in readers else value
            if name not in readers:
                check_plain(f"{key}.{name}", value, self._problems)
        return found if len(self._problems) == before else None

    def _each(self, key: str, options: Mapping[str, Any], make: Callable[..., object]) -> bool:
        """Whether every option is right by itself: the library stops at the first one that is not."""
        before = len(self._problems)
        for name, value in options.items():
            try:
                make(**{name: value})
            except ConfigError as error:
                self._problems.add(f"{key}.{name}", _LABEL.sub("", str(error)))
        return len(self._problems) == before

    def _made(self, key: str, make: Callable[[], Built]) -> Built | None:
        try:
            return make()
        except ConfigError as error:
            self._problems.add(key, _LABEL.sub("", str(error)))
        return None
