"""The table ``[store]``: the store that the managers of the sidecar share with those of other sidecars and programs.

Its keys are the arguments of `RedisStore.from_url` and `FileStore`, but for ``redis`` and ``directory``, which say where it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from oidc_actor.sharing.file_store import FileStore
from oidc_actor.sharing.redis_store import RedisStore, has_password
from oidc_actor.sharing.store import TokenStore
from oidc_actor.sidecar.config_reader import ConfigReader, kind_of, shown
from oidc_actor.values.errors import ConfigError
from oidc_actor.values.secrets import SecretFile, StoredSecret

REDIS = ("wait_replicas", "notify", "timeout_seconds")
"""What only a store on Redis or Valkey has."""

KEYS = ("redis", "directory", "namespace", "keys", *REDIS)

_WHERE = 'redis = "rediss://<host>" or directory = "<path>"'
_SOMEWHERE = "redis://stand-in.invalid"
_FORMS = 'a list such as [{ file = "<path>" }], with what `oidc-actor fleet-key` prints in the file'
_NOT_HERE = (
    "a secret does not belong in this file; put the whole address elsewhere: "
    'redis = { file = "<path>" } or { env = "<variable>" }'
)
_STEPS = ("claim", "renew", "share", "give_up", "restore", "look")
STAND_IN = cast("TokenStore", SimpleNamespace(keys=(), namespace="stand-in", host="", **dict.fromkeys(_STEPS, print)))
"""Takes the place of a store whose table is wrong, so that what is wrong with the managers is found too. It is never asked."""


def read_store(table: object, reader: ConfigReader, *, makes: bool) -> TokenStore | None:
    """Read the table.

    Args:
        table: What stands under ``store``; ``None`` for nothing.
        reader: Reads the values in it.
        makes: Whether the directory is made where it is missing; not where a configuration is only checked.

    Returns:
        The store; ``None`` without a table, and `STAND_IN` where something is wrong with it.
    """
    if table is None:
        return None
    if not isinstance(table, dict):
        reader.add("store", f"expected a table [store], got {type(table).__name__}")
        return STAND_IN
    return _StoreTable(table, reader, makes).read() or STAND_IN


class _StoreTable:
    def __init__(self, table: Mapping[str, Any], reader: ConfigReader, makes: bool) -> None:
        self._table, self._reader, self._makes = table, reader, makes

    def read(self) -> TokenStore | None:
        before = len(self._reader)
        self._reader.unknown("store.", self._table, KEYS)
        addresses = [name for name in ("redis", "directory") if name in self._table]
        if len(addresses) != 1:
            self._reader.add("store", f"expected {_WHERE}, got {'both' if addresses else 'neither'}")
        is_file = addresses == ["directory"]
        for name in REDIS if is_file else ():
            if name in self._table:
                self._reader.add(f"store.{name}", f"belongs to redis, got directory; drop {name}")
        given = self._given(is_file)
        make: Callable[..., TokenStore | None] = self._file_store if is_file else _redis_store
        store = self._reader.build("store", self._table, given, {"namespace": "stand-in"}, make)
        return store if len(self._reader) == before else None

    def _given(self, is_file: bool) -> dict[str, Any]:
        given: dict[str, Any] = {"directory": None} if is_file else {"redis": _SOMEWHERE}
        reads: dict[str, Callable[[str, Any], Any]] = {
            "redis": self._address,
            "directory": self._reader.path,
            "keys": self._keys,
        }
        known = {*given, "namespace", "keys", *(() if is_file else REDIS)}
        for name in (name for name in KEYS if name in self._table and name in known):
            read: Callable[[str, Any], Any] = reads.get(name, self._reader.plain)
            found = read(f"store.{name}", self._table[name])
            if found is not None:
                given[name] = found
        if "keys" not in self._table and not is_file:
            self._reader.add("store.keys", f"missing: expected {_FORMS}")
        if "keys" not in given and (not is_file or "keys" in self._table):
            given["keys"] = [SecretFile("nowhere")]
        if "namespace" not in self._table:
            self._reader.add("store.namespace", "missing")
        given.setdefault("namespace", "stand-in")
        return given

    def _address(self, key: str, value: object) -> str | StoredSecret | None:
        """Read where the server is: in plain, or as a secret where a password is in it."""
        if isinstance(value, dict):
            return self._reader.secret(key, value)
        if not isinstance(value, str):
            self._reader.add(key, f'expected an address such as "rediss://<host>", got {shown(value)}')
            return None
        if has_password(value):
            self._reader.add(key, f"expected an address without a password, got one with: {_NOT_HERE}")
            return None
        return value

    def _keys(self, key: str, value: object) -> list[StoredSecret] | None:
        if not isinstance(value, list) or not value:
            got = "an empty list" if isinstance(value, list) else kind_of(value)
            self._reader.add(key, f"expected {_FORMS}, got {got}")
            return None
        found = [self._reader.secret(f"{key}[{number}]", one) for number, one in enumerate(value)]
        return [one for one in found if one is not None] if None not in found else None

    def _file_store(self, **given: Any) -> TokenStore | None:
        path: Path | None = given.pop("directory", None)
        if path is None or "namespace" not in given:
            return None  # which has been noted
        try:
            if self._makes or path.exists():
                return FileStore(path, **given)
            with tempfile.TemporaryDirectory() as elsewhere:  # the options are right or not wherever it is
                return FileStore(elsewhere, **given)
        except ConfigError as error:
            raise _renamed(error, "path", "directory") from None


def _redis_store(**given: Any) -> TokenStore | None:
    if not {"redis", "keys", "namespace"} <= set(given):
        return None  # which has been noted
    try:
        return RedisStore.from_url(given.pop("redis"), **given)
    except ConfigError as error:
        raise _renamed(error, "url", "redis") from None


def _renamed(error: ConfigError, name: str, key: str) -> ConfigError:
    return ConfigError(error.problem, (key,) if error.option == (name,) else error.option)
