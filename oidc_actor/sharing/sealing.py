"""What is stored, and how it is sealed: Fernet, by a list of keys of which the first seals and all open.

What a key does not open, or what is no record of this version, or of another key in the store, counts as absent. It is never an
error to a manager: the record is overwritten.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from oidc_actor.values.errors import ConfigError, SecretUnavailable
from oidc_actor.values.secrets import Secret, SecretFile, StoredSecret, holds_secrets, resolve_secret, store_secret
from oidc_actor.values.tokens import ParsedToken, TokenResponse

VERSION = 1
KEY_BYTES = 32

_NO_PACKAGE = "sealing the records of a store needs the package cryptography: pip install 'oidc-actor[fleet]'"


def new_key() -> str:
    """Make a key: 32 random bytes in url-safe base64."""
    return str(_fernet_module().Fernet.generate_key().decode())


@holds_secrets
def read_keys(keys: object, store: str) -> tuple[StoredSecret, ...]:
    """Check the keys of a store.

    Args:
        keys: A list of keys: texts, `SecretFile`s or callables; the first seals, all open.
        store: What the store is called in an error.

    Returns:
        The keys. Files and callables are read at each use, so that what they hold is not checked here.

    Raises:
        ConfigError: There is none, one is no key, or the package that seals is missing.
    """
    label = f"{store}: keys"
    if isinstance(keys, str | bytes | Secret | SecretFile) or not isinstance(keys, Sequence) or not keys:
        got = "none" if not keys else f"a {type(keys).__name__}"
        problem = (
            f"expected a list of keys, as `oidc-actor fleet-key` prints them, got {got}; pass keys=[SecretFile(...)]"
        )
        raise ConfigError(problem, ("keys",), label=label)
    read = tuple(store_secret(key, "keys") for key in keys)
    for key in read:
        if isinstance(key, Secret) and not _is_key(key):
            problem = "expected 32 bytes in url-safe base64, as `oidc-actor fleet-key` prints them, got another text"
            raise ConfigError(problem, ("keys",), label=label)
    _fernet_module()
    return read


def _is_key(key: Secret) -> bool:
    try:
        return len(base64.urlsafe_b64decode(key.reveal())) == KEY_BYTES
    except (ValueError, binascii.Error):
        return False


def _fernet_module() -> Any:
    try:
        from cryptography import fernet
    except ImportError:
        raise ConfigError(_NO_PACKAGE, ("keys",), label="") from None
    return fernet


class Sealer:
    """Seals and opens what one store keeps. Any thread.

    Args:
        keys: The store's, checked; none for a store that keeps texts as they are.
    """

    def __init__(self, keys: Sequence[StoredSecret]) -> None:
        self._keys = tuple(keys)
        self._made: tuple[object, Any] | None = None  # by the versions of the keys' files
        self._lock = threading.Lock()  # guards `_made`; held while keys are read

    @holds_secrets
    def seal(self, content: dict[str, Any], key: str) -> Secret:
        """Seal a record's content.

        Args:
            content: What is kept; made of what JSON can say.
            key: The record's key in the store.

        Raises:
            SecretUnavailable: A key cannot be read.
        """
        text = json.dumps({"v": VERSION, "key": key, **content}, separators=(",", ":"))
        return Secret(self._fernet().encrypt(text.encode()).decode() if self._keys else text)

    @holds_secrets
    def open(self, sealed: Secret | None, key: str) -> dict[str, Any] | None:
        """Open what was sealed; ``None`` where there is nothing, or it cannot be read, or belongs to another key.

        Raises:
            SecretUnavailable: A key cannot be read.
        """
        if sealed is None:
            return None
        text = sealed.reveal()
        try:
            content = json.loads(self._fernet().decrypt(text.encode()) if self._keys else text)
        except ValueError:
            return None
        except Exception as error:
            if self._keys and isinstance(error, _fernet_module().InvalidToken):
                return None
            raise
        is_ours = isinstance(content, dict) and content.get("v") == VERSION and content.get("key") == key
        return content if is_ours else None

    def _fernet(self) -> Any:
        """The keys as they are now: a file that has changed is read again."""
        files = [file for key in self._keys if not isinstance(key, Secret) for file in key.files]
        fetched = [key for key in self._keys if not isinstance(key, Secret) and not key.files]
        versions = (*(file.version() for file in files), *(object() for _ in fetched))
        with self._lock:
            if self._made is None or self._made[0] != versions:
                self._made = versions, self._read()
            return self._made[1]

    def _read(self) -> Any:
        module, read = _fernet_module(), [resolve_secret(key, "keys") for key in self._keys]
        if not all(_is_key(key) for key in read):
            raise SecretUnavailable("keys: expected 32 bytes in url-safe base64, got another text", option="keys")
        return module.MultiFernet([module.Fernet(key.reveal()) for key in read])


# --- what is kept -----------------------------------------------------------------------------------------------------


@holds_secrets
def token_content(token: TokenResponse, lifetime_s: float) -> dict[str, Any]:
    """What is kept of a token: all but the refresh token, which is sealed apart."""
    others = {"extra": token.extra.plain()} if token.extra else {}
    return {
        "access_token": token.access_token,
        "token_type": token.token_type,
        "expires_in": token.expires_in,
        "scope": token.scope,
        "id_token": token.id_token,
        "issued_at": token.issued_at.timestamp(),
        "lifetime_s": lifetime_s,
        **others,
    }


@holds_secrets
def read_token(content: dict[str, Any], left_s: float, now_wall: float) -> ParsedToken | None:
    """Read a token that another process has got.

    Args:
        content: What was kept.
        left_s: Seconds that it still lives, by the store's clock.
        now_wall: Reading of this machine's wall clock: `TokenResponse.issued_at` is by this one, not by the other process's.

    Returns:
        The token, or ``None`` where the content is none.
    """
    lifetime_s = content.get("lifetime_s")
    if isinstance(lifetime_s, bool) or not isinstance(lifetime_s, int | float) or lifetime_s <= 0:
        return None
    texts = [content.get(name) for name in ("access_token", "token_type", "scope", "id_token")]
    if not all(isinstance(text, str) or text is None for text in texts):
        return None
    try:
        token = TokenResponse(
            content["access_token"],
            content["token_type"],
            content.get("expires_in"),
            None,
            content.get("id_token"),
            content.get("scope"),
            datetime.fromtimestamp(now_wall - max(0.0, lifetime_s - left_s), UTC),
            content.get("extra"),
        )
    except (ConfigError, KeyError, ValueError, OverflowError, OSError):
        return None
    return ParsedToken(token, float(lifetime_s), "expires_in")
