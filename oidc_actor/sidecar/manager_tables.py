"""One table ``[managers.<name>]``: a manager's options, as `TokenManager` takes them, and the tables within it.

Those are a private key, a certificate, tokens that come from elsewhere or are signed here, and the client that an identity
provider knows; their keys are the arguments of `PrivateKey`, `ClientCertificate`, `ManagerToken`, `GitHubActionsToken`,
`SpiffeJWT`, `GoogleMetadataToken`, `AzureMetadataToken`, `SignedAssertion` and `ClientCredentials`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import field, fields
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from oidc_actor.credentials.credentials import Credentials
from oidc_actor.credentials.grants import (
    ClientCredentials,
    IdentityAssertion,
    JWTBearer,
    Password,
    RefreshToken,
    TokenExchange,
)
from oidc_actor.credentials.keys import ClientCertificate, PrivateKey
from oidc_actor.credentials.overlap import Overlap
from oidc_actor.manager.options import Options, check_options
from oidc_actor.secret_sources.github_actions import GitHubActionsToken
from oidc_actor.secret_sources.manager_token import ManagerToken
from oidc_actor.secret_sources.metadata_servers import AzureMetadataToken, GoogleMetadataToken
from oidc_actor.secret_sources.signed_assertion import SignedAssertion
from oidc_actor.secret_sources.spiffe import SpiffeJWT
from oidc_actor.sharing.store import TokenStore
from oidc_actor.sidecar.config_reader import KINDS, PRIVATE, ConfigReader, kind_of, meant, shown
from oidc_actor.values.oidc_config import OIDCConfig
from oidc_actor.values.secrets import SecretFile, SecretSource, StoredSecret
from supervision.frozen import dataclass

GRANTS: dict[str, type[Credentials]] = {
    "client_credentials": ClientCredentials,
    "password": Password,
    "refresh_token": RefreshToken,
    "jwt_bearer": JWTBearer,
    "token_exchange": TokenExchange,
    "identity_assertion": IdentityAssertion,
}
"""The values of ``grant``; where the protocol's own name is a URN, that is one too."""

OPTIONS = (
    "issuer_url",
    "resource_url",
    "refresh_buffer_seconds",
    "timeout_seconds",
    "min_interval_seconds",
    "default_lifetime_seconds",
    "allow_insecure_http",
    "ca_bundle",
    "revoke_on_stop",
    "store_key",
)
"""The options of a manager that have the same name in a table; the others are its credentials'."""

OWN = ("grant", "token_endpoint", "token_file", "token_file_mode", "store")

KEY = ("algorithm", "certificate_file", "key", "kid", "password")
SIGNED = ("audience", "claims", "issuer", "lifetime_seconds", "subject")
CERTIFICATE = ("cert_file", "key_file", "password")
SOURCES = {
    "file": (),
    "env": (),
    "manager": ("kind",),
    "github_actions": ("timeout_seconds",),
    "spiffe": ("assertion_type", "socket", "spiffe_id", "timeout_seconds"),
    "google_metadata": ("timeout_seconds",),
    "azure_metadata": ("client_id", "timeout_seconds"),
    "key": tuple(name for name in (*KEY, *SIGNED) if name != "key"),
}
"""What says where a token comes from, and what may stand beside it."""

_OF_AUDIENCE: dict[str, Callable[..., SecretSource]] = {
    "github_actions": GitHubActionsToken,
    "spiffe": SpiffeJWT,
    "google_metadata": GoogleMetadataToken,
    "azure_metadata": AzureMetadataToken,
}
"""The sources that are asked for a token which names an audience."""

IDENTITY_CLIENT = (
    "assertion_audience",
    "body",
    "client_assertion",
    "client_auth",
    "client_certificate",
    "client_id",
    "client_secret",
    "extra",
    "private_key",
    "request_headers",
)
"""What says how an identity provider knows the client."""

_FORMS = (
    '{ file = "<path>" }, { env = "<variable>" }, { manager = "<another of this file>" }, { github_actions = "<audience>" }, '
    '{ spiffe = "<audience>" }, { google_metadata = "<audience>" }, { azure_metadata = "<audience>" } or '
    '{ key = { file = "<path>" }, issuer = "<me>", audience = "<provider>" }'
)
_SECRETS = ("client_secret", "password", "refresh_token")
_TOKENS = ("assertion", "subject_token", "actor_token", "client_assertion")
_NO_DPOP = (
    "cannot be used here: a token bound to a key is worth nothing without the key, which whoever reads the token from the "
    "sidecar does not have; leave it out"
)

# Stand-ins take the place of what is wrong, so that what else is wrong is found too. None ever reaches a manager.
_STAND_IN = "stand-in"
_NOWHERE = SecretFile("nowhere")
_NO_URL = "https://stand-in.invalid"
_NEEDED = dict.fromkeys(("client_id", "username", *_SECRETS, *_TOKENS), _STAND_IN)
_NEEDED |= {"issuer_url": _NO_URL, "token_endpoint": _NO_URL, "identity_provider": _NO_URL}
_IN_PLACE_OF: dict[str, dict[str, Any]] = {
    **{name: {name: stand_in} for name, stand_in in _NEEDED.items()},
    "private_key": {"client_assertion": _STAND_IN},
    "client_certificate": {"client_certificate": {"cert_file": _STAND_IN}},
}

T = TypeVar("T")
Reads: TypeAlias = Callable[[str, Any], Any]


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
    name: str, table: Mapping[str, Any], reader: ConfigReader, store: TokenStore | None = None
) -> ManagerConfig | None:
    """Read one table.

    Args:
        name: The manager's name.
        table: The table.
        reader: Reads the values in it.
        store: That of the table ``[store]``, which the manager shares unless it says ``store = false``.

    Returns:
        The manager, or ``None`` where something is wrong.
    """
    return _ManagerTable(name, table, reader, store).read()


class _ManagerTable:
    def __init__(self, name: str, table: Mapping[str, Any], reader: ConfigReader, store: TokenStore | None) -> None:
        self._name = name
        self._store = store
        self._table = table
        self._reader = reader
        self._key = f"managers.{name}"
        self._reads: dict[str, Reads] = {
            **dict.fromkeys(_SECRETS, reader.secret),
            **dict.fromkeys(_TOKENS, self._token),
            "private_key": self._private_key,
            "client_certificate": self._certificate,
            "request_headers": self._headers,
            "extra": reader.anything,
            "identity_client": self._identity_client,
        }

    def read(self) -> ManagerConfig | None:
        before = len(self._reader)
        grant = self._grant(self._table.get("grant", "client_credentials"))
        self._check_names(grant)
        token_file, mode = self._token_file(), self._token_file_mode()
        given: dict[str, Any] = {}
        for key in self._table:
            if key in OPTIONS or key == "token_endpoint" or key in _names(grant):
                value = self._value(key)
                given |= {key: value} if value is not None else _IN_PLACE_OF.get(key, {})
        self._check_provider(given)
        if self._shares():
            given["store"] = self._store
        options = self._reader.build(self._key, self._table, given, _NEEDED, lambda **given: _options(grant, given))
        if options is None or len(self._reader) > before:
            return None
        uses = frozenset(used for user, used in self._reader.uses if user == self._name)
        return ManagerConfig(self._name, _child_options(grant, given) | {"auth": options.auth}, token_file, mode, uses)

    # --- keys of the table itself -------------------------------------------------------------------------------------

    def _grant(self, value: object) -> str:
        """The grant's short name; of a wrong one the nearest, so that what else is wrong is found too."""
        for name, kind in GRANTS.items():
            if value in (name, kind.grant_type):
                return name
        near = difflib.get_close_matches(value, GRANTS, n=1) if isinstance(value, str) else []
        hint = f"; did you mean {near[0]!r}?" if near else ""
        self._reader.add(f"{self._key}.grant", f"expected one of {', '.join(GRANTS)}, got {shown(value)}{hint}")
        return near[0] if near else "client_credentials"

    def _check_names(self, grant: str) -> None:
        known = {*OPTIONS, *OWN, *_names(grant)}
        for key in self._table:
            others = [other for other in GRANTS if key in _names(other)]
            if key == "dpop":
                problem = _NO_DPOP
            elif key in known:
                continue
            elif others:
                problem = f'belongs to grant = "{others[0]}", got "{grant}"'
            else:
                problem = f"no such key; {meant(key, known, 'the keys here are')}"
            self._reader.add(f"{self._key}.{key}", problem)

    def _value(self, key: str) -> Any:
        return self._read(f"{self._key}.{key}", self._table[key])

    def _read(self, path: str, value: Any) -> Any:
        """Read the value of a key, which is the path's last part: of this table, or of an identity provider's client."""
        key = path.rpartition(".")[2]
        if key == "client_secret" and isinstance(value, list):
            return self._overlap(path, value)
        if key in self._reads:
            return self._reads[key](path, value)
        found = self._reader.plain(path, value)
        if key == "ca_bundle" and isinstance(found, str) and found:
            return str(self._reader.base / found)
        if key == "token_endpoint" and found is not None and not isinstance(found, str):
            self._reader.add(path, f"expected an https URL, got {type(found).__name__}")
            return None
        return found

    def _check_provider(self, given: dict[str, Any]) -> None:
        """Check what a table can say of the provider, which is less than an `OIDCConfig` can."""
        has_issuer, has_endpoint = "issuer_url" in self._table, "token_endpoint" in self._table
        if has_issuer == has_endpoint:
            got = "both" if has_issuer else "neither"
            self._reader.add(self._key, f"expected exactly one of issuer_url and token_endpoint, got {got}")
            given.pop("token_endpoint", None)
            given.setdefault("issuer_url", _NO_URL)
        elif has_endpoint and given.get("revoke_on_stop") is True:
            problem = (
                "expected an issuer_url beside it, whose metadata name the revocation_endpoint, got a token_endpoint"
            )
            self._reader.add(f"{self._key}.revoke_on_stop", problem)
            del given["revoke_on_stop"]

    def _token_file(self) -> Path | None:
        key = f"{self._key}.token_file"
        found = self._reader.path(key, self._table["token_file"]) if "token_file" in self._table else None
        if found is not None and found.is_dir():
            got = f"the directory {str(found)!r}; add the file's name"
            self._reader.add(key, f"expected the path of a file, got {got}")
        elif found is not None:
            self._reader.files_made.append((key, found))
        return found

    def _token_file_mode(self) -> int:
        key = f"{self._key}.token_file_mode"
        if "token_file_mode" not in self._table:
            return PRIVATE
        if "token_file" not in self._table:
            self._reader.add(key, 'expected token_file = "<path>" beside it, got none')
        return self._reader.token_file_mode(key, self._table["token_file_mode"]) or PRIVATE

    def _shares(self) -> bool:
        value, has_store = self._table.get("store", self._store is not None), self._store is not None
        if not isinstance(value, bool):
            problem = f"expected false for a manager that does not share the [store] of this file, got {shown(value)}"
            self._reader.add(f"{self._key}.store", problem)
        elif value and not has_store:
            self._reader.add(f"{self._key}.store", "expected a table [store] in this file, got none")
        return has_store and value is not False

    # --- tables within it ---------------------------------------------------------------------------------------------

    def _private_key(self, key: str, value: object) -> PrivateKey | None:
        """Read a private key: where it is alone, or a table with ``key`` and what else there is to say."""
        if not isinstance(value, dict) or not set(KEY) & set(value):
            secret = self._reader.secret(key, value)
            return None if secret is None else self._reader.build(key, {}, {"key": secret}, {}, PrivateKey)
        misplaced = [name for name in KINDS if name in value]
        for name in misplaced:
            self._reader.add(f"{key}.{name}", f'belongs within key, beside the rest: key = {{ {name} = "..." }}')
        table = {name: one for name, one in value.items() if name not in misplaced}
        if misplaced:
            table.setdefault("key", {name: value[name] for name in misplaced})
        reads = {"key": self._reader.secret, "password": self._reader.secret, "certificate_file": self._reader.file}
        found = self._object(key, table, KEY, {"key": _NOWHERE}, PrivateKey, reads)
        return None if misplaced else found

    def _certificate(self, key: str, value: object) -> ClientCertificate | None:
        """Read a certificate for mutual TLS."""
        if not isinstance(value, dict):
            self._reader.add(key, f'expected {{ cert_file = "<path>", key_file = "<path>" }}, got {kind_of(value)}')
            return None
        reads = {"cert_file": self._reader.file, "key_file": self._reader.file, "password": self._reader.secret}
        return self._object(key, value, CERTIFICATE, {"cert_file": _STAND_IN}, ClientCertificate, reads)

    def _identity_client(self, key: str, value: object) -> Any:
        """Read the client as an identity provider knows it: its id alone, or with what it authenticates with."""
        if not isinstance(value, dict):
            return self._reader.plain(key, value)
        reads = dict.fromkeys(IDENTITY_CLIENT, self._read)
        return self._object(key, value, IDENTITY_CLIENT, {"client_id": _STAND_IN}, _identity_client, reads)

    def _overlap(self, key: str, value: list[object]) -> Overlap | None:
        """Read the two secrets of an overlap window."""
        if len(value) != 2:
            self._reader.add(key, f"expected one secret, or two in a list, got a list of {len(value)}")
            return None
        first, second = (self._reader.secret(f"{key}.{number}", one) for number, one in enumerate(value))
        return None if first is None or second is None else Overlap(first, second)

    def _headers(self, key: str, value: object) -> dict[str, Any] | None:
        """Read header fields: a text each, or where a secret is."""
        if not isinstance(value, dict):
            self._reader.add(key, f"expected a table from names of header fields to texts, got {kind_of(value)}")
            return None
        before = len(self._reader)
        found = {
            name: self._reader.secret(f"{key}.{name}", one)
            if isinstance(one, dict)
            else self._reader.anything(f"{key}.{name}", one)
            for name, one in value.items()
        }
        return found if len(self._reader) == before else None

    def _token(self, key: str, value: object) -> StoredSecret | None:
        """Read where a token comes from that another party has signed, or a key of one's own signs."""
        if not isinstance(value, dict):
            self._reader.add(key, f"expected {_FORMS}, got {kind_of(value)}: a secret does not belong in this file")
            return None
        sources = [one for one in SOURCES if one in value]
        if len(sources) != 1:
            if not self._reader.unknown(
                f"{key}.", value, {*SOURCES, *(name for names in SOURCES.values() for name in names)}
            ):
                self._reader.add(key, f"expected one of {_FORMS}, got {', '.join(value) or 'nothing'}")
            return None
        (source,) = sources
        if source in KINDS:
            return self._reader.secret(key, value)
        reads: dict[str, Reads] = {"manager": self._manager_name, **dict.fromkeys(_OF_AUDIENCE, self._audience)}
        known, needed = (source, *SOURCES[source]), {source: _STAND_IN}
        if source == "key":
            return self._signed(key, value, known)
        make = _OF_AUDIENCE.get(source, ManagerToken)

        def made(**given: Any) -> SecretSource:
            return make(given.pop(source), **given)

        return self._object(key, value, known, needed, made, reads)

    def _manager_name(self, key: str, value: object) -> str | None:
        if isinstance(value, str) and value:
            self._reader.uses.setdefault((self._name, value), key)
            return value
        self._reader.add(key, f"expected the name of another manager of this file, got {shown(value)}")
        return None

    def _audience(self, key: str, value: object) -> str | None:
        if isinstance(value, str) and value:
            return value
        self._reader.add(key, f"expected the audience as a text, got {shown(value)}")
        return None

    def _signed(self, key: str, table: Mapping[str, Any], known: tuple[str, ...]) -> SignedAssertion | None:
        if self._reader.unknown(f"{key}.", table, known):
            return None
        signer = self._private_key(key, {name: one for name, one in table.items() if name in KEY})
        rest = {name: one for name, one in table.items() if name in SIGNED}

        def make(**given: Any) -> SignedAssertion | None:
            return None if signer is None else SignedAssertion(signer, **given)

        needed = {"issuer": _STAND_IN, "audience": _STAND_IN}
        return self._object(key, rest, SIGNED, needed, make, {"claims": self._reader.anything})

    def _object(
        self,
        key: str,
        table: Mapping[str, Any],
        known: tuple[str, ...],
        needed: Mapping[str, Any],
        make: Callable[..., T],
        reads: Mapping[str, Reads],
    ) -> T | None:
        """Read a table that becomes a value of the library; ``reads`` are the readers of what is no plain value."""
        before = len(self._reader)
        self._reader.unknown(f"{key}.", table, known)
        for name in needed:
            if name not in table:
                self._reader.add(f"{key}.{name}", "missing")
        given: dict[str, Any] = dict(needed)
        for name, value in table.items():
            read: Reads = reads.get(name, self._reader.plain)
            if name in known and (found := read(f"{key}.{name}", value)) is not None:
                given[name] = found
        made = self._reader.build(key, table, given, needed, make)
        return made if len(self._reader) == before else None


def _identity_client(**given: Any) -> ClientCredentials:
    return ClientCredentials(given.pop("client_id"), **given)


def _names(grant: str) -> set[str]:
    return {one.name for one in fields(GRANTS[grant])} - {"dpop"}


def _child_options(grant: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `TokenManager.child_spec`, whose credentials are a mapping of their own."""
    found = {name: value for name, value in given.items() if name in OPTIONS or name == "store"}
    if "token_endpoint" in given:
        found["oidc_config"] = OIDCConfig(token_endpoint=given["token_endpoint"])
    auth = {name: value for name, value in given.items() if name in _names(grant)}
    return found | {"auth": {"type": f"oidc_{grant}", **auth}}


def _options(grant: str, given: Mapping[str, Any]) -> Options:
    return check_options(_child_options(grant, given))
