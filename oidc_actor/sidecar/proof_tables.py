"""The tables within a manager's: a private key, a certificate, and tokens that come from elsewhere or are signed here.

Their keys are the arguments of `PrivateKey`, `ClientCertificate`, `ManagerToken`, `GitHubActionsToken` and `SignedAssertion`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from oidc_actor.credentials.certificate import ClientCertificate
from oidc_actor.credentials.private_key import PrivateKey
from oidc_actor.secret_sources.github_actions import GitHubActionsToken
from oidc_actor.secret_sources.signed_assertion import SignedAssertion
from oidc_actor.sidecar.places import KINDS, check_plain, kind_of, path_at, refuse_inline, secret, shown
from oidc_actor.sidecar.posts import Posts, PostToken
from oidc_actor.sidecar.problems import Problems
from oidc_actor.sidecar.references import References
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import SecretFile, StoredSecret

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

    def __init__(self, manager: str, base: Path, posts: Posts, references: References, problems: Problems) -> None:
        """Prepare.

        Args:
            manager: The manager's name.
            base: Where relative paths start.
            posts: Where the tokens of other managers are found, later.
            references: Takes their names.
            problems: Takes what is wrong.
        """
        self._manager = manager
        self._base = base
        self._posts = posts
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

    def _of_manager(self, key: str, table: dict[str, Any]) -> PostToken | None:
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
        if not self._each(key, options, lambda **one: PostToken(self._posts, name, **one)):
            return None
        return PostToken(self._posts, name, **options)

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
